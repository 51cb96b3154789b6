"""Rows 3 to 6, 34 to 41, 53, 55 and 57 of the scenario table: what people decide."""

from __future__ import annotations

from pathlib import Path

from pipeline_lib.errors import ActivationFailed
from pipeline_lib.gate import force, signoff
from pipeline_lib.publish import release as releases
from pipeline_lib.registry import states
from tests.unit.gate.promotion_world import Tweaks, World, later
from tests.unit.gate.scenario import damage, forced, found, refusal, scenario, verdicts

LONG_AGO = 30
"""Hours of a reign that makes a version known-good."""


@scenario(3, "Number 1, then approved within 72 h", "promote", "`APPROVED`, trigger manual; approval id set; swapped")
def approved(world: World, tmp: Path) -> tuple[str, str]:
    world.bootstrap(tmp)
    version, decision_id = world.await_approval(tmp)
    decision = world.approve(decision_id, now=later(hours=71))
    assert decision.body["basis_decision_id"] == decision_id
    method = decision.body["approvals"][-1]["method"]
    releases.publish(world.ctx)
    verdict, code = found(decision)
    return verdict, (
        f"{code}, trigger {decision.trigger}; approval id {'set' if method == f'approval-{decision_id}' else method}; "
        f"{'swapped' if world.seen.version == version else 'no swap'}"
    )


@scenario(4, "Number 1, then approved at 73 h", "refused", "state `expired`")
def approved_too_late(world: World, tmp: Path) -> tuple[str, str]:
    world.bootstrap(tmp)
    version, decision_id = world.await_approval(tmp)
    assert "expired" in refusal(lambda: world.approve(decision_id, now=later(hours=73)))
    return "refused", f"state `{world.state(version)}`"


@scenario(5, "Number 1, then the champion changes, then approved", "refused", "state `superseded`")
def approved_after_the_champion_changed(world: World, tmp: Path) -> tuple[str, str]:
    first = world.bootstrap(tmp)
    world.promote(tmp)
    world.served_since(first, LONG_AGO)
    version = world.challenge(tmp, Tweaks(strength=4.0), Tweaks())
    decision_id = str(world.judge()["decision_id"])
    signoff.open_approval(world.settings, decision_id)
    releases.release(world.settings, *world.force(first))
    assert "superseded" in refusal(lambda: world.approve(decision_id))
    return "refused", f"state `{world.state(version)}`"


@scenario(6, "Number 1, the approver triggered the training", "refused", "four eyes")
def approved_by_who_started_the_run(world: World, tmp: Path) -> tuple[str, str]:
    world.bootstrap(tmp)
    _, decision_id = world.await_approval(tmp, started_by="risk.officer")
    return "refused", refusal(lambda: world.approve(decision_id)).split(":")[0]


@scenario(
    34, "Force, known-good version, operator, reason", "force_promote", "`FORCED`; serves; second person due in 24 h"
)
def known_good_version_is_forced(world: World, tmp: Path) -> tuple[str, str]:
    first, _ = world.bootstrap(tmp), world.promote(tmp)
    world.served_since(first, LONG_AGO)
    decision, receipt = world.force(first)
    releases.release(world.settings, decision, receipt)
    due = [person for person in decision.body["approvals"] if person["method"] == "second_person_due"]
    assert decision.body["review_due"].endswith("18:00:00+09:00")
    verdict, code = found(decision)
    serves = "serves" if world.target.serving() == first else "does not serve"
    return verdict, f"{code}; {serves}; second person {'due in 24 h' if due else 'not asked'}"


@scenario(35, "Force, unknown version", "refused", "`force_promote_refused` recorded")
def unknown_version_is_forced(world: World, tmp: Path) -> tuple[str, str]:
    refusal(lambda: world.force("v20200101-00000000"))
    return "refused", f"`force_promote_refused` {'recorded' if world.rows('force_promote_refused') else 'missing'}"


@scenario(
    36,
    "Force without reason, with reason `test` or another that is none, or without operator",
    "refused",
    "each of five",
)
def force_without_reason_or_operator(world: World, tmp: Path) -> tuple[str, str]:
    reasons = ("", "test test test", "aaaaaaaaaaaa", "x" * 501)
    bad: list[dict[str, str]] = [*({"reason": reason} for reason in reasons), {"operator": " "}]
    for given in bad:
        refusal(lambda given=given: world.force("v1", **given))  # type: ignore[misc]
    assert len(world.rows("force_promote_refused")) == len(bad) == 5
    return "refused", "each of five"


