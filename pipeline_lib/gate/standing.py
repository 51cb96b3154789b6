"""What serves, what could, and whose answer is missing: the first look of whoever is woken up. Read-only."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pipeline_lib.business_time import utc_now
from pipeline_lib.gate import confirm, pending, question
from pipeline_lib.gate.force import last_verdict
from pipeline_lib.gate.known_good import why_not_known_good
from pipeline_lib.keys import KeyFolder
from pipeline_lib.objects import Objects, open_objects
from pipeline_lib.registry import effective, pointer, states
from pipeline_lib.registry.effective import History
from pipeline_lib.settings import Settings


def standing(settings: Settings, now: datetime | None = None) -> dict[str, Any]:
    """Champion, every version (newest first) with why one person may not force it, open questions, confirmations due.

    Raises:
        GateCannotJudge: REGISTRY_CORRUPT.
        AuditError: the record does not verify.
    """
    objects, keys, now = open_objects(settings.place.root), KeyFolder(settings.place.keys), now or utc_now()
    seen, history = pointer.read(objects, keys), effective.read(settings)
    return {
        "champion": seen.version,
        "generation": seen.generation,
        "previous": seen.pointer.previous_version if seen.pointer else None,
        "versions": [_version(settings, objects, history, version, now) for version in _newest_first(objects)],
        "questions": [
            {"version": one["version"], "decision_id": one["decision_id"], "expires_at": one["expires_at"]}
            for one in question.open_ones(settings)
        ],
        "confirmations": [_owed(one, now) for one in confirm.waiting(settings)],
        "requests": [_asked(one) for one in pending.waiting(settings, now)],
    }


def _version(settings: Settings, objects: Objects, history: History, version: str, now: datetime) -> dict[str, Any]:
    document = states.read(objects, version)
    last, reigns = last_verdict(objects, version), history.reigns(version, now)
    return {
        "version": version,
        "state": document["state"],
        "hours_served": round(sum((end - start).total_seconds() for start, end in reigns) / 3600, 1),
        "last_verdict": last.decision.reason_code if last else None,
        "not_known_good": why_not_known_good(settings, version, now),
    }


def _owed(one: confirm.Due, now: datetime) -> dict[str, Any]:
    return {
        "version": one.version,
        "decision_id": one.decision_id,
        "operator": one.operator,
        "due": one.due.isoformat(),
        "overdue": one.overdue(now),
    }


def _asked(one: pending.Pending) -> dict[str, Any]:
    return {
        "version": one.request.version,
        "decision_id": one.decision_id,
        "operator": one.request.operator,
        "approver": one.request.approver,
        "until": one.until.isoformat(),
    }


def _newest_first(objects: Objects) -> list[str]:
    return sorted(states.listed(objects), key=lambda v: str(states.read(objects, v)["registered_at"]), reverse=True)
