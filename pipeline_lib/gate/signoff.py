"""A human's verdict on a challenger that cleared the ladder: asked once, answered once, recorded as its own verdict.

The gate's verdict and the human's are two verdicts with one row each. Source: promotion.md section 7.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any, Literal

from pipeline_lib.business_time import utc_now
from pipeline_lib.canonical import canonical_bytes
from pipeline_lib.errors import ObjectMissing, RequestRefused
from pipeline_lib.gate.render import comparison_markdown
from pipeline_lib.gate.trial import verified
from pipeline_lib.keys import KeyFolder
from pipeline_lib.objects import Objects, open_objects
from pipeline_lib.records import Decision
from pipeline_lib.registry import decisions, pointer, rows, states
from pipeline_lib.registry.decisions import StoredDecision
from pipeline_lib.scrub import scrub
from pipeline_lib.settings import Settings

Answer = Literal["Approve", "Reject", "expired"]
VERDICTS: dict[str, tuple[Literal["promote", "reject"], str]] = {
    "Approve": ("promote", "APPROVED"),
    "Reject": ("reject", "DECLINED_BY_REVIEWER"),
}


def open_approval(settings: Settings, decision_id: str) -> str:
    """Ask for a sign-off; an earlier question is superseded. Safe to repeat.

    Returns:
        the Markdown shown to the reviewer.

    Raises:
        RequestRefused: the decision waits for nobody.
    """
    objects = open_objects(settings.place.root)
    stored = decisions.get(objects, decision_id)
    if stored.decision.decision != "await_signoff":
        raise RequestRefused(f"decision {decision_id} is {stored.decision.decision}: nobody is asked")
    expires = _opened_at(stored) + timedelta(hours=settings.schedules.signoff_hours)
    text = f"{comparison_markdown(stored.decision)}\nAnswer until {expires.isoformat(timespec='minutes')}.\n"
    if not objects.exists(_key(decision_id)):
        _mark_pending(objects, stored)
        question = _question(settings, stored, expires)
        rows.operation(
            settings,
            "approval_opened",
            f"approval_opened:{decision_id}",
            object_type="version",
            object_id=stored.decision.challenger_version,
            reason=stored.decision.reason,
            action_id=question["approval_id"],
            details=question,
        )
        objects.create(_key(decision_id), canonical_bytes(question))
    return text


def conclude(
    settings: Settings,
    decision_id: str,
    chosen: str,
    responder: str | None,
    statement: str,
    now: datetime | None = None,
) -> Decision:
    """Record the answer; the release is done by whoever gets a ``promote`` back.

    Args:
        decision_id: the gate's verdict that waits.
        chosen: ``Approve``, ``Reject`` or ``expired`` (nobody answered).
        responder: authenticated identity of who answered.

    Returns:
        the human's verdict; the gate's own, unchanged, when nobody answered.

    Raises:
        RequestRefused: the answer is not valid: late, superseded, by the wrong person, without a statement.
    """
    objects, now, statement = open_objects(settings.place.root), now or utc_now(), scrub(statement)
    stored, question = decisions.get(objects, decision_id), _asked(objects, decision_id)
    if answered := decisions.find(objects, decisions.signoff_id(decision_id)):
        return _repeated(objects, answered, chosen)
    version = stored.decision.challenger_version
    if chosen == "expired":
        _expire(settings, objects, stored, question, now)
        return stored.decision
    if chosen not in VERDICTS:
        raise RequestRefused(f"the answer is Approve or Reject, found {chosen!r}")
    if end := decisions.closed(objects, decision_id):
        raise RequestRefused(f"the question about {version} is {end['outcome']}: {end['reason']}; judge it again")
    if (state := states.read(objects, version)["state"]) != "pending_approval":
        raise RequestRefused(f"{version} no longer waits for an answer: it is {state}")
    if now > datetime.fromisoformat(question["expires_at"]):
        _expire(settings, objects, stored, question, now)
        raise RequestRefused(f"the question about {version} expired at {question['expires_at']}")
    if not responder:
        raise RequestRefused("an answer needs the identity of who gave it")
    if chosen == "Approve":
        _require_approvable(settings, objects, stored, responder, statement, now)
    verdict = decisions.record(settings, objects, _verdict(settings, stored, question, chosen, responder, statement))
    return _shown(objects, verdict)


def _require_approvable(
    settings: Settings, objects: Objects, stored: StoredDecision, responder: str, statement: str, now: datetime
) -> None:
    """Everything that could have changed since the verdict. Raises RequestRefused."""
    policy, decision = settings.promotion, stored.decision
    if len(statement) < policy.statement_min_chars:
        raise RequestRefused(f"an approval needs a statement of {policy.statement_min_chars} characters or more")
    started = [a["actor_ref"] for a in decision.body["approvals"] or [] if a["method"] == "started_run"]
    if policy.four_eyes and responder in started:
        raise RequestRefused(f"four eyes: {responder} started the run of {decision.challenger_version}")
    seen = pointer.read(objects, KeyFolder(settings.place.keys))
    if seen.generation != decision.champion_generation:
        decisions.close(objects, decision.decision_id, "superseded", "the champion moved since the verdict")
        _move(objects, stored, "superseded", responder, now)
        raise RequestRefused(
            f"superseded: {decision.challenger_version} was compared with generation {decision.champion_generation}, "
            f"the champion is {seen.version} of generation {seen.generation}"
        )
    keys, sha256 = KeyFolder(settings.place.keys), decision.body["manifest_sha256"]
    package, why_not = verified(objects, keys, decision.challenger_version, sha256)
    if package is None:
        raise RequestRefused(f"{decision.challenger_version} is not the package that was judged: {why_not}")


def _verdict(
    settings: Settings, stored: StoredDecision, question: dict[str, Any], chosen: str, responder: str, statement: str
) -> Decision:
    basis = stored.decision
    verdict, code = VERDICTS[chosen]
    kept = ("manifest_sha256", "run_id", "model_digest_champion", "model_digest_challenger", "bundle_digest")
    evidence = ("training_snapshot_hash", "comparison", "significance", "fidelity", "task_sets", "drift")
    answer = {"actor_ref": responder, "method": question["approval_id"], "at": None}
    body = rows.verdict_body(
        **{column: basis.body[column] for column in (*kept, *evidence)},
        approvals=[*(basis.body["approvals"] or []), answer],
        approver=responder,
        basis_decision_id=basis.decision_id,
        gate_path=[{"step": "approval", "outcome": "decided", "code": code, "value": chosen, "limit": None}],
        auto_promote=settings.promotion.auto_promote,
    )
    return Decision(
        decision_id=decisions.signoff_id(basis.decision_id),
        decision=verdict,
        reason_code=code,
        reason=f"{code}: {statement or 'no statement'}",
        trigger="manual",
        operator=responder,
        challenger_version=basis.challenger_version,
        champion_version=basis.champion_version,
        champion_generation=basis.champion_generation,
        config_hash=settings.config_hash,
        body=body,
    )


def _repeated(objects: Objects, answered: StoredDecision, chosen: str) -> Decision:
    """The same answer again is no second verdict; another answer is refused."""
    given = VERDICTS.get(chosen)
    if chosen != "expired" and (given is None or given[0] != answered.decision.decision):
        raise RequestRefused(f"already answered by {answered.decision.operator}: {answered.decision.reason_code}")
    return _shown(objects, answered)


def _shown(objects: Objects, answered: StoredDecision) -> Decision:
    """Show a refusal on the version's document; an approval shows when it takes effect."""
    decision = answered.decision
    if decision.decision == "reject" and states.read(objects, decision.challenger_version)["state"] != "rejected":
        _move(objects, answered, "rejected", str(decision.operator), datetime.fromisoformat(answered.recorded_at))
    return decision


