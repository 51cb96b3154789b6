"""Force-promote and rollback: a person makes a version the champion, with a name and a reason in the record.

Skipped are fidelity, competition, hooks and posture. What is never skipped is in ``gate.request``; who may do it
alone in ``gate.known_good``; what a second person owes afterwards in ``gate.confirm``.
Source: promotion.md sections 8 and 9.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime, time, timedelta

from pipeline_lib.business_time import SEOUL, utc_now
from pipeline_lib.errors import ObjectMissing, RequestRefused
from pipeline_lib.gate.confirm import page_if_many, second_person_due
from pipeline_lib.gate.known_good import known_good, unverified, why_not_known_good
from pipeline_lib.gate.request import Request, refusals_recorded, require_servable, require_typed
from pipeline_lib.keys import KeyFolder
from pipeline_lib.objects import Objects, open_objects
from pipeline_lib.records import Decision, Receipt
from pipeline_lib.registry import decisions, pointer, rows, states
from pipeline_lib.registry.decisions import StoredDecision
from pipeline_lib.registry.package import Package
from pipeline_lib.registry.pointer import Seen
from pipeline_lib.registry.smoke import Probe, complete_and_loadable
from pipeline_lib.settings import Settings

log = logging.getLogger(__name__)

SKIPPED = ["fidelity", "competition", "hooks", "posture"]
FRIDAY, COMMITTEE = 4, time(18)
"""The model committee meets Fridays 18:00 in Seoul."""
ALREADY_CHAMPION = "ALREADY_CHAMPION"


def force_promote(
    settings: Settings,
    version: str,
    operator: str,
    reason: str,
    *,
    request_id: str,
    approver: str | None = None,
    approver_signed_in: bool = False,
    ticket: str | None = None,
    allow_quarantined: bool = False,
    principal: str | None = None,
    rollback_of: str | None = None,
    smoke: Probe = complete_and_loadable,
    now: datetime | None = None,
) -> tuple[Decision, Receipt]:
    """Decide that ``version`` serves; whoever calls releases the result.

    Args:
        request_id: the same request again returns the same decision.
        approver: second person; mandatory unless the version is known-good.
        approver_signed_in: the approver answered under a login. A name alone is nobody's agreement: it is enough for
            a known-good version only, and that person confirms afterwards.
        principal: authenticated identity, when the caller has one; must be the operator.

    Returns:
        decision and receipt; for the version that serves already the ones that made it champion, as recorded:
        ``outcome`` tells the two apart.

    Raises:
        RequestRefused: the request is not valid; recorded, nothing changed.
        GateCannotJudge: REGISTRY_CORRUPT.
        AuditError: the row is not durable; there is no decision.
    """
    request = Request.typed(
        version, operator, reason, request_id,
        approver=approver, approver_signed_in=approver_signed_in, ticket=ticket,
        allow_quarantined=allow_quarantined, rollback_of=rollback_of,
    )  # fmt: skip
    objects, keys, now = open_objects(settings.place.root), KeyFolder(settings.place.keys), now or utc_now()
    with refusals_recorded(settings, request, principal):
        require_typed(request, principal, settings.promotion.force)
        if stored := decisions.find(objects, request.decision_id):
            return _replayed(request, stored)
        package = require_servable(request, objects, keys, smoke)
        seen = pointer.read(objects, keys)
        if seen.version == request.version:
            return _already(objects, seen)
        why = why_not_known_good(settings, request.version, now)
        if why and not (request.approver and request.approver_signed_in):
            raise RequestRefused(f"{request.version}: {why}: a second person is needed first, under their own login")
    stored = decisions.record(settings, objects, _decision(settings, objects, request, package, seen, now))
    page_if_many(settings, objects, stored.decision, now)
    log.warning("force-promote of %s by %s: %s", request.version, request.operator, request.reason)
    return stored.decision, stored.receipt


def examine(
    settings: Settings,
    request: Request,
    principal: str | None = None,
    unknown: Sequence[str] = (),
    now: datetime | None = None,
) -> str | None:
    """Everything that can be refused before a second person is woken up.

    Args:
        unknown: keys of the request that mean nothing.

    Returns:
        why a second person is needed, in words; None when the operator may do it alone, or did already.

    Raises:
        RequestRefused: the request is not valid; recorded, nothing changed.
    """
    objects, keys, now = open_objects(settings.place.root), KeyFolder(settings.place.keys), now or utc_now()
    with refusals_recorded(settings, request, principal):
        require_typed(request, principal, settings.promotion.force, unknown)
        require_servable(request, objects, keys, complete_and_loadable)
    served = pointer.read(objects, keys).version == request.version
    if served or decisions.find(objects, request.decision_id):
        return None
    return why_not_known_good(settings, request.version, now)


def refuse(settings: Settings, request: Request, why: str) -> None:
    """Record that a second person did not agree. Raises RequestRefused, always."""
    with refusals_recorded(settings, request):
        raise RequestRefused(f"{request.version}: {why}")


def outcome(decision: Decision, request_id: str) -> str:
    """What came of a request: ALREADY_CHAMPION when the decision returned is not its own, else the decision's code."""
    own = decision.decision_id == decisions.decision_id("force", request_id)
    return decision.reason_code if own else ALREADY_CHAMPION


def needs_second_person(settings: Settings, version: str, now: datetime | None = None) -> str | None:
    """Why forcing this version takes two, in words; None: one person may.

    Raises:
        RequestRefused: no such version.
    """
    try:
        return why_not_known_good(settings, version, now or utc_now())
    except ObjectMissing as error:
        raise RequestRefused(str(error)) from error


