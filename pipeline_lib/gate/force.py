"""Force-promote and rollback: a person makes a version the champion, with a name and a reason in the record.

Skipped are fidelity, competition, hooks and posture. Never skipped: existence, signature, hashes, smoke test,
quarantine, record. A request that is not valid is refused, recorded as refused, and changes nothing.
Source: promotion.md sections 8 and 9.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, time, timedelta

from pipeline_lib.business_time import SEOUL, utc_now
from pipeline_lib.errors import ManifestMismatch, ObjectMissing, PipelineError, RequestRefused, SignatureInvalid
from pipeline_lib.keys import KeyFolder
from pipeline_lib.objects import Objects, open_objects
from pipeline_lib.records import Decision, Receipt
from pipeline_lib.registry import decisions, pointer, rows, states, versions
from pipeline_lib.registry.package import Package
from pipeline_lib.registry.pointer import Seen
from pipeline_lib.registry.smoke import Probe, complete_and_loadable
from pipeline_lib.scrub import scrub, scrub_ticket
from pipeline_lib.settings import Settings
from pipeline_lib.settings.promotion import Force

log = logging.getLogger(__name__)

SKIPPED = ["fidelity", "competition", "hooks", "posture"]
FRIDAY, COMMITTEE = 4, time(18)
"""The model committee meets Fridays 18:00 in Seoul."""
ALREADY_CHAMPION = "ALREADY_CHAMPION"


@dataclass(frozen=True)
class Request:
    version: str
    operator: str
    reason: str
    request_id: str
    approver: str | None
    ticket: str | None
    allow_quarantined: bool
    rollback_of: str | None

    @property
    def decision_id(self) -> str:
        return decisions.decision_id("force", self.request_id)


def force_promote(
    settings: Settings,
    version: str,
    operator: str,
    reason: str,
    *,
    request_id: str,
    approver: str | None = None,
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
        approver: second person; mandatory where ``needs_second_person`` says so.
        principal: authenticated identity, when the caller has one; must be the operator.

    Returns:
        decision and receipt; for the version that serves already the ones that made it champion, as recorded:
        ``outcome`` tells the two apart.

    Raises:
        RequestRefused: the request is not valid; recorded, nothing changed.
        GateCannotJudge: REGISTRY_CORRUPT.
        AuditError: the row is not durable; there is no decision.
    """
    objects, keys, now = open_objects(settings.place.root), KeyFolder(settings.place.keys), now or utc_now()
    request = Request(
        version=version.strip(),
        operator=operator.strip(),
        reason=scrub(reason),
        request_id=request_id,
        approver=approver,
        ticket=scrub_ticket(ticket) if ticket else None,
        allow_quarantined=allow_quarantined,
        rollback_of=rollback_of,
    )
    try:
        _require_persons(request, principal)
        _require_reason(request.reason, settings.promotion.force)
        if stored := decisions.find(objects, request.decision_id):
            return _replayed(request, stored)
        package = _require_version(request, objects, keys, smoke)
        seen = pointer.read(objects, keys)
        if seen.version == request.version:
            return _already(objects, seen)
        _require_second_person(request, settings)
    except RequestRefused as refusal:
        _record_refusal(settings, request, str(refusal))
        raise
    _warn_if_many(objects, settings.promotion.force, now)
    stored = decisions.record(settings, objects, _decision(settings, objects, request, package, seen, now))
    log.warning("force-promote of %s by %s: %s", request.version, request.operator, request.reason)
    return stored.decision, stored.receipt


def outcome(decision: Decision, request_id: str) -> str:
    """What came of a request: ALREADY_CHAMPION when the decision returned is not its own, else the decision's code."""
    own = decision.decision_id == decisions.decision_id("force", request_id)
    return decision.reason_code if own else ALREADY_CHAMPION


def needs_second_person(settings: Settings, version: str) -> bool:
    """Whether forcing this version takes two: it was never champion, or is quarantined. Source: overview.md.

    Raises:
        RequestRefused: no such version.
    """
    try:
        document = states.read(open_objects(settings.place.root), version)
    except ObjectMissing as error:
        raise RequestRefused(str(error)) from error
    reigned = any(step["to"] == "champion" for step in document["history"])
    return not reigned or document["state"] == "quarantined"