def _expire(
    settings: Settings, objects: Objects, stored: StoredDecision, question: dict[str, Any], now: datetime
) -> None:
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
        _move(objects, stored, "expired", rows.SERVICE, now)


def _mark_pending(objects: Objects, stored: StoredDecision) -> None:
    """The version waits; whichever waited before is superseded."""
    version, at = stored.decision.challenger_version, _opened_at(stored)
    for other in states.listed(objects, "pending_approval"):
        asked = states.read(objects, other)["last_decision_id"]
        if asked != stored.decision.decision_id:  # closed first: a rerun of that week is judged afresh
            decisions.close(objects, asked, "superseded", f"{version} was cleared after it")
        if other != version:
            states.move(objects, other, "superseded", rows.SERVICE, stored.decision.decision_id, at)
    if states.read(objects, version)["state"] in ("rejected", "expired", "superseded"):
        _move(objects, stored, "registered", rows.SERVICE, at)
    _move(objects, stored, "pending_approval", rows.SERVICE, at)


def _question(settings: Settings, stored: StoredDecision, expires: datetime) -> dict[str, Any]:
    decision = stored.decision
    return {
        "approval_id": f"approval-{decision.decision_id}",
        "decision_id": decision.decision_id,
        "version": decision.challenger_version,
        "champion_generation": decision.champion_generation,
        "opened_at": stored.recorded_at,
        "expires_at": expires.isoformat(),
        "summary": {name: decision.body[name] for name in ("comparison", "significance", "fidelity", "drift", "hooks")},
    }


def _asked(objects: Objects, decision_id: str) -> dict[str, Any]:
    try:
        question: dict[str, Any] = json.loads(objects.get(_key(decision_id)))
    except ObjectMissing:
        raise RequestRefused(f"nobody was asked about decision {decision_id}") from None
    return question


def _move(objects: Objects, stored: StoredDecision, to: str, by: str, at: datetime) -> None:
    states.move(objects, stored.decision.challenger_version, to, by, stored.decision.decision_id, at)


def _opened_at(stored: StoredDecision) -> datetime:
    return datetime.fromisoformat(stored.recorded_at)


def _key(decision_id: str) -> str:
    return f"registry/approvals/{decision_id}.json"