def rollback(
    settings: Settings,
    operator: str,
    reason: str,
    *,
    request_id: str,
    approver: str | None = None,
    approver_signed_in: bool = False,
    ticket: str | None = None,
    principal: str | None = None,
    smoke: Probe = complete_and_loadable,
    now: datetime | None = None,
) -> tuple[Decision, Receipt]:
    """Force-promote the version that served before. Arguments and errors as ``force_promote``.

    Raises:
        RequestRefused: also when there is none that could serve; known-good versions are listed.
    """
    objects, keys, now = open_objects(settings.place.root), KeyFolder(settings.place.keys), now or utc_now()
    stored = decisions.find(objects, decisions.decision_id("force", request_id))
    back = stored.decision.challenger_version if stored else None
    of = stored.decision.body["rollback_of"] if stored else None
    if stored is None:
        seen = pointer.read(objects, keys)
        back, of = (seen.pointer.previous_version if seen.pointer else None), seen.version
        request = Request.typed(back or "", operator, reason, request_id, ticket=ticket, rollback_of=of)
        with refusals_recorded(settings, request, principal):
            _require_way_back(settings, objects, keys, back, now)
    return force_promote(
        settings, str(back), operator, reason,
        request_id=request_id, approver=approver, approver_signed_in=approver_signed_in, ticket=ticket,
        principal=principal, rollback_of=of, smoke=smoke, now=now,
    )  # fmt: skip


def _require_way_back(settings: Settings, objects: Objects, keys: KeyFolder, back: str | None, now: datetime) -> None:
    why = "nothing served before" if back is None else unverified(objects, keys, back)
    if back is not None and states.read(objects, back)["state"] == "quarantined":
        why = "it is quarantined"
    if why:
        good = ", ".join(known_good(settings, now)) or "none"
        raise RequestRefused(f"cannot roll back to {back}: {why}; known-good versions: {good}")


def _replayed(request: Request, stored: StoredDecision) -> tuple[Decision, Receipt]:
    decided = stored.decision
    if (decided.challenger_version, decided.operator) != (request.version, request.operator):
        raise RequestRefused(
            f"request {request.request_id} was {decided.operator}'s for {decided.challenger_version}; use another id"
        )
    return decided, stored.receipt


def _already(objects: Objects, seen: Seen) -> tuple[Decision, Receipt]:
    """The decision that made this version champion, as recorded: releasing it finishes what a crash left."""
    assert seen.pointer is not None, "a version that serves has a pointer"
    made_by = seen.pointer.decision_id
    if seen.pointer.trigger == "restore":  # the pointer names the decision that failed
        history = states.read(objects, str(seen.version))["history"]
        made_by = [step["decision_id"] for step in history if step["to"] == "champion"][-1]
    stored = decisions.get(objects, made_by)
    return stored.decision, stored.receipt


def _decision(
    settings: Settings, objects: Objects, request: Request, package: Package, seen: Seen, now: datetime
) -> Decision:
    at, last = now.isoformat(), last_verdict(objects, request.version)
    persons = [{"actor_ref": request.operator, "method": "force_request", "at": at}]
    if request.approver:
        method = "signed_in_approver" if request.approver_signed_in else "named_approver"
        persons.append({"actor_ref": request.approver, "method": method, "at": at})
    if not (request.approver and request.approver_signed_in):
        persons.append(second_person_due(settings.promotion.force, now))
    body = rows.verdict_body(
        request_id=request.request_id,
        manifest_sha256=package.sha256,
        model_digest_challenger=package.sha256,
        model_digest_champion=seen.pointer.manifest_sha256 if seen.pointer else None,
        approver=request.approver,
        approvals=persons,
        ticket=request.ticket,
        gate_path=_path(last),
        fidelity=[
            {"task": t.name, "route": t.route, "verdict": t.fidelity, "kl": t.kl} for t in package.tasks.values()
        ],
        skipped_checks=SKIPPED,
        basis_decision_id=last.decision.decision_id if last else None,
        rollback_of=request.rollback_of,
        review_due=_next_committee(now).isoformat(),
        auto_promote=settings.promotion.auto_promote,
    )
    return Decision(
        decision_id=request.decision_id,
        decision="force_promote",
        reason_code="ROLLBACK" if request.rollback_of else "FORCED",
        reason=request.reason,
        trigger="manual",
        operator=request.operator,
        challenger_version=request.version,
        champion_version=seen.version,
        champion_generation=seen.generation,
        config_hash=settings.config_hash,
        body=body,
    )


def last_verdict(objects: Objects, version: str) -> StoredDecision | None:
    """The newest verdict about this version. A version's document names the decision that retired it instead."""
    about = [stored for stored in decisions.listed(objects) if stored.decision.challenger_version == version]
    return about[-1] if about else None


def _path(last: StoredDecision | None) -> list[dict[str, str | None]]:
    def step(name: str, outcome: str, code: str | None, value: str | None = None) -> dict[str, str | None]:
        return {"step": name, "outcome": outcome, "code": code, "value": value, "limit": None}

    verdict = (last.decision.reason_code, last.decision.decision) if last else ("NEVER_JUDGED", None)
    asked = [
        step("preflight", "passed", "VALID"),
        step("override", "decided", "FORCED"),
        step("last_verdict", "noted", *verdict),
    ]
    rest: Sequence[str] = ("champion", "champion_loads", *SKIPPED)
    return [*asked, *(step(name, "skipped", None) for name in rest)]


def _next_committee(now: datetime) -> datetime:
    """The next Friday 18:00 in Seoul after ``now``."""
    local = now.astimezone(SEOUL)
    days = (FRIDAY - local.weekday()) % 7
    meeting = datetime.combine(local.date() + timedelta(days=days), COMMITTEE, tzinfo=SEOUL)
    return meeting if meeting > local else meeting + timedelta(days=7)
