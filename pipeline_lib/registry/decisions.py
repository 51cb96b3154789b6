"""Verdicts as objects: the decision with its receipt, create-only, after its row is durable.

The row in the record is the verdict; the object is how the next stage finds it. A run that was judged keeps its
verdict: a rerun replays it, even when the champion has moved since.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from pipeline_lib.audit import session
from pipeline_lib.canonical import canonical_bytes, digest
from pipeline_lib.errors import GateCannotJudge, ObjectExists, ObjectMissing, PromotionUnrecorded
from pipeline_lib.keys import KeyFolder
from pipeline_lib.objects import Objects
from pipeline_lib.records import Decision, Receipt
from pipeline_lib.registry import rows
from pipeline_lib.registry.documents import corrupt, document
from pipeline_lib.settings import Settings

Outcome = Literal["voided", "failed", "expired", "superseded"]


@dataclass(frozen=True)
class StoredDecision:
    decision: Decision
    receipt: Receipt
    recorded_at: str
    """When the record took it (ISO 8601, UTC)."""

    def to_dict(self) -> dict[str, Any]:
        return {
            "decision": self.decision.to_dict(),
            "receipt": self.receipt.to_dict(),
            "recorded_at": self.recorded_at,
        }


@dataclass(frozen=True)
class Judged:
    """Identity of what a run had judged: the same again gets the same verdict.

    ``attempt`` counts the earlier verdicts of this run that are over without effect: such a one is decided afresh.
    """

    dataset: str
    logical_date: str
    manifest_sha256: str
    mode: str
    config_hash: str
    attempt: int = 0

    @property
    def key(self) -> str:
        name = f"{self.mode}-{self.config_hash[:16]}-{self.attempt}"
        return f"registry/judged/{self.dataset}/{self.logical_date}/{self.manifest_sha256}/{name}.json"


def decision_id(*parts: Any) -> str:
    """First 32 hex of the SHA-256 of what was judged. Source: promotion.md section 12."""
    return digest(list(parts))[:32]


def signoff_id(basis_decision_id: str) -> str:
    """Id of the human's verdict on a verdict that waits for sign-off: there is only one."""
    return decision_id("signoff", basis_decision_id)


def record(settings: Settings, objects: Objects, decision: Decision) -> StoredDecision:
    """Make a verdict durable: its row first, then its object. Recording it again returns the first.

    Raises:
        AuditError: the row is not durable; there is no decision.
        PromotionUnrecorded: somebody else's wording lies where this verdict's should; there is no decision.
    """
    if stored := find(objects, decision.decision_id):
        return stored
    recorded, receipt, at = rows.record_verdict(settings, _proposed(settings, objects, decision))
    stored = StoredDecision(recorded, receipt, at)
    put_back(objects, stored)
    return stored


def _proposed(settings: Settings, objects: Objects, decision: Decision) -> Decision:
    """The first wording of this verdict: after a crash the row is looked for in exactly that wording."""
    try:
        objects.create(_proposal_key(decision.decision_id), _sealed(settings, decision.to_dict()))
    except ObjectExists:
        pass
    return _opened(settings, objects, decision.decision_id)


def _sealed(settings: Settings, body: dict[str, Any], key_id: str | None = None) -> bytes:
    """A wording with its MAC: it becomes the verdict after a crash, so it is ours or it is nothing."""
    key_id = key_id or session.active_key(settings)
    root = KeyFolder(settings.place.keys).audit_root(key_id)
    mac = hmac.digest(root, b"proposal/v1\n" + canonical_bytes(body), "sha256").hex()
    return canonical_bytes({"decision": body, "key_id": key_id, "mac": mac})


def _opened(settings: Settings, objects: Objects, decision_id: str) -> Decision:
    data = objects.get(_proposal_key(decision_id))
    try:
        sealed = json.loads(data)
        body, ours = sealed["decision"], _sealed(settings, sealed["decision"], str(sealed["key_id"]))
    except (ValueError, KeyError, TypeError) as error:
        raise PromotionUnrecorded(f"{_proposal_key(decision_id)} is no proposal of ours: {error}") from error
    if not hmac.compare_digest(data, ours) or body["decision_id"] != decision_id:
        raise PromotionUnrecorded(f"{_proposal_key(decision_id)} is no proposal of ours: its MAC does not verify")
    return Decision(**body)


def recover(settings: Settings, objects: Objects) -> list[str]:
    """Write the objects of verdicts that are in the record and whose writer died before theirs.

    Returns:
        their ids.

    Raises:
        AuditError: the record does not verify.
        PromotionUnrecorded: a first wording is not ours.
    """
    known = set(objects.list("registry/decisions"))
    lost = [i for i in _ids(objects, "registry/proposed") if _key(i) not in known and rows.is_recorded(settings, i)]
    for decision_id in lost:
        record(settings, objects, _opened(settings, objects, decision_id))
    return lost


