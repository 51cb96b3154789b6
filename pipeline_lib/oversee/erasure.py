"""Erasing a customer: one person asks, two others approve, nobody while a legal hold is on.

What is erased: the row of the customer index, the rows of the serving tables, kept answers, and the payloads of the
record that policy lets go (``audit.yaml``, ``retention.on_erasure``). Before the first of it an intent row with both
approvals is under a checkpoint; after the last a done row. Every step is as often as once, so a run that was killed
is finished by the same command. V19 judges the rows. Source: audit.md 8.4, T22.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import timedelta
from typing import Any

from pipeline_lib.audit import expiry, lawful, mapping, segment, session
from pipeline_lib.audit.evidence import Act
from pipeline_lib.audit.operation import Phase, record_operation
from pipeline_lib.business_time import utc_now
from pipeline_lib.canonical import digest
from pipeline_lib.errors import ObjectMissing, RequestRefused, SwapLost
from pipeline_lib.items import FEATURES, Items
from pipeline_lib.items.place import writable
from pipeline_lib.objects import Objects, open_objects
from pipeline_lib.registry import persons
from pipeline_lib.scrub import scrub_ticket
from pipeline_lib.settings import Settings

TABLES = ("optout", "contact", "suitability")
"""Oversight's tables with a row for a customer; ``feature_row`` is the nightly refresh's."""
APPROVALS = 2


def ask(settings: Settings, customer: str, operator: str, reason: str, ticket: str) -> dict[str, Any]:
    """Record that a customer is to be erased; nothing changes yet. Asked again, it is the same request.

    Args:
        customer: number or pseudonym; only the pseudonym is recorded.

    Raises:
        RequestRefused: no operator, reason or ticket, or the customer is erased already.
        AuditError: it could not be recorded.
    """
    operator, reason = persons.named(operator, reason, settings.promotion.force)
    if not ticket.strip():
        raise RequestRefused("an erasure names the ticket under which the customer asked for it")
    subject = mapping.resolve(settings, customer, operator, f"erasure: {reason}")
    if mapping.is_erased(settings, subject):
        raise RequestRefused("this customer is erased already")
    every = expiry.acts(settings)
    waiting = [one for one in _requests(every) if one["subject_ref"] == subject and one["state"] in ("open", "begun")]
    request = waiting[0]["request"] if waiting else f"e-{digest([subject, operator, utc_now().isoformat()])[:12]}"
    if not waiting:
        until = (utc_now() + timedelta(days=settings.audit.retention.erasure_valid_days)).isoformat()
        details = {"step": "request", "subject_ref": subject, "ticket": scrub_ticket(ticket), "until": until}
        _row(settings, request, operator, reason, details)
    return {"request": request, "waits_for": f"two people, neither of them {operator}"}


def approve(settings: Settings, request: str, person: str, statement: str) -> dict[str, Any]:
    """One of two people who did not ask says yes.

    Raises:
        RequestRefused: no such open request, it is who asked or approved already, or a legal hold is on.
        AuditError: it could not be recorded.
    """
    person, statement = persons.named(person, statement, settings.promotion.force)
    every = expiry.acts(settings)
    known = _find(settings, every, request)
    _refuse_held(every, known)
    said = [known["asked_by"], *known["approved_by"]]
    if any(persons.same(person, one) for one in said):
        raise RequestRefused(f"{request}: {person} asked or approved already; it takes another person")
    details = {"step": "approve", "subject_ref": known["subject_ref"], "ticket": known["ticket"]}
    _row(settings, request, person, statement, details)
    left = APPROVALS - len(known["approved_by"]) - 1
    waits = {"waits_for": f"{left} more, none of them {', '.join([*said, person])}"} if left > 0 else {}
    return {"request": request, "approved_by": [*known["approved_by"], person], **waits}


def execute(settings: Settings, request: str, operator: str) -> dict[str, Any]:
    """Erase; a call that was cut off is finished by the same call.

    Raises:
        RequestRefused: not approved twice, lapsed, a legal hold is on, or the record does not verify.
        AuditError: it could not be recorded; nothing was erased then.
        TableUnreadable: a serving table does not answer; the call is to be made again.
    """
    every = expiry.acts(settings)
    known = _find(settings, every, request, also_done=True)
    if known["state"] == "done":
        return {"request": request, "state": "done"}
    _refuse_held(every, known)
    if known["state"] != "begun":
        if len(known["approved_by"]) < APPROVALS:
            raise RequestRefused(f"{request}: {len(known['approved_by'])} of {APPROVALS} approvals")
        _begin(settings, every, known, operator)
    erased = _erase(settings, known["subject_ref"])
    payloads = _let_go(settings, every, known, operator)
    details = {"step": "execute", "subject_ref": known["subject_ref"], "payloads": payloads, "rows": erased}
    _row(settings, request, operator, f"as {request} was approved", details, "done", _evidence(every, request))
    session.commit(settings)
    return {"request": request, "state": "done", "payloads": payloads}


def status(settings: Settings) -> dict[str, Any]:
    """Requests with their state, and holds that are on."""
    every = expiry.acts(settings)
    on = [{"on": one.object_id, "since": one.since} for one in lawful.holds(every) if not one.until]
    names = ("request", "state", "asked_by", "approved_by", "ticket", "until")
    return {"requests": [{name: one[name] for name in names} for one in _requests(every)], "holds": on}


def _requests(every: Sequence[Act]) -> list[dict[str, Any]]:
    """Every request with what became of it, oldest first."""
    rows = sorted((one for one in every if one.event == lawful.ERASURE), key=lambda one: one.ts)
    found = []
    for asked in (one for one in rows if one.payload["details"]["step"] == "request"):
        of = [one for one in rows if one.payload["object_id"] == asked.payload["object_id"]]
        phases = {one.payload["phase"]: one for one in of if one.payload["details"]["step"] == "execute"}
        details = asked.payload["details"]
        lapsed = details["until"] < utc_now().isoformat()
        state = "done" if "done" in phases else "begun" if phases else "lapsed" if lapsed else "open"
        found.append({
            "request": asked.payload["object_id"], "state": state, "asked_by": asked.payload["actor_ref"],
            "approved_by": [one.payload["actor_ref"] for one in of if one.payload["details"]["step"] == "approve"],
            "subject_ref": details["subject_ref"], "ticket": details["ticket"], "until": details["until"],
        })  # fmt: skip
    return found


def _find(settings: Settings, every: Sequence[Act], request: str, *, also_done: bool = False) -> dict[str, Any]:
    known = next((one for one in _requests(every) if one["request"] == request), None)
    if known is None:
        raise RequestRefused(f"no request {request!r}; `pipeline privacy status` lists them")
    if known["state"] == "lapsed" or (known["state"] == "done" and not also_done):
        raise RequestRefused(f"{request} is {known['state']}; it was open until {known['until']}")
    return known


def _refuse_held(every: Sequence[Act], known: Mapping[str, Any]) -> None:
    now = segment.timestamp(int(utc_now().timestamp() * 1_000_000))
    if one := lawful.held(lawful.holds(every), now, known["subject_ref"]):
        raise RequestRefused(f"{known['request']}: a legal hold is on since {one.since}")


def _begin(settings: Settings, every: Sequence[Act], known: Mapping[str, Any], operator: str) -> None:
    """The intent row with both approvals and what stays for which reason, under a checkpoint."""
    policy = settings.audit.retention
    session.commit(settings)
    if why := expiry.unsound(settings):
        raise RequestRefused(f"{known['request']}: {why}")
    stays = [{"table": table, "legal_basis": policy.legal_basis[table]}
             for table, act in sorted(policy.on_erasure.items()) if act == "keep"]  # fmt: skip
    _intent(settings, every, known, operator, {"stays": stays})


def _let_go(settings: Settings, every: Sequence[Act], known: Mapping[str, Any], operator: str) -> int:
    """Drop the payloads that policy does not keep, so many segments at once as a row can name; how many."""
    go = {table for table, act in settings.audit.retention.on_erasure.items() if act == "drop"}
    count = 0
    while batch := expiry.of_subject(settings, known["subject_ref"], go)[: expiry.BATCH] if go else []:
        _intent(settings, every, known, operator, {"drops": [one.item(None) for one in batch]})
        expiry.remove(settings, [one.item(None) for one in batch])
        count += sum(len(one.seqs) for one in batch)
    return count


def _intent(
    settings: Settings, every: Sequence[Act], known: Mapping[str, Any], operator: str, what: Mapping[str, Any]
) -> None:
    details = {"step": "execute", "subject_ref": known["subject_ref"], **what}
    reason, proof = f"as {known['request']} was approved", _evidence(every, known["request"])
    _row(settings, known["request"], operator, reason, details, "intent", proof)
    session.commit(settings)


def _erase(settings: Settings, subject: str) -> list[dict[str, Any]]:
    """Index and serving tables; what was there, for the record. The mark comes first: nothing is put back after it."""
    objects, dataset = open_objects(settings.place.root), settings.source.name
    found = {"customer_index": int(mapping.erase(objects, dataset, subject))}
    found["feature_rows"] = int(_from_file(objects, f"serving/{dataset}/{FEATURES}", subject))
    items = writable(settings)
    for table in (*TABLES, *(("feature_row",) if settings.place.tables else ())):
        items.delete(table, subject)
    found["kept"] = _kept(items, subject)
    return [{"k": name, "v": count} for name, count in sorted(found.items())]


def _from_file(objects: Objects, key: str, subject: str) -> bool:
    """Replace the file of the nightly rows by one without the customer; free pages are written anew."""
    while True:
        try:
            data, tag = objects.get_tagged(key)
        except ObjectMissing:
            return False
        with closing(sqlite3.connect(":memory:", isolation_level=None)) as database:
            database.deserialize(data)
            if not database.execute("DELETE FROM feature_row WHERE subject_ref = ?", (subject,)).rowcount:
                return False
            database.execute("VACUUM")
            left = database.serialize()
        try:
            objects.swap(key, left, tag)
        except SwapLost:  # the nightly refresh wrote in between
            continue
        return True


def _kept(items: Items, subject: str) -> int:
    """Answers that are kept for explanations name the pseudonym inside."""
    mine = [str(one["key"]) for one in items.all("kept") if subject in str(one["body"])]
    for key in mine:
        items.delete("kept", key)
    return len(mine)


def _evidence(every: Sequence[Act], request: str) -> list[dict[str, str]]:
    of = [one for one in every if one.event == lawful.ERASURE and one.payload["object_id"] == request]
    return [{"actor_ref": one.payload["actor_ref"], "method": "login", "at": one.ts}
            for one in of if one.payload["details"]["step"] == "approve"]  # fmt: skip


def _row(
    settings: Settings, request: str, operator: str, reason: str, details: Mapping[str, Any],
    phase: Phase = "single", approvals: Sequence[Mapping[str, str]] | None = None,
) -> None:  # fmt: skip
    step = details["step"]
    action = f"{lawful.ERASURE}:{request}" if step == "execute" else f"{lawful.ERASURE}:{request}:{step}:{operator}"
    record_operation(
        settings, lawful.ERASURE, f"{action}:{phase}", service="privacy", object_type="subject", object_id=request,
        reason=reason, actor=("human", operator), action_id=action, phase=phase, severity="major", details=details,
        approvals=approvals,
    )  # fmt: skip
