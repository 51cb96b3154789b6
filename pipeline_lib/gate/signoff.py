"""A human's verdict on a challenger that cleared the ladder: asked once, answered once, recorded as its own verdict.

The gate's verdict and the human's are two verdicts with one row each. The question is ``gate.question``.
Source: promotion.md section 7.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pipeline_lib.business_time import SEOUL, utc_now
from pipeline_lib.errors import RequestRefused
from pipeline_lib.gate import question as questions
from pipeline_lib.gate.question import Question
from pipeline_lib.gate.render import comparison_markdown
from pipeline_lib.gate.switches import require_not_stopped
from pipeline_lib.gate.trial import verified
from pipeline_lib.keys import KeyFolder
from pipeline_lib.objects import Objects, open_objects
from pipeline_lib.records import Decision
from pipeline_lib.registry import decisions, persons, pointer, rows, states
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
    question = questions.put(settings, objects, stored)
    return f"{comparison_markdown(stored.decision)}\n{_how_to_answer(settings, stored, question)}\n"


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
        now: when it was answered.

    Returns:
        the human's verdict; the gate's own, unchanged, when nobody answered.

    Raises:
        RequestRefused: the answer is not valid: late, superseded, by the wrong person, without a statement, after
            another's answer; or ``expired`` before the time is over.
    """
    objects, now, statement = open_objects(settings.place.root), now or utc_now(), scrub(statement)
    stored, question = decisions.get(objects, decision_id), questions.asked(settings, decision_id)
    if answered := decisions.find(objects, decisions.signoff_id(decision_id)):
        return _repeated(objects, answered, chosen, responder)
    if chosen == "expired":
        _require_over(question, now)
        questions.expire(settings, objects, stored, question, now)
        return stored.decision
    if chosen not in VERDICTS:
        raise RequestRefused(f"the answer is Approve or Reject, found {chosen!r}")
    questions.require_open(objects, stored)
    if now > datetime.fromisoformat(question["expires_at"]):
        questions.expire(settings, objects, stored, question, now)
        raise RequestRefused(
            f"the question about {stored.decision.challenger_version} expired at {question['expires_at']}"
        )
    if not responder:
        raise RequestRefused("an answer needs the identity of who gave it")
    if chosen == "Approve":
        _require_approvable(settings, objects, stored, responder, statement, now)
    verdict = _verdict(settings, stored, question, chosen, responder, statement, now)
    return _repeated(objects, decisions.record(settings, objects, verdict), chosen, responder)


def _require_approvable(
    settings: Settings, objects: Objects, stored: StoredDecision, responder: str, statement: str, now: datetime
) -> None:
    """Everything that could have changed since the verdict. Raises RequestRefused."""
    policy, decision = settings.promotion, stored.decision
    if len(statement) < policy.statement_min_chars:
        raise RequestRefused(f"an approval needs a statement of {policy.statement_min_chars} characters or more")
    if policy.four_eyes and any(persons.same(responder, one) for one in questions.started_by(stored)):
        raise RequestRefused(f"four eyes: {responder} started the run of {decision.challenger_version}")
    require_not_stopped(settings, objects)
    seen = pointer.read(objects, KeyFolder(settings.place.keys))
    if seen.generation != decision.champion_generation:
        questions.supersede(objects, stored, "the champion moved since the verdict", responder, now)
        raise RequestRefused(
            f"superseded: {decision.challenger_version} was compared with generation {decision.champion_generation}, "
            f"the champion is {seen.version} of generation {seen.generation}"
        )
    keys, sha256 = KeyFolder(settings.place.keys), decision.body["manifest_sha256"]
    package, why_not = verified(objects, keys, decision.challenger_version, sha256)
    if package is None:
        raise RequestRefused(f"{decision.challenger_version} is not the package that was judged: {why_not}")


def _how_to_answer(settings: Settings, stored: StoredDecision, question: Question) -> str:
    policy, local = settings.promotion, datetime.fromisoformat(question["expires_at"]).astimezone(SEOUL)
    until = f"Answer until **{local:%A %d %B %H:%M} in Seoul**; no answer is a rejection."
    reason = f"Approving takes a reason of {policy.statement_min_chars} characters or more."
    started = questions.started_by(stored) if policy.four_eyes else []
    eyes = f" {', '.join(started)} started this run and may not approve it." if started else ""
    return f"{until} {reason}{eyes}"


def _verdict(
    settings: Settings,
    stored: StoredDecision,
    question: Question,
    chosen: str,
    responder: str,
    statement: str,
    at: datetime,
) -> Decision:
    basis = stored.decision
    verdict, code = VERDICTS[chosen]
    kept = ("manifest_sha256", "run_id", "model_digest_champion", "model_digest_challenger", "bundle_digest")
    evidence = ("training_snapshot_hash", "comparison", "significance", "fidelity", "task_sets", "drift")
    answer = {"actor_ref": responder, "method": question["approval_id"], "at": at.isoformat()}
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


def _repeated(objects: Objects, answered: StoredDecision, chosen: str, responder: str | None) -> Decision:
    """The same answer by the same person again is no second verdict; whoever was second is told who was first."""
    decision, given = answered.decision, VERDICTS.get(chosen)
    if chosen != "expired":
        same = given is not None and given[0] == decision.decision
        if not (same and persons.same(responder or "", decision.operator or "")):
            raise RequestRefused(f"already answered by {decision.operator}: {decision.reason_code}")
    return _shown(objects, answered)


def _require_over(question: Question, now: datetime) -> None:
    """Nobody ends a question before its time by saying that nobody answered."""
    if now < datetime.fromisoformat(question["expires_at"]):
        raise RequestRefused(f"the question about {question['version']} is open until {question['expires_at']}")


def _shown(objects: Objects, answered: StoredDecision) -> Decision:
    """Show a refusal on the version's document; an approval shows when it takes effect."""
    decision = answered.decision
    version = decision.challenger_version
    if decision.decision == "reject" and states.read(objects, version)["state"] != "rejected":
        at = datetime.fromisoformat(answered.recorded_at)
        states.move(objects, version, "rejected", str(decision.operator), answered.decision.decision_id, at)
    return decision