@scenario(37, "Force, target fails signature or smoke test", "refused", "integrity is never skipped")
def damaged_version_is_forced(world: World, tmp: Path) -> tuple[str, str]:
    world.bootstrap(tmp)
    version = world.challenge(tmp)

    def silent(copy: object) -> None:
        raise ActivationFailed("no answer")

    refusal(lambda: world.force(version, approver="second.person", smoke=silent))
    damage(world, version)
    refusal(lambda: world.force(version, approver="second.person"))
    return "refused", "integrity is never skipped"


@scenario(38, "Force, target has fidelity failures", "force_promote", "`FORCED`; skipped checks recorded")
def version_below_the_floor_is_forced(world: World, tmp: Path) -> tuple[str, str]:
    world.bootstrap(tmp)
    decision = forced(world, world.challenge(tmp, Tweaks(fidelity={"churn_signal": "fail"})), approver="second.person")
    skipped = decision.body["skipped_checks"] == ["fidelity", "competition", "hooks", "posture"]
    verdict, code = found(decision)
    return verdict, f"{code}; skipped checks {'recorded' if skipped else 'unknown'}"


@scenario(39, "Force, quarantined target, no override flag", "refused", "allowed only with the override and two people")
def quarantined_version_is_forced(world: World, tmp: Path) -> tuple[str, str]:
    world.bootstrap(tmp)
    version = world.challenge(tmp)
    states.quarantine(world.ctx.objects, version, "risk.officer", "wrong labels", later())
    refusal(lambda: world.force(version, approver="second.person"))
    refusal(lambda: world.force(version, allow_quarantined=True))
    both = forced(world, version, approver="second.person", allow_quarantined=True)
    assert both.changes_champion
    return "refused", "allowed only with the override and two people"


@scenario(40, "Force the current champion", "no-op", "`ALREADY_CHAMPION`; no entry, same generation")
def champion_is_forced(world: World, tmp: Path) -> tuple[str, str]:
    version = world.bootstrap(tmp)
    before = verdicts(world), world.seen.generation
    decision, receipt = world.force(version)
    releases.release(world.settings, decision, receipt)
    same = (verdicts(world), world.seen.generation) == before
    return "no-op", f"`{force.outcome(decision, 'req-1')}`; {'no entry, same generation' if same else 'an entry'}"


@scenario(41, "The same force request twice", "one decision", "replayed; another operator is refused")
def same_force_twice(world: World, tmp: Path) -> tuple[str, str]:
    world.bootstrap(tmp)
    version, before = world.challenge(tmp), verdicts(world)
    first = world.force(version, approver="second.person")
    again = world.force(version, approver="second.person", now=later(hours=5))
    assert "req-1 was" in refusal(lambda: world.force(version, approver="second.person", operator="another"))
    return (
        "one decision" if verdicts(world) == before + 1 else "two decisions",
        f"{'replayed' if first == again else 'decided again'}; another operator is refused",
    )


@scenario(
    53,
    "Newer pass while one is pending",
    "await_signoff",
    "older `superseded`, its answer refused, its rerun a dry run",
)
def newer_pass_while_one_waits(world: World, tmp: Path) -> tuple[str, str]:
    world.bootstrap(tmp)
    older, asked = world.await_approval(tmp)
    earlier = world.monday
    newer, _ = world.await_approval(tmp)
    assert world.state(newer) == "pending_approval"
    state = world.state(older)
    assert "superseded" in refusal(lambda: world.approve(asked))
    world.monday = earlier
    rerun = world.judge()
    assert (world.state(older), world.state(newer)) == ("superseded", "pending_approval")
    return "await_signoff", f"older `{state}`, its answer refused, its rerun a {rerun['mode'].replace('_', ' ')}"


@scenario(55, "Force, registered but never champion, single operator", "refused", "second person needed first")
def version_that_never_served_is_forced_alone(world: World, tmp: Path) -> tuple[str, str]:
    world.bootstrap(tmp)
    version = world.challenge(tmp)
    said = refusal(lambda: world.force(version))
    return "refused", "second person needed first" if "second person is needed first" in said else said


@scenario(57, "Nobody answers for 72 h", "no promotion", "`approval_expired`; the run ends cleanly")
def nobody_answers(world: World, tmp: Path) -> tuple[str, str]:
    first = world.bootstrap(tmp)
    version, decision_id = world.await_approval(tmp)
    decision = signoff.conclude(world.settings, decision_id, "expired", None, "", later(hours=73))
    assert (decision.decision, world.state(version), world.seen.version) == ("await_signoff", "expired", first)
    assert releases.publish(world.ctx).facts["activated"] is False
    return "no promotion", f"`{world.rows('approval_expired')[0].header['event']}`; the run ends cleanly"
