"""A force-promote that waits for its second person: asked for in a shell, agreed to under another login, then decided.

The row ``force_promote_requested`` is the request; no file repeats it. It ends with the decision of the same id, with
``force_promote_declined``, or by itself after ``WAITS``. The form asks the same question by itself.
Source: promotion.md section 8.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from pipeline_lib.business_time import utc_now
from pipeline_lib.errors import RequestRefused
from pipeline_lib.gate import force
from pipeline_lib.gate.request import Request
from pipeline_lib.objects import open_objects
from pipeline_lib.records import Decision, Receipt
from pipeline_lib.registry import decisions, effective, persons, rows
from pipeline_lib.registry.smoke import Probe, complete_and_loadable
from pipeline_lib.scrub import scrub
from pipeline_lib.settings import Settings

REQUESTED, DECLINED = "force_promote_requested", "force_promote_declined"
WAITS = timedelta(hours=1)
"""As long as the form waits."""


@dataclass(frozen=True)
class Pending:
    """A request as it was recorded; its ``approver`` is whose agreement it waits for."""

    request: Request
    why: str
    until: datetime

    @property
    def decision_id(self) -> str:
        return self.request.decision_id


def ask(settings: Settings, request: Request, principal: str, now: datetime | None = None) -> Pending | None:
    """Record the request and wait for the approver it names; None when one person may do it, or it was decided.

    Args:
        principal: authenticated identity of who asks; must be the operator.

    Raises:
        RequestRefused: the request is not valid, or its id is another request's; nothing changed.
    """
    now = now or utc_now()
    why = force.examine(settings, request, principal, now=now)
    if why is None:
        return None
    if there := find(settings, request.decision_id):
        if there.request != request:
            raise RequestRefused(f"request {request.request_id} was {there.request.operator}'s; use another id")
        return there
    made = Pending(request, why, now + WAITS)
    rows.operation(
        settings,
        REQUESTED,
        f"{REQUESTED}:{request.decision_id}",
        object_type="version",
        object_id=request.version,
        reason=request.reason,
        action_id=request.decision_id,
        actor=("human", principal),
        severity="minor",
        details={
            "decision_id": request.decision_id,
            "request": asdict(request),
            "why": why,
            "until": made.until.isoformat(),
        },
    )
    return made


def waiting(settings: Settings, now: datetime | None = None) -> list[Pending]:
    """Requests that nobody agreed to or declined yet, and whose time is not over."""
    now = now or utc_now()
    return [one for one in _asked(settings) if one.until > now and not _over(settings, one.decision_id)]


def find(settings: Settings, decision_id: str) -> Pending | None:
    """The request of that decision, waiting or not."""
    return next((one for one in _asked(settings) if one.decision_id == decision_id), None)


def agree(
    settings: Settings,
    decision_id: str,
    person: str,
    smoke: Probe = complete_and_loadable,
    now: datetime | None = None,
) -> tuple[Decision, Receipt]:
    """Decide as asked, checked once more; whoever calls releases it. Agreed before: the same decision again.

    Args:
        person: authenticated identity; the approver the request names.

    Raises:
        RequestRefused: not this person's to agree to, declined, too late, or the version may not serve.
    """
    now = now or utc_now()
    asked = _open(settings, decision_id, person, now).request
    return force.force_promote(
        settings, asked.version, asked.operator, asked.reason,
        request_id=asked.request_id, approver=person, approver_signed_in=True, ticket=asked.ticket,
        allow_quarantined=asked.allow_quarantined, rollback_of=asked.rollback_of, smoke=smoke, now=now,
    )  # fmt: skip


def decline(settings: Settings, decision_id: str, person: str, statement: str, now: datetime | None = None) -> Pending:
    """Record that the second person does not agree: nothing was changed, and nothing will be."""
    one = _open(settings, decision_id, person, now or utc_now())
    if decisions.find(open_objects(settings.place.root), decision_id):
        raise RequestRefused(f"{one.request.version} was forced already: request {one.request.request_id}")
    rows.operation(
        settings,
        DECLINED,
        f"{DECLINED}:{decision_id}",
        object_type="version",
        object_id=one.request.version,
        reason=scrub(statement) or "no statement",
        action_id=decision_id,
        actor=("human", person),
        severity="minor",
        details={"decision_id": decision_id, "operator": one.request.operator},
    )
    return one


def _open(settings: Settings, decision_id: str, person: str, now: datetime) -> Pending:
    """The request, if this person may still answer it."""
    one = find(settings, decision_id)
    if one is None:
        raise RequestRefused(f"nobody asked for decision {decision_id}")
    asked = one.request
    if not persons.same(person, asked.approver or ""):
        raise RequestRefused(f"{asked.operator} asked {asked.approver} to agree to {asked.version}, found {person!r}")
    decided = decisions.find(open_objects(settings.place.root), decision_id)
    if decided is None and (end := _over(settings, decision_id)):
        raise RequestRefused(f"{asked.version}: {end}")
    if decided is None and now >= one.until:
        raise RequestRefused(f"{asked.version}: nobody agreed until {one.until.isoformat()}; ask again")
    return one


def _over(settings: Settings, decision_id: str) -> str | None:
    """How the request ended, in words; None while it waits."""
    if decisions.find(open_objects(settings.place.root), decision_id):
        return "it was decided"
    row = effective.read(settings).said.get((DECLINED, decision_id))
    return f"declined by {row.payload['actor_ref']}" if row else None


def _asked(settings: Settings) -> Iterator[Pending]:
    for (event, _), row in effective.read(settings).said.items():
        if event == REQUESTED:
            said: dict[str, Any] = row.payload["details"]
            yield Pending(Request(**said["request"]), said["why"], datetime.fromisoformat(said["until"]))
