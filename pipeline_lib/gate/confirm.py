"""What a force-promote by one person leaves open: a second person confirms within a day, or it is an incident.

    confirmations/<decision id>.json   who confirmed or objected, when, why      (under registry/, written once)
    incidents/<decision id>.json       the major incident of a force-promote that nobody confirmed in time

The row in the record is the fact and what counts; the object repeats it and is compared with it. A confirmation
that comes late is recorded as late and closes no incident. Source: promotion.md section 8.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from pipeline_lib.business_time import SEOUL, utc_now
from pipeline_lib.errors import RequestRefused
from pipeline_lib.objects import Objects, open_objects
from pipeline_lib.records import Decision
from pipeline_lib.registry import caches, decisions, effective, persons, rows
from pipeline_lib.registry.caches import CONFIRMED, OBJECTED, answer_of, ended
from pipeline_lib.registry.effective import History
from pipeline_lib.scrub import scrub
from pipeline_lib.settings import Settings
from pipeline_lib.settings.promotion import Force

log = logging.getLogger(__name__)

DUE = "second_person_due"
Answer = Literal["Confirm", "Object"]
ANSWERS: dict[str, str] = {"Confirm": CONFIRMED, "Object": OBJECTED}


@dataclass(frozen=True)
class Due:
    """A force-promote that waits for its second person."""

    decision_id: str
    version: str
    operator: str
    reason: str
    due: datetime
    approver: str | None = None
    """Whom the operator named; then nobody else confirms."""

    @property
    def until(self) -> str:
        """``due`` for people."""
        return f"{self.due.astimezone(SEOUL):%A %d %B, %H:%M} in Seoul"

    def overdue(self, now: datetime) -> bool:
        return now > self.due


def second_person_due(policy: Force, now: datetime) -> dict[str, str]:
    """The line of a decision's approvals that says that somebody is missing, and until when."""
    due = now + timedelta(hours=policy.confirm_hours)
    return {"actor_ref": "unknown", "method": DUE, "at": due.isoformat()}


def due_of(decision: Decision) -> Due | None:
    """What this decision owes a second person; None when two agreed before, or it is no force-promote."""
    for line in decision.body["approvals"] or []:
        if line["method"] == DUE:
            due = datetime.fromisoformat(line["at"])
            return Due(
                decision.decision_id,
                decision.challenger_version,
                str(decision.operator),
                decision.reason,
                due,
                decision.body["approver"],
            )
    return None


def waiting(settings: Settings) -> list[Due]:
    """Force-promotes that took effect, or may, and that nobody confirmed or objected to yet; oldest first."""
    history = effective.read(settings)
    recorded = sorted(history.verdicts.values(), key=lambda stored: stored.recorded_at)
    owed = [due for stored in recorded if (due := due_of(stored.decision))]
    return [one for one in owed if not _answered(history, one) and not ended(history, one.decision_id)]


def confirm(
    settings: Settings,
    decision_id: str,
    person: str,
    answer: Answer = "Confirm",
    statement: str = "",
    now: datetime | None = None,
) -> dict[str, Any]:
    """Record what the second person says. The same person saying it again is found; an objection is an incident.

    Args:
        person: authenticated identity; not the operator.

    Returns:
        who answered what, when, and whether it came late.

    Raises:
        RequestRefused: nothing is owed, it was answered already, or the person is the operator.
    """
    objects, now = open_objects(settings.place.root), now or utc_now()
    owed = _owed(objects, decision_id)
    if not person.strip() or persons.same(person, owed.operator):
        raise RequestRefused(f"a second person confirms: {owed.operator} forced {owed.version}, found {person!r}")
    if owed.approver and not persons.same(person, owed.approver):
        raise RequestRefused(f"{owed.operator} named {owed.approver} as second person, found {person!r}")
    if there := _said(effective.read(settings), decision_id):
        if (there["by"], there["answer"]) != (person, answer):
            raise RequestRefused(f"{there['by']} has answered {there['answer']} at {there['at']}")
    else:
        there = _answer(settings, owed, person, answer, statement, now)
    caches.keep(objects, _answer_key(decision_id), there)
    if answer == "Object":
        _open_incident(settings, objects, owed, f"{person} objects to the force-promote of {owed.version}")
    return there