def put_back(objects: Objects, stored: StoredDecision) -> None:
    """The object of a recorded verdict, as it was; kept when it is there."""
    objects.create(_key(stored.decision.decision_id), canonical_bytes(stored.to_dict()))


def find(objects: Objects, decision_id: str) -> StoredDecision | None:
    try:
        return get(objects, decision_id)
    except ObjectMissing:
        return None


def get(objects: Objects, decision_id: str) -> StoredDecision:
    """Raises ObjectMissing when there is no such decision."""
    return _parsed(_key(decision_id), objects.get(_key(decision_id)))


def listed(objects: Objects) -> list[StoredDecision]:
    """Every decision that can be read, in the order it was recorded; ``unreadable`` names the others."""
    found = [stored for stored in _all(objects) if isinstance(stored, StoredDecision)]
    return sorted(found, key=lambda stored: (stored.recorded_at, stored.decision.decision_id))


def unreadable(objects: Objects) -> list[str]:
    """What is wrong with objects that are no decision, in words. They stop nobody: the record has every verdict."""
    return [str(wrong) for wrong in _all(objects) if isinstance(wrong, GateCannotJudge)]


def open_changes(objects: Objects) -> list[StoredDecision]:
    """Decisions that change the champion and are neither voided nor failed, in order."""
    return [s for s in listed(objects) if s.decision.changes_champion and not closed(objects, s.decision.decision_id)]


def begin_effect(objects: Objects, decision_id: str) -> None:
    """Note that a decision is about to move the pointer: from here on a missing pointer is a lost one."""
    objects.create(f"registry/effects/{decision_id}.json", canonical_bytes({"decision_id": decision_id}))


def effects(objects: Objects) -> list[str]:
    """Decisions that moved the pointer or were about to; not those that were voided before they did."""
    return [i for i in _ids(objects, "registry/effects") if (closed(objects, i) or {}).get("outcome") != "voided"]


def close(objects: Objects, decision_id: str, outcome: Outcome, reason: str) -> None:
    """Say for good that a decision will not take effect; the first word stands."""
    try:
        objects.create(_closed_key(decision_id), canonical_bytes({"outcome": outcome, "reason": reason}))
    except ObjectExists:
        return


def closed(objects: Objects, decision_id: str) -> dict[str, str] | None:
    """``{outcome, reason}`` of a decision that will not take effect, else None."""
    try:
        return document(_closed_key(decision_id), objects.get(_closed_key(decision_id)))
    except ObjectMissing:
        return None


def require_open(objects: Objects, decision_id: str) -> None:
    """Returns nothing; raises PromotionUnrecorded when it was said that this decision takes no effect."""
    if end := closed(objects, decision_id):
        raise PromotionUnrecorded(f"decision {decision_id} was {end['outcome']}: {end['reason']}")


def over(objects: Objects, decision_id: str) -> dict[str, str] | None:
    """As ``closed``, of a gate's verdict or of the human's answer to it: the run may be judged afresh."""
    return closed(objects, decision_id) or closed(objects, signoff_id(decision_id))


def remember(objects: Objects, judged: Judged, verdict: dict[str, Any]) -> dict[str, Any]:
    """Keep the verdict of a run; when it has one already, that one is returned."""
    try:
        objects.create(judged.key, canonical_bytes(verdict))
    except ObjectExists:
        pass
    kept = recall(objects, judged)
    assert kept is not None, "an object that was just created is readable"
    return kept


def recall(objects: Objects, judged: Judged) -> dict[str, Any] | None:
    """What ``remember`` kept."""
    try:
        return document(judged.key, objects.get(judged.key))
    except ObjectMissing:
        return None


def _all(objects: Objects) -> Iterator[StoredDecision | GateCannotJudge]:
    for key in objects.list("registry/decisions"):
        try:
            yield _parsed(key, objects.get(key))
        except GateCannotJudge as wrong:
            yield wrong


def _parsed(key: str, data: bytes) -> StoredDecision:
    body = document(key, data)
    try:
        return StoredDecision(Decision(**body["decision"]), Receipt(**body["receipt"]), body["recorded_at"])
    except (KeyError, TypeError) as error:
        raise corrupt(key, f"a document that is no decision ({error})") from error


def _ids(objects: Objects, folder: str) -> list[str]:
    return [key.rsplit("/", 1)[1].removesuffix(".json") for key in objects.list(folder)]


def _proposal_key(decision_id: str) -> str:
    return f"registry/proposed/{decision_id}.json"


def _key(decision_id: str) -> str:
    return f"registry/decisions/{decision_id}.json"


def _closed_key(decision_id: str) -> str:
    return f"registry/closed/{decision_id}.json"
