"""The question put to a human about a challenger that cleared the ladder: opened once, open until it is over.

    approvals/<decision id>.json   {approval_id, decision_id, version, champion_generation, opened_at, expires_at,
                                    summary}   (under registry/, written once)

What was asked and until when is the row ``approval_opened``; the object repeats it and is compared with it.
A question is over when it was answered, expired, or was superseded by a later one or by another champion.
Source: promotion.md section 7.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from pipeline_lib.errors import RequestRefused
from pipeline_lib.objects import Objects, open_objects
from pipeline_lib.registry import caches, decisions, effective, rows, states
from pipeline_lib.registry.caches import OPENED
from pipeline_lib.registry.decisions import StoredDecision
from pipeline_lib.settings import Settings

Question = dict[str, Any]


def put(settings: Settings, objects: Objects, stored: StoredDecision) -> Question:
    """Ask, and supersede whatever was asked before; a question that was put is returned as it is."""
    decision_id, question = stored.decision.decision_id, _worded(settings, stored)
    if (OPENED, decision_id) in effective.read(settings).said:
        question = asked(settings, decision_id)
        caches.keep(objects, _key(decision_id), question)
        return question
    _mark_pending(objects, stored)
    rows.operation(
        settings,
        OPENED,
        f"{OPENED}:{decision_id}",
        object_type="version",
        object_id=stored.decision.challenger_version,
        reason=stored.decision.reason,
        action_id=question["approval_id"],
        details=question,
    )
    caches.keep(objects, _key(decision_id), question)
    return question


def asked(settings: Settings, decision_id: str) -> Question:
    """The question as it is in the record.

    Raises:
        RequestRefused: nobody was asked about that decision.
        AuditError: the record does not verify.
    """
    if row := effective.read(settings).said.get((OPENED, decision_id)):
        return dict(row.payload["details"])
    raise RequestRefused(f"nobody was asked about decision {decision_id}")


def open_ones(settings: Settings) -> list[Question]:
    """Questions that wait for an answer; by the rules there is at most one."""
    objects = open_objects(settings.place.root)
    pending = [states.read(objects, version) for version in states.listed(objects, "pending_approval")]
    return [asked(settings, document["last_decision_id"]) for document in pending]


def require_open(objects: Objects, stored: StoredDecision) -> None:
    """Returns nothing; raises RequestRefused when the question is over, saying how it ended."""
    version = stored.decision.challenger_version
    if end := decisions.closed(objects, stored.decision.decision_id):
        raise RequestRefused(f"the question about {version} is {end['outcome']}: {end['reason']}; judge it again")
    if (state := states.read(objects, version)["state"]) != "pending_approval":
        raise RequestRefused(f"{version} no longer waits for an answer: it is {state}")


def expire(settings: Settings, objects: Objects, stored: StoredDecision, question: Question, now: datetime) -> None:
    """Closed first: from here on a rerun judges afresh. The document moves unless it waits for another question."""
    version, decision_id = stored.decision.challenger_version, stored.decision.decision_id
    why = f"nobody answered until {question['expires_at']}"
    rows.operation(
        settings,
        "approval_expired",
        f"approval_expired:{decision_id}",
        object_type="version",
        object_id=version,
        reason=why,
        action_id=question["approval_id"],
        severity="minor",
        details=question,
    )
    decisions.close(objects, decision_id, "expired", why)
    if states.waits_for(objects, version, decision_id):
        states.move(objects, version, "expired", rows.SERVICE, decision_id, now)


def supersede(objects: Objects, stored: StoredDecision, why: str, by: str, now: datetime) -> None:
    """The champion moved after the verdict: the question is over, and a rerun is judged afresh."""
    decision = stored.decision
    decisions.close(objects, decision.decision_id, "superseded", why)
    states.move(objects, decision.challenger_version, "superseded", by, decision.decision_id, now)


def started_by(stored: StoredDecision) -> list[str]:
    """Who triggered the run that was judged: they may not answer."""
    return [str(a["actor_ref"]) for a in stored.decision.body["approvals"] or [] if a["method"] == "started_run"]


def _mark_pending(objects: Objects, stored: StoredDecision) -> None:
    """The version waits; whichever waited before is superseded."""
    version, decision_id = stored.decision.challenger_version, stored.decision.decision_id
    at = datetime.fromisoformat(stored.recorded_at)
    for other in states.listed(objects, "pending_approval"):
        earlier = states.read(objects, other)["last_decision_id"]
        if earlier != decision_id:  # closed first: a rerun of that week is judged afresh
            decisions.close(objects, earlier, "superseded", f"{version} was cleared after it")
        if other != version:
            states.move(objects, other, "superseded", rows.SERVICE, decision_id, at)
    if states.read(objects, version)["state"] in ("rejected", "expired", "superseded"):
        states.move(objects, version, "registered", rows.SERVICE, decision_id, at)
    states.move(objects, version, "pending_approval", rows.SERVICE, decision_id, at)


def _worded(settings: Settings, stored: StoredDecision) -> Question:
    decision = stored.decision
    expires = datetime.fromisoformat(stored.recorded_at) + timedelta(hours=settings.schedules.signoff_hours)
    return {
        "approval_id": f"approval-{decision.decision_id}",
        "decision_id": decision.decision_id,
        "version": decision.challenger_version,
        "champion_generation": decision.champion_generation,
        "opened_at": stored.recorded_at,
        "expires_at": expires.isoformat(),
        "summary": {name: decision.body[name] for name in ("comparison", "significance", "fidelity", "drift", "hooks")},
    }


def _key(decision_id: str) -> str:
    return f"registry/approvals/{decision_id}.json"
