"""Files that repeat what the record says, compared with it: whoever writes one by hand is found.

Nobody's right depends on these files: what counts is the row. They are what people and stages look at first.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from pipeline_lib.canonical import canonical_bytes, with_decimals
from pipeline_lib.errors import ObjectExists
from pipeline_lib.objects import Objects
from pipeline_lib.registry import states
from pipeline_lib.registry.effective import History

OPENED, EXPIRED, VOIDED = "approval_opened", "approval_expired", "decision_voided"
CONFIRMED, OBJECTED, INCIDENT = "force_promote_confirmed", "force_promote_objected", "incident_opened"
ENDS = {"voided": VOIDED, "expired": EXPIRED}
NEEDS = {
    "rejected": "reject",
    "pending_approval": "await_signoff",
    "expired": "await_signoff",
    "superseded": "await_signoff",
}
"""State -> the verdict about the version without which it cannot be in that state."""
_ANSWER = ("answer", "by", "late", "statement")


def compare(objects: Objects, history: History, window: timedelta) -> Iterator[str]:
    """Every disagreement, in words.

    Args:
        window: how much earlier than its row a document may put an effect: it is dated when the release began.
    """
    yield from _closed(objects, history)
    yield from _repeated(objects, history)
    for version in states.listed(objects):
        document = states.read(objects, version)
        yield from _reigns(document, history, window)
        yield from _life(objects, document, history)


def keep(objects: Objects, key: str, body: Mapping[str, Any]) -> None:
    """Repeat a row in a file; another file in its place stays, is found by ``compare`` and counts for nothing."""
    try:
        objects.create(key, canonical_bytes(body))
    except ObjectExists:
        return


def ended(history: History, decision_id: str) -> bool:
    """The record says that this decision takes no effect."""
    return decision_id in history.failed or any((event, decision_id) in history.said for event in ENDS.values())


def answer_of(details: Mapping[str, Any]) -> dict[str, Any]:
    """What the second person said, out of its row."""
    return {name: details[name] for name in _ANSWER}


def _closed(objects: Objects, history: History) -> Iterator[str]:
    for decision_id, body in _bodies(objects, "registry/closed"):
        outcome = str((body or {}).get("outcome"))
        if not _is_over(history, decision_id, outcome):
            yield f"closed/{decision_id}.json says {outcome}, the record does not"


def _is_over(history: History, decision_id: str, outcome: str) -> bool:
    if outcome == "failed":
        return decision_id in history.failed
    if outcome in ENDS:
        return (ENDS[outcome], decision_id) in history.said
    asked = history.verdicts.get(decision_id)
    if outcome != "superseded" or asked is None or asked.decision.decision != "await_signoff":
        return False
    later = [v for v in history.verdicts.values() if v.recorded_at > asked.recorded_at]
    again = any(v.decision.decision == "await_signoff" for v in later)
    return again or history.generation > asked.decision.champion_generation


def _repeated(objects: Objects, history: History) -> Iterator[str]:
    """Questions, answers of second persons, incidents: file and row say the same."""
    for decision_id, body in _bodies(objects, "registry/approvals"):
        row = history.said.get((OPENED, decision_id))
        if row is None or with_decimals(body) != row.payload["details"]:
            yield f"approvals/{decision_id}.json is not what the record says"
    for decision_id, body in _bodies(objects, "registry/confirmations"):
        row = history.said.get((CONFIRMED, decision_id)) or history.said.get((OBJECTED, decision_id))
        said = None if row is None else answer_of(row.payload["details"])
        if said is None or {name: (body or {}).get(name) for name in _ANSWER} != said:
            yield f"confirmations/{decision_id}.json is not what the record says"
    for decision_id, _ in _bodies(objects, "registry/incidents"):
        if (INCIDENT, decision_id) not in history.said:
            yield f"incidents/{decision_id}.json has no row in the record"


def _reigns(document: states.StateDoc, history: History, window: timedelta) -> Iterator[str]:
    """A document's reigns are the record's: the same version, the same decision, and not earlier."""
    version = document["version"]
    made = {effect.stored.decision.decision_id: effect for effect in history.effects}
    steps = [step for step in document["history"] if step["to"] == "champion"]
    for step in steps:
        effect = made.get(step["decision_id"])
        if effect is not None and step["decision_id"] not in history.failed and effect.version != version:
            yield f"state/{version}.json: champion by decision {step['decision_id']}, which is of {effect.version}"
        elif effect is not None and datetime.fromisoformat(step["at"]) < datetime.fromisoformat(effect.at) - window:
            yield f"state/{version}.json: champion since {step['at']}, the record says since {effect.at}"
    missing = {i for i, e in made.items() if e.version == version} - {str(step["decision_id"]) for step in steps}
    for decision_id in sorted(missing):
        yield f"state/{version}.json does not show that it was champion by decision {decision_id}, the record does"


def _life(objects: Objects, document: states.StateDoc, history: History) -> Iterator[str]:
    """Identity and state: what was registered, and a state that the verdicts about the version allow."""
    version, state = document["version"], document["state"]
    about = [stored for stored in history.verdicts.values() if stored.decision.challenger_version == version]
    manifest = objects.get(f"registry/versions/{version}/manifest.json")
    judged = {str(stored.decision.body["manifest_sha256"]) for stored in about}
    if {document["manifest_sha256"], *judged} != {hashlib.sha256(manifest).hexdigest()}:
        yield f"state/{version}.json: its manifest_sha256 is not that of the package or of its verdicts"
    first = min((stored.recorded_at for stored in about), default=document["registered_at"])
    if datetime.fromisoformat(document["registered_at"]) > datetime.fromisoformat(first):
        yield f"state/{version}.json: registered at {document['registered_at']}, judged at {first} already"
    complete = json.loads(manifest)["package_state"] == "complete"
    if state != "quarantined" and complete == (state == "incomplete") or complete != document["promotable"]:
        yield f"state/{version}.json is {state}, its signed manifest says {json.loads(manifest)['package_state']}"
    served = any(effect.version == version for effect in history.effects)
    if served and version not in history.quarantined and state not in ("champion", "retired"):
        yield f"state/{version}.json is {state}, the record says that it has served"
    if state in NEEDS and NEEDS[state] not in {stored.decision.decision for stored in about}:
        yield f"state/{version}.json is {state}, the record has no verdict {NEEDS[state]} about it"
    if state == "retired" and not served:
        yield f"state/{version}.json is retired, the record does not say that it has served"


def _bodies(objects: Objects, folder: str) -> Iterator[tuple[str, dict[str, Any] | None]]:
    """Id and content of every file; None for one that holds no object."""
    for key in objects.list(folder):
        try:
            body = json.loads(objects.get(key))
        except ValueError:
            body = None
        yield key.rsplit("/", 1)[1].removesuffix(".json"), body if isinstance(body, dict) else None
