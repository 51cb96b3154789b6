"""Which decisions took effect, read from the record alone: the truth behind the pointer.

A verdict took effect when its ``manifest_swap`` ended ``done``. The record is appended to and cannot be edited, so
what it says here holds even when every object of the registry is lost. Only the promotion service's own
write-once chains are read; their hashes and MACs are checked on the way.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any, NamedTuple

from pipeline_lib.audit import evidence, segment, session
from pipeline_lib.audit.log import once_chain
from pipeline_lib.audit.segment import Chain
from pipeline_lib.audit.session import StoredRow
from pipeline_lib.errors import GateCannotJudge
from pipeline_lib.keys import KeyFolder
from pipeline_lib.records import Receipt
from pipeline_lib.registry import rows
from pipeline_lib.registry.decisions import StoredDecision
from pipeline_lib.settings import Settings

_SERVICE = once_chain("", rows.SERVICE, "").writer_id.rsplit(":", 1)[0]
"""How the writers of this service's write-once chains begin."""


class Effect(NamedTuple):
    """One decision that made a version champion."""

    stored: StoredDecision
    generation: int | None
    """Of the pointer it made; None in rows older than this field."""
    at: str
    """When its effect was recorded as done (``YYYY-MM-DDTHH:MM:SS.ffffffZ``)."""

    @property
    def version(self) -> str:
        return self.stored.decision.challenger_version

    @property
    def manifest_sha256(self) -> str:
        return str(self.stored.decision.body["manifest_sha256"])


@dataclass(frozen=True)
class History:
    """What the record says about the pointer."""

    verdicts: dict[str, StoredDecision]
    """Every verdict by decision id."""
    effects: tuple[Effect, ...]
    """In the order of their generations."""
    generation: int
    """The highest that any row names."""
    failed: tuple[str, ...]
    """Decisions whose version did not answer and was taken back, in order."""
    quarantined: dict[str, str | None]
    """Version -> when its newest mark was set; None when it was lifted."""
    said: Mapping[tuple[str, str], StoredRow]
    """(event, decision id) -> the first row that says so: asked, answered, expired, voided, incident opened."""

    def took_effect(self, decision_id: str) -> bool:
        return any(effect.stored.decision.decision_id == decision_id for effect in self.effects)

    def reigns(self, version: str, now: datetime) -> list[tuple[datetime, datetime]]:
        """[from, to) of every time the version served, by the record; an open one ends now.

        A version that was taken back has served for nobody: the one before it served on.
        """
        held = self.effects
        starts = [e for i, e in enumerate(held) if i == 0 or held[i - 1].version != e.version]
        moments = [datetime.fromisoformat(e.at) for e in starts]
        spans = zip(starts, pairwise([*moments, now]), strict=True)
        return [span for effect, span in spans if effect.version == version]

    @property
    def newest(self) -> Effect | None:
        return self.effects[-1] if self.effects else None


def read(settings: Settings) -> History:
    """The promotion service's rows, checked and put in order.

    Raises:
        AuditError: a row does not verify.
        GateCannotJudge: REGISTRY_CORRUPT: an effect in the record has no verdict in it.
    """
    verdicts: dict[str, StoredDecision] = {}
    operations: list[StoredRow] = []
    for row, receipt in _rows(settings):
        if row.header["event"] == rows.VERDICT:
            decision = rows.verdict_from(row.payload)
            verdicts[decision.decision_id] = StoredDecision(decision, receipt, str(row.header["ts"]))
        else:
            operations.append(row)
    operations.sort(key=lambda row: str(row.header["ts"]))
    swaps = [row for row in operations if row.header["event"] == rows.SWAP]
    done = [_effect(verdicts, row) for row in swaps if row.payload["phase"] == "done"]
    failed = [_about(row) for row in swaps if row.payload["phase"] == "failed"]
    first = {effect.stored.decision.decision_id: effect for effect in reversed(done)}  # resumed under other code
    # One that the reconciler completed and whose version then did not answer was taken back: it serves nobody.
    lasting = (effect for decision_id, effect in first.items() if decision_id not in failed)
    effects = sorted(lasting, key=lambda effect: (effect.generation or 0, effect.at))
    highest = _highest(verdicts, operations, done, failed)
    said = {(str(row.header["event"]), _about(row)): row for row in reversed(operations)}
    return History(verdicts, tuple(effects), highest, tuple(failed), _marks(operations), said)


def _rows(settings: Settings) -> Iterator[tuple[StoredRow, Receipt]]:
    store, keys = session.store(settings), KeyFolder(settings.place.keys)
    for identity, names in evidence.chains(store, session.origin(settings)).items():
        if identity.writer_id.rsplit(":", 1)[0] != _SERVICE:
            continue
        data = store.get(names[0])
        lines, after = segment.check(identity, identity.start(keys.audit_root(segment.key_id(data))), data)
        receipt = _receipt(identity, after)
        yield from ((StoredRow.of(line), receipt) for line in lines)


def _receipt(identity: Chain, after: segment.Head) -> Receipt:
    return Receipt(identity.origin, identity.writer_id, identity.epoch, 1, after.seq, after.entry_hash)


def _effect(verdicts: dict[str, StoredDecision], row: StoredRow) -> Effect:
    decision_id = _about(row)
    if decision_id not in verdicts:
        raise GateCannotJudge("REGISTRY_CORRUPT", f"the record has an effect of {decision_id} and no such verdict")
    return Effect(verdicts[decision_id], _details(row).get("generation"), str(row.header["ts"]))


def _highest(
    verdicts: dict[str, StoredDecision], operations: list[StoredRow], done: list[Effect], failed: list[str]
) -> int:
    """The highest generation a row names or implies: each effect is one swap, each failure a swap and its way back."""
    named = [_details(row).get("generation") or 0 for row in operations]
    judged = [stored.decision.champion_generation for stored in verdicts.values()]
    lasting = {effect.stored.decision.decision_id for effect in done} - set(failed)  # done, then failed: its swap once
    return max([0, len(lasting) + 2 * len(set(failed)), *named, *judged])


def _marks(operations: list[StoredRow]) -> dict[str, str | None]:
    marked = [row for row in operations if row.header["event"] in rows.QUARANTINES]
    return {
        str(row.payload["object_id"]): str(row.header["ts"]) if row.header["event"] == rows.QUARANTINED else None
        for row in marked
    }


def _about(row: StoredRow) -> str:
    details = _details(row)
    return str(details.get("decision_id") or details.get("about") or row.payload["object_id"])


def _details(row: StoredRow) -> dict[str, Any]:
    return row.payload["details"] or {}
