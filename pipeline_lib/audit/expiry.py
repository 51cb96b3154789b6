"""Dropping payloads whose time is over, or that an erasure takes: said first, done after, and said again.

An intent row names every segment, table, number and digest, and a checkpoint covers it before the first payload goes;
then each segment is replaced by its reduction and the query tables are made again; then the done row. What a crash
left is finished by asking again. Nothing expires while a legal hold is on or the record does not verify.
Source: audit.md 5.1, 7.4, 8.3.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from typing import Any, NamedTuple

from pipeline_lib.audit import anchors, evidence, keyring, lawful, load, record, retained, segment, session, verify
from pipeline_lib.audit.evidence import Act
from pipeline_lib.audit.line import Line
from pipeline_lib.audit.operation import record_operation
from pipeline_lib.business_time import utc_now
from pipeline_lib.canonical import digest
from pipeline_lib.errors import RequestRefused
from pipeline_lib.keys import KeyFolder
from pipeline_lib.objects import open_objects
from pipeline_lib.settings import Settings

LASTING = frozenset({"promotion", keyring.SERVICE})
"""Services whose rows the registries of versions and of keys are computed from: their payloads stay for good."""
BATCH = 100
"""Segments that one intent row names: a payload has at most 64 KiB."""


class Drop(NamedTuple):
    """Payloads of one table in one segment."""

    segment: str
    table: str
    seqs: tuple[int, ...]
    digest: str
    newest: str
    """Time of the youngest."""

    def item(self, days: int | None) -> dict[str, Any]:
        """As the record names it; an erasure names entries, an expiry means all of the table."""
        said = {"segment": self.segment, "table": self.table, "count": len(self.seqs), "digest": self.digest}
        return {**said, "seqs": list(self.seqs)} if days is None else {**said, "days": days}


def due(settings: Settings, tables: Collection[str] = ()) -> list[Drop]:
    """What may expire now: tables of segments under a checkpoint whose youngest entry is old enough.

    Args:
        tables: only these; all when empty.
    """
    days, now = settings.audit.retention.days, int(utc_now().timestamp() * 1_000_000)
    limits = {name: segment.timestamp(now - d * lawful.DAY_US) for name, d in days.items()
              if d is not None and (not tables or name in tables)}  # fmt: skip
    found = []
    for key, lines in _covered(settings):
        for table, rows in _by_table(lines).items():
            rows = [one for one in rows if one.event not in lawful.NEVER]
            if table in limits and rows and rows[-1].ts < limits[table] and not all(one.dropped for one in rows):
                found.append(_drop(key, table, rows))
    return found


def of_subject(settings: Settings, subject: str, tables: Set[str]) -> list[Drop]:
    """Payloads that name a customer, and those of the same answers, in these tables; of what a checkpoint covers."""
    covered = [(key, lines) for key, lines in _covered(settings) if any(not one.dropped for one in lines)]
    needle = subject.encode()
    named = {name for _, lines in covered for one in lines if needle in one.payload for name in _names(one)}
    found = []
    for key, lines in covered:
        for table, rows in _by_table(lines).items():
            mine = [one for one in rows if needle in one.payload or named & _names(one)]
            mine = [one for one in mine if one.event not in lawful.NEVER and not one.dropped]
            if table in tables and mine:
                found.append(_drop(key, table, mine))
    return found


def frozen(settings: Settings) -> str:
    """Why nothing may expire now; empty when it may. An action that a crash cut off does not freeze its own end."""
    if why := unsound(settings):
        return why
    hold = lawful.held(lawful.holds(acts(settings)), segment.timestamp(int(utc_now().timestamp() * 1_000_000)))
    return f"a legal hold on {hold.object_id} is on since {hold.since}" if hold else ""


def unsound(settings: Settings) -> str:
    """Why the record is not one to take anything from; empty when it is. Its own open actions do not count."""
    report = verify.examine(settings)
    if report.verdict == "INTACT" or (report.verdict == "INCOMPLETE" and report.codes() == {"INTENT_OPEN"}):
        return ""
    return f"the record does not verify: {report.verdict}"


def expire(settings: Settings, operator: str, reason: str, tables: Collection[str] = ()) -> dict[str, int]:
    """Finish what was begun, then drop what is due.

    Returns:
        ``segments`` and ``payloads`` dropped, ``finished`` actions of before.

    Raises:
        RequestRefused: a legal hold is on, or the record does not verify.
        AuditError: what is to be done could not be recorded; nothing was dropped then.
    """
    session.commit(settings)
    if why := frozen(settings):
        raise RequestRefused(f"nothing expires: {why}")
    begun = _open(acts(settings))
    for act in begun:
        _carry_out(settings, act.payload)
    drops = due(settings, tables)
    for batch in _batches(drops):
        _carry_out(settings, _announce(settings, operator, reason, batch))
    counts = {"segments": len({one.segment for one in drops}), "payloads": sum(len(one.seqs) for one in drops)}
    return {**counts, "finished": len(begun)}


def acts(settings: Settings) -> list[Act]:
    """Every row about holds, erasures and expiry, checked against its chain."""
    found = session.rows(settings, ["log_operation"])
    return [Act("", row.header["seq"], row.header["ts"], row.header["event"], row.payload)
            for row in found if row.header["event"] in evidence.ACTS]  # fmt: skip


def remove(settings: Settings, items: Iterable[Mapping[str, Any]]) -> None:
    """Take the payloads away that a recorded row names, and make the query tables again; twice is as once.

    Raises:
        RequestRefused: the evidence holds other entries than the row named; nothing of that segment was removed.
    """
    place = settings.place
    stores = [open_objects(url) for url in (place.audit, place.audit_secondary) if url]
    by_segment: dict[str, set[int]] = defaultdict(set)
    for item in items:
        by_segment[item["segment"]] |= _confirmed(settings, item)
    for key, seqs in by_segment.items():
        retained.reduce(stores, key, seqs)
    if by_segment:
        load.rebuild(settings)


def _announce(settings: Settings, operator: str, reason: str, drops: Sequence[Drop]) -> Mapping[str, Any]:
    """The payload of the intent row, under a checkpoint."""
    days = settings.audit.retention.days
    items = [one.item(days[one.table]) for one in drops]
    action = f"{lawful.DROP}:{digest(items)[:32]}"
    payload = _row(settings, "intent", action, operator, reason, {"drops": items})
    session.commit(settings)
    return payload


def _carry_out(settings: Settings, intent: Mapping[str, Any]) -> None:
    items = intent["details"]["drops"]
    remove(settings, items)
    details = {"payloads": sum(item["count"] for item in items), "drops_digest": digest(items)}
    _row(settings, "done", intent["action_id"], intent["actor_ref"], intent["reason"], details)
    session.commit(settings)


def _row(
    settings: Settings, phase: Any, action: str, operator: str, reason: str, details: Mapping[str, Any]
) -> Mapping[str, Any]:
    record_operation(
        settings, lawful.DROP, f"{action}:{phase}", service="retention", object_type="payloads",
        object_id=action.rsplit(":", 1)[1], reason=reason, actor=("human", operator), action_id=action, phase=phase,
        severity="major", details=details,
    )  # fmt: skip
    return {"action_id": action, "actor_ref": operator, "reason": reason, "details": details}


def _open(every: Sequence[Act]) -> list[Act]:
    """Announced and not done."""
    of = [one for one in every if one.event == lawful.DROP]
    done = {one.payload["action_id"] for one in of if one.payload["phase"] != "intent"}
    return [one for one in of if one.payload["phase"] == "intent" and one.payload["action_id"] not in done]


def _confirmed(settings: Settings, item: Mapping[str, Any]) -> set[int]:
    """The entries that a recorded item stands for, if the evidence says so."""
    lines = [found for found in _lines(settings, item["segment"]) if found.log_table == item["table"]]
    named = item.get("seqs")
    of = [one for one in lines if one.event not in lawful.NEVER and (named is None or one.seq in named)]
    if len(of) != item["count"] or lawful.digest_of(one.content_hash for one in of) != item["digest"]:
        raise RequestRefused(f"{item['segment']}: {item['table']} is not what the row named; nothing was removed")
    return {one.seq for one in of}


def _covered(settings: Settings) -> Iterable[tuple[str, list[Line]]]:
    """Segments under a checkpoint from which payloads may go."""
    keys, origin = KeyFolder(settings.place.keys), record.origin(settings)
    for key in anchors.covered(anchors.history(open_objects(settings.place.anchors), keys, origin)):
        if LASTING.isdisjoint(key.split("/")[1].split(":")):
            yield key, _lines(settings, key)


def _lines(settings: Settings, key: str) -> list[Line]:
    return segment.lines(record.store(settings).get(key))


def _names(one: Line) -> set[str]:
    return {name for name in (one.prediction_id, one.request_id) if name}


def _by_table(lines: Iterable[Line]) -> dict[str, list[Line]]:
    found: dict[str, list[Line]] = defaultdict(list)
    for one in lines:
        found[one.log_table].append(one)
    return found


def _drop(key: str, table: str, rows: Sequence[Line]) -> Drop:
    return Drop(
        key, table, tuple(one.seq for one in rows), lawful.digest_of(one.content_hash for one in rows), rows[-1].ts
    )


def _batches(drops: Sequence[Drop]) -> Iterable[Sequence[Drop]]:
    return (drops[at : at + BATCH] for at in range(0, len(drops), BATCH))