def _answer(
    settings: Settings, owed: Due, person: str, answer: Answer, statement: str, now: datetime
) -> dict[str, Any]:
    """The row of an answer, and what it says."""
    decision_id = owed.decision_id
    said: dict[str, Any] = {"answer": answer, "by": person, "late": owed.overdue(now), "statement": scrub(statement)}
    rows.operation(
        settings,
        ANSWERS[answer],
        f"force_promote_answered:{decision_id}",
        object_type="decision",
        object_id=decision_id,
        reason=said["statement"] or f"{answer}, no statement",
        action_id=decision_id,
        actor=("human", person),
        severity="info" if answer == "Confirm" else "major",
        details={**said, "version": owed.version, "operator": owed.operator},
    )
    recorded = _said(effective.read(settings), decision_id)
    assert recorded is not None, "a durable row is readable"
    return recorded


def open_incidents(settings: Settings, now: datetime | None = None) -> list[str]:
    """Open a major incident for every force-promote whose second person is overdue; safe to repeat.

    Returns:
        the incidents opened by this call, in words.
    """
    objects, now = open_objects(settings.place.root), now or utc_now()
    return [
        text
        for owed in waiting(settings)
        if owed.overdue(now)
        and (text := _open_incident(settings, objects, owed, f"nobody confirmed {owed.version} until {owed.until}"))
    ]


def page_if_many(settings: Settings, objects: Objects, decision: Decision, now: datetime) -> None:
    """More force-promotes in a day than usual: the risk owner is called, and nothing is blocked."""
    since = now - timedelta(hours=24)
    forced = [s for s in decisions.listed(objects) if s.decision.decision == "force_promote"]
    count = sum(datetime.fromisoformat(s.recorded_at) >= since for s in forced)
    if count > settings.promotion.force.many_per_day:
        page(settings, "risk_owner", f"{count} force-promotes in 24 h, the last of {decision.challenger_version}",
             about=decision.decision_id)  # fmt: skip


def page(settings: Settings, whom: str, why: str, *, about: str) -> None:
    """Call somebody: a row in the record, and a CRITICAL line in the log, which is what a pager is wired to."""
    rows.operation(
        settings,
        "paged",
        f"paged:{whom}:{about}",
        object_type="person",
        object_id=whom,
        reason=why,
        action_id=about,
        severity="critical",
        details={"about": about},
    )
    log.critical("page %s: %s", whom, why)


def _open_incident(settings: Settings, objects: Objects, owed: Due, why: str) -> str | None:
    about = f"incident-{owed.decision_id}"
    if ("paged", about) in effective.read(settings).said:  # the page is the last row of an incident
        return None
    opened = {"decision_id": owed.decision_id, "version": owed.version, "operator": owed.operator, "why": why}
    rows.operation(
        settings,
        "incident_opened",
        f"incident_opened:force:{owed.decision_id}",
        object_type="decision",
        object_id=owed.decision_id,
        reason=why,
        action_id=owed.decision_id,
        severity="major",
        details={**opened, "level": "MAJOR", "due": owed.due.isoformat()},
    )
    page(settings, "risk_owner", f"major incident: {why}", about=about)
    caches.keep(objects, f"registry/incidents/{owed.decision_id}.json", opened)
    return why


def _owed(objects: Objects, decision_id: str) -> Due:
    stored = decisions.find(objects, decision_id)
    owed = due_of(stored.decision) if stored else None
    if owed is None:
        raise RequestRefused(f"decision {decision_id} waits for no second person")
    return owed


def _answered(history: History, owed: Due) -> bool:
    return _said(history, owed.decision_id) is not None


def _said(history: History, decision_id: str) -> dict[str, Any] | None:
    """What the second person said, as it is in the record."""
    row = history.said.get((CONFIRMED, decision_id)) or history.said.get((OBJECTED, decision_id))
    return {**answer_of(row.payload["details"]), "at": str(row.header["ts"])} if row else None


def _answer_key(decision_id: str) -> str:
    return f"registry/confirmations/{decision_id}.json"