def rollback(
    settings: Settings,
    operator: str,
    reason: str,
    *,
    request_id: str,
    approver: str | None = None,
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
    if stored := decisions.find(objects, decisions.decision_id("force", request_id)):
        return stored.decision, stored.receipt
    seen = pointer.read(objects, keys)
    previous = seen.pointer.previous_version if seen.pointer else None
    if previous is None or not _could_serve(objects, keys, previous):
        good = ", ".join(known_good(objects, keys, settings.promotion.force, now)) or "none"
        raise RequestRefused(f"cannot roll back to {previous}; known-good versions: {good}")
    return force_promote(
        settings,
        previous,
        operator,
        reason,
        request_id=request_id,
        approver=approver,
        ticket=ticket,
        principal=principal,
        rollback_of=seen.version,
        smoke=smoke,
        now=now,
    )


def known_good(objects: Objects, keys: KeyFolder, policy: Force, now: datetime) -> list[str]:
    """Versions that served long enough, recently enough, verify and are not quarantined."""
    return [version for version in states.listed(objects) if _is_known_good(objects, keys, version, policy, now)]


def _is_known_good(objects: Objects, keys: KeyFolder, version: str, policy: Force, now: datetime) -> bool:
    since, enough = now - timedelta(days=policy.known_good_days), timedelta(hours=policy.known_good_hours)
    reigns = states.reigns(states.read(objects, version), now)
    served = any(end >= since and end - start >= enough for start, end in reigns)
    return served and _could_serve(objects, keys, version)


def _could_serve(objects: Objects, keys: KeyFolder, version: str) -> bool:
    try:
        versions.verify(objects, keys, version)
    except (ObjectMissing, ManifestMismatch, SignatureInvalid):
        return False
    return bool(states.read(objects, version)["state"] != "quarantined")


def _require_persons(request: Request, principal: str | None) -> None:
    if not request.operator:
        raise RequestRefused("a force-promote needs an operator")
    if not request.request_id:
        raise RequestRefused("a force-promote needs a request id")
    if principal is not None and principal != request.operator:
        raise RequestRefused(f"operator {request.operator!r} is not the authenticated {principal!r}")
    if request.approver is not None and request.approver.strip().lower() in ("", request.operator.lower()):
        raise RequestRefused(f"the approver is a second person, found {request.approver!r}")


def _require_reason(reason: str, policy: Force) -> None:
    if not policy.reason_min_chars <= len(reason) <= policy.reason_max_chars:
        raise RequestRefused(
            f"a reason has {policy.reason_min_chars} to {policy.reason_max_chars} characters, found {len(reason)}"
        )
    words = re.findall(r"\w+", reason.lower())
    if not set(words) - set(policy.boilerplate) or len(set("".join(words))) < 4:
        raise RequestRefused(f"{reason!r} is no reason: say what happened")


def _require_version(request: Request, objects: Objects, keys: KeyFolder, smoke: Probe) -> Package:
    """Exists, complete, not quarantined (or overridden by two), signed, hashed, and answers."""
    try:
        state = states.read(objects, request.version)["state"]
        with versions.opened(objects, keys, request.version) as copy:
            smoke(copy)
    except PipelineError as error:
        raise RequestRefused(f"{request.version} cannot serve: {type(error).__name__}: {error}") from error
    if state == "incomplete":
        raise RequestRefused(f"{request.version} is incomplete")
    if state == "quarantined" and not (request.allow_quarantined and request.approver):
        raise RequestRefused(f"{request.version} is quarantined: needs the explicit override and two persons")
    return copy.package


def _require_second_person(request: Request, settings: Settings) -> None:
    if request.approver is None and needs_second_person(settings, request.version):
        raise RequestRefused(f"{request.version} was never champion: a second person is needed first, as approver")


def _replayed(request: Request, stored: decisions.StoredDecision) -> tuple[Decision, Receipt]:
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
    policy, at = settings.promotion.force, now.isoformat()
    persons = [{"actor_ref": request.operator, "method": "force_request", "at": at}]
    if request.approver:
        persons.append({"actor_ref": request.approver, "method": "named_approver", "at": at})
    else:
        due = (now + timedelta(hours=policy.confirm_hours)).isoformat()
        persons.append({"actor_ref": "unknown", "method": "second_person_due", "at": due})
    body = rows.verdict_body(
        request_id=request.request_id,
        manifest_sha256=package.sha256,
        model_digest_challenger=package.sha256,
        model_digest_champion=seen.pointer.manifest_sha256 if seen.pointer else None,
        approver=request.approver,
        approvals=persons,
        ticket=request.ticket,
        gate_path=_path(),
        fidelity=[
            {"task": t.name, "route": t.route, "verdict": t.fidelity, "kl": t.kl} for t in package.tasks.values()
        ],
        skipped_checks=SKIPPED,
        basis_decision_id=states.read(objects, request.version)["last_decision_id"],
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


def _path() -> list[dict[str, str | None]]:
    def step(name: str, outcome: str, code: str | None) -> dict[str, str | None]:
        return {"step": name, "outcome": outcome, "code": code, "value": None, "limit": None}

    asked = [step("preflight", "passed", "VALID"), step("override", "decided", "FORCED")]
    rest: Sequence[str] = ("champion", "champion_loads", *SKIPPED)
    return [*asked, *(step(name, "skipped", None) for name in rest)]


def _next_committee(now: datetime) -> datetime:
    """The next Friday 18:00 in Seoul after ``now``."""
    local = now.astimezone(SEOUL)
    days = (FRIDAY - local.weekday()) % 7
    meeting = datetime.combine(local.date() + timedelta(days=days), COMMITTEE, tzinfo=SEOUL)
    return meeting if meeting > local else meeting + timedelta(days=7)


def _warn_if_many(objects: Objects, policy: Force, now: datetime) -> None:
    since = now - timedelta(hours=24)
    forced = [s for s in decisions.listed(objects) if s.decision.decision == "force_promote"]
    recent = [s for s in forced if datetime.fromisoformat(s.recorded_at) >= since]
    if len(recent) >= policy.many_per_day:
        log.critical("page the risk owner: %d force-promotes in 24 h", len(recent) + 1)


def _record_refusal(settings: Settings, request: Request, why: str) -> None:
    rows.operation(
        settings,
        "force_promote_refused",
        f"force_promote_refused:{request.decision_id}",
        object_type="version",
        object_id=request.version or "none",
        reason=why,
        action_id=request.decision_id,
        actor=("human", request.operator or "unknown"),
        severity="minor",
        details=asdict(request),
    )
