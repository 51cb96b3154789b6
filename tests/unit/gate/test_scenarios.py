"""The scenario table of promotion.md section 15: situation -> verdict and code, by its numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline_lib import settings
from pipeline_lib.errors import (
    ActivationFailed,
    AppendFailed,
    GateCannotJudge,
    RequestRefused,
    SettingsError,
    StoreError,
)
from pipeline_lib.gate import compare, force, signoff
from pipeline_lib.gate.ladder import Opinion
from pipeline_lib.gate.significance import OneSided
from pipeline_lib.publish import release as releases
from pipeline_lib.publish.targets.local_target import LocalTarget
from pipeline_lib.registry import decisions, pointer, states, versions
from pipeline_lib.registry.package import PackagedTask
from pipeline_lib.settings import Place
from tests.unit.gate.promotion_world import BINARY, POLICY, WEAK, Tweaks, World, hook, later

Situation = Callable[[World, Path], str]
TABLE: dict[str, tuple[Situation, str]] = {}

LIMITS = compare.Limits(
    min_improvement=0.005,
    max_degradation=0.02,
    abs_tolerance=0.002,
    significance_level=0.05,
    harm_test=True,
    harm_loss=0.01,
)
KINDS = {"t0": "binary", "t1": "binary", "t2": "binary", "t3": "binary", "mcc": "multiclass", "trend": "regression"}
CHAMPION = {"t0": 0.70, "t1": 0.70, "t2": 0.70, "t3": 0.70, "mcc": 0.30, "trend": 0.40}


def scenario(number: str, expected: str) -> Callable[[Situation], Situation]:
    def keep(situation: Situation) -> Situation:
        assert number not in TABLE
        TABLE[number] = (situation, expected)
        return situation

    return keep


def packaged(name: str, *, layer: int = 1, classes: int = 7) -> PackagedTask:
    names = tuple(f"c{k}" for k in range(classes if KINDS[name] == "multiclass" else 0))
    return PackagedTask(name, KINDS[name], names, "distil" if layer == 1 else "rules", layer, "pass", 0.1)


def competition(
    p: float = 0.01,
    harm_p: float = 0.9,
    champion: dict[str, float | None] | None = None,
    old: dict[str, PackagedTask] | None = None,
    new: dict[str, PackagedTask] | None = None,
    gained: float = 0.004,
    **changed: float | None,
) -> compare.Competition:
    """Section 6 with the challenger's binary tasks ``gained`` above 0.7000, other metrics as given."""
    old = old or {name: packaged(name) for name in KINDS}
    new = new or {name: packaged(name) for name in KINDS}
    sets = compare.task_sets(list(KINDS), old, new, ())
    better = {
        name: value + gained if name[:2] in ("t0", "t1", "t2", "t3") else value for name, value in CHAMPION.items()
    }
    harms = {name: OneSided(0.0, 0.001, 0.0, harm_p if name == "t0" else 0.9, 100) for name in sets.compared}
    gain = OneSided(gained, 0.001, 1.0, p, 100)
    return compare.compete(KINDS, sets, champion or CHAMPION, {**better, **changed}, gain, harms, LIMITS)


def outcome(facts: object) -> str:
    assert isinstance(facts, dict)
    return f"{facts['decision']} {facts['reason_code']}"


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(RequestRefused) as caught:
        call()
    return f"refused: {caught.value}"


def error(call: Callable[[], object]) -> str:
    with pytest.raises(GateCannotJudge) as caught:
        call()
    return f"error {caught.value.code}"


@scenario("1", "await_signoff PASSED no swap")
def cleared(world: World, tmp: Path) -> str:
    first = world.bootstrap(tmp)
    world.challenge(tmp)
    found = outcome(world.judge())
    releases.publish(world.ctx)
    return f"{found} {'no swap' if world.seen.version == first else 'swapped'}"


@scenario("2", "promote PASSED swapped auto")
def cleared_under_auto_promote(world: World, tmp: Path) -> str:
    auto = world.with_policy(auto_promote=True)
    auto.bootstrap(tmp)
    version = auto.challenge(tmp)
    found = outcome(auto.judge())
    releases.publish(auto.ctx)
    seen = auto.seen
    assert seen.pointer is not None
    return f"{found} {'swapped' if seen.version == version else 'no swap'} {seen.pointer.trigger}"


@scenario("3", "promote APPROVED manual risk.officer basis kept, swapped")
def approved(world: World, tmp: Path) -> str:
    world.bootstrap(tmp)
    version, decision_id = world.await_approval(tmp)
    decision = world.approve(decision_id, now=later(hours=71))
    assert decision.body["basis_decision_id"] == decision_id
    assert decision.body["approvals"][-1]["method"] == f"approval-{decision_id}"
    releases.publish(world.ctx)
    swapped = "swapped" if world.seen.version == version else "no swap"
    return f"{decision.decision} {decision.reason_code} {decision.trigger} {decision.operator} basis kept, {swapped}"


@scenario("4", "refused, expired")
def approved_too_late(world: World, tmp: Path) -> str:
    world.bootstrap(tmp)
    version, decision_id = world.await_approval(tmp)
    said = refusal(lambda: world.approve(decision_id, now=later(hours=73)))
    assert "expired" in said
    return f"refused, {world.state(version)}"


@scenario("5", "refused, superseded")
def approved_after_the_champion_changed(world: World, tmp: Path) -> str:
    first = world.bootstrap(tmp)
    second = world.promote(tmp)
    world.served_since(first, 30)
    version, decision_id = waiting_against(world, tmp)
    releases.release(world.settings, *world.force(first))
    assert world.state(second) == "retired"
    said = refusal(lambda: world.approve(decision_id))
    assert "superseded" in said
    return f"refused, {world.state(version)}"


def waiting_against(world: World, tmp: Path) -> tuple[str, str]:
    """A challenger that waits although the champion is strong."""
    version = world.challenge(tmp, Tweaks(strength=4.0), Tweaks())
    decision_id = str(world.judge()["decision_id"])
    signoff.open_approval(world.settings, decision_id)
    return version, decision_id


@scenario("6", "refused: four eyes")
def approved_by_who_started_the_run(world: World, tmp: Path) -> str:
    world.bootstrap(tmp)
    _, decision_id = world.await_approval(tmp, started_by="risk.officer")
    return refusal(lambda: world.approve(decision_id)).split(": risk")[0]


@scenario("7", "reject PRIMARY_NOT_IMPROVED")
def identical_outputs(world: World, tmp: Path) -> str:
    world.bootstrap(tmp)
    world.challenge(tmp, Tweaks(strength=WEAK), Tweaks(strength=WEAK))
    return outcome(world.judge())


@scenario("8", "PASSED")
def exactly_the_gain(world: World, tmp: Path) -> str:
    return competition(gained=0.0035).code


@scenario("9", "PRIMARY_NOT_IMPROVED")
def just_below_the_gain(world: World, tmp: Path) -> str:
    return competition(gained=0.0034).code


@scenario("10", "NOT_SIGNIFICANT")
def p_at_the_level(world: World, tmp: Path) -> str:
    return competition(p=0.05).code


@scenario("11", "NOT_SIGNIFICANT")
def large_gain_by_chance(world: World, tmp: Path) -> str:
    return competition(gained=0.021, p=0.20).code


@scenario("12", "PASSED")
def one_task_loses_within_tolerance(world: World, tmp: Path) -> str:
    return competition(gained=0.02, t0=0.70 * (1 - 0.019), harm_p=0.4).code


@scenario("13", "SIGNIFICANT_HARM")
def one_task_loses_beyond_chance(world: World, tmp: Path) -> str:
    return competition(gained=0.02, t0=0.70 * (1 - 0.019), harm_p=0.0001).code


@scenario("14", "SECONDARY_DEGRADED")
def error_rises(world: World, tmp: Path) -> str:
    return competition(trend=0.41).code


@scenario("15", "PASSED")
def error_falls(world: World, tmp: Path) -> str:
    return competition(trend=0.38).code


@scenario("16", "PASSED")
def secondary_loss_of_exactly_two_percent(world: World, tmp: Path) -> str:
    return competition(trend=0.40 * 1.02).code


@scenario("17", "PASSED")
def small_metric_loses_little(world: World, tmp: Path) -> str:
    return competition(champion={**CHAMPION, "mcc": 0.0120}, mcc=0.0115).code


@scenario("18", "reject FIDELITY_FAILED without comparison")
def students_diverge(world: World, tmp: Path) -> str:
    world.bootstrap(tmp)
    world.challenge(tmp, Tweaks(kl={"churn_signal": 0.21, "nba_primary": 0.27}))
    facts = world.judge()
    decision = world.stored(facts["decision_id"]).decision
    steps = {step["step"]: step["outcome"] for step in decision.body["gate_path"]}
    assert steps["competition"] == "skipped"
    assert "churn_signal (KL 0.210000)" in decision.reason
    return f"{outcome(facts)} {'with' if decision.body['comparison'] else 'without'} comparison"


@scenario("19", "await_signoff PASSED")
def divergence_at_the_floor(world: World, tmp: Path) -> str:
    world.bootstrap(tmp)
    world.challenge(tmp, Tweaks(kl={"churn_signal": 0.200}))
    return outcome(world.judge())


@scenario("20", "reject FIDELITY_INCOMPLETE")
def one_task_without_fidelity_verdict(world: World, tmp: Path) -> str:
    world.bootstrap(tmp)
    world.challenge(tmp, Tweaks(fidelity={"churn_signal": "none"}))
    return outcome(world.judge())


@scenario("20b", "reject FIDELITY_INCOMPLETE")
def passed_without_a_measured_divergence(world: World, tmp: Path) -> str:
    world.bootstrap(tmp)
    world.challenge(tmp, Tweaks(kl={"churn_signal": None}))
    return outcome(world.judge())


@scenario("21", "reject METRIC_INVALID: challenger churn_signal")
def challenger_answers_nan(world: World, tmp: Path) -> str:
    world.bootstrap(tmp)
    world.challenge(tmp, Tweaks(nan_in="churn_signal"))
    facts = world.judge()
    return f"{facts['decision']} {str(facts['reason']).split(' auc')[0]}"


@scenario("22", "reject METRIC_INVALID: champion churn_signal")
def champion_has_no_outputs_for_a_task_it_serves(world: World, tmp: Path) -> str:
    world.bootstrap(tmp)
    world.challenge(tmp, champion=Tweaks(strength=WEAK, without=("churn_signal",)))
    facts = world.judge()
    return f"{facts['decision']} {str(facts['reason']).split(' auc')[0]}"


@scenario("23", "reject PACKAGE_INCOMPLETE")
def package_is_incomplete(world: World, tmp: Path) -> str:
    world.bootstrap(tmp)
    world.challenge(tmp, Tweaks(state="incomplete", without=("churn_signal",)))
    return outcome(world.judge())


@scenario("23b", "reject TASKS_MISSING")
def package_lacks_a_task(world: World, tmp: Path) -> str:
    world.bootstrap(tmp)
    world.challenge(tmp, Tweaks(without=("churn_signal",)))
    return outcome(world.judge())


@scenario("24", "await_signoff PASSED extra ['a_fourteenth']")
def package_has_a_task_more(world: World, tmp: Path) -> str:
    world.bootstrap(tmp)
    world.challenge(tmp, Tweaks(extra=("a_fourteenth",)))
    facts = world.judge()
    return f"{outcome(facts)} extra {world.stored(facts['decision_id']).decision.body['task_sets']['extra']}"


@scenario("25", "await_signoff PASSED gain ['next_mcc']")
def task_gets_a_model(world: World, tmp: Path) -> str:
    before = Tweaks(strength=WEAK, by_rules=("next_mcc",))
    world.bootstrap(tmp, before)
    world.challenge(tmp, champion=before)
    facts = world.judge()
    decision = world.stored(facts["decision_id"]).decision
    assert "f1_macro:next_mcc" not in [row["metric"] for row in decision.body["comparison"]]
    return f"{outcome(facts)} gain {decision.body['task_sets']['coverage_gain']}"


@scenario("26", "reject COVERAGE_REGRESSION")
def task_loses_its_model(world: World, tmp: Path) -> str:
    world.bootstrap(tmp)
    world.challenge(tmp, Tweaks(by_rules=("next_mcc",)))
    return outcome(world.judge())


@scenario("27", "reject TASK_CONTRACT_CHANGED")
def task_gets_a_class_more(world: World, tmp: Path) -> str:
    world.bootstrap(tmp)
    world.challenge(tmp, Tweaks(classes={"nba_primary": 5}))
    return outcome(world.judge())


@scenario("28", "bootstrap NO_CHAMPION swapped auto")
def first_version(world: World, tmp: Path) -> str:
    version = str(world.package(Tweaks(), tmp).facts["version"])
    world.score(Tweaks(), None)
    found = outcome(world.judge())
    releases.publish(world.ctx)
    seen = world.seen
    assert seen.pointer is not None
    return f"{found} {'swapped' if seen.version == version else 'no swap'} {seen.pointer.trigger}"


@scenario("29", "bootstrap NO_CHAMPION naming both")
def first_version_below_the_floor(world: World, tmp: Path) -> str:
    tweaks = Tweaks(fidelity={"churn_signal": "fail", "nba_primary": "fail"})
    world.package(tweaks, tmp)
    world.score(tweaks, None)
    facts = world.judge()
    named = all(task in str(facts["reason"]) for task in tweaks.fidelity)
    return f"{outcome(facts)} {'naming both' if named else 'silent'}"


@scenario("30", "error REGISTRY_CORRUPT")
def pointer_is_gone(world: World, tmp: Path) -> str:
    world.bootstrap(tmp)
    world.challenge(tmp)
    world.ctx.objects.delete(pointer.KEY)
    return error(world.judge)


@scenario("30b", "error REGISTRY_CORRUPT")
def pointer_was_edited(world: World, tmp: Path) -> str:
    world.bootstrap(tmp)
    world.challenge(tmp)
    key, objects = pointer.KEY, world.ctx.objects
    objects.put(key, objects.get(key).replace(b'"generation":1', b'"generation":9'))
    return error(world.judge)


@scenario("31", "StoreError, no verdict")
def pointer_cannot_be_read(world: World, tmp: Path) -> str:
    world.package(Tweaks(), tmp)
    world.score(Tweaks(), None)
    state = world.ctx.objects.local_path(f"registry/state/{versions.listed(world.ctx.objects)[0]}.json")
    blocked = state.parent.parent / "pointer"
    blocked.mkdir()
    (blocked / "champion.json").symlink_to(blocked / "champion.json")  # reading it is an I/O error, not "absent"
    with pytest.raises((StoreError, OSError)):
        world.judge()
    return f"StoreError, {'verdict' if world.rows('promotion_decision') else 'no verdict'}"


@scenario("32", "reject CHAMPION_UNLOADABLE, force still possible")
def champion_is_damaged(world: World, tmp: Path) -> str:
    first = world.bootstrap(tmp)
    damage(world, first)
    challenger = world.challenge(tmp)
    found = outcome(world.judge())
    decision, _ = world.force(challenger, approver="second.person")
    return f"{found}, {'force still possible' if decision.changes_champion else 'stuck'}"


def damage(world: World, version: str) -> None:
    """Change one byte of a model."""
    path = world.ctx.objects.local_path(f"registry/versions/{version}/students/churn_signal/model.txt")
    path.write_bytes(path.read_bytes().replace(b"v4", b"v5"))


@scenario("33", "reject CHALLENGER_INVALID")
def challenger_is_damaged(world: World, tmp: Path) -> str:
    world.bootstrap(tmp)
    damage(world, world.challenge(tmp))
    return outcome(world.judge())


@scenario("34", "force_promote FORCED serves, second person due")
def known_good_version_is_forced(world: World, tmp: Path) -> str:
    first, _ = world.bootstrap(tmp), world.promote(tmp)
    world.served_since(first, 30)
    decision, receipt = world.force(first)
    releases.release(world.settings, decision, receipt)
    due = [person for person in decision.body["approvals"] if person["method"] == "second_person_due"]
    assert decision.body["review_due"].endswith("18:00:00+09:00")
    serves = "serves" if world.target.serving() == first else "does not serve"
    return f"{decision.decision} {decision.reason_code} {serves}, {'second person due' if due else ''}"


@scenario("35", "refused, recorded")
def unknown_version_is_forced(world: World, tmp: Path) -> str:
    refusal(lambda: world.force("v20200101-00000000"))
    return f"refused, {'recorded' if world.rows('force_promote_refused') else 'silent'}"


@scenario("36", "refused x5")
def force_without_reason_or_operator(world: World, tmp: Path) -> str:
    bad = [
        {"reason": ""},
        {"reason": "test test test"},
        {"reason": "aaaaaaaaaaaa"},
        {"reason": "x" * 501},
        {"operator": " "},
    ]
    refused = [refusal(lambda given=given: world.force("v1", **given)) for given in bad]  # type: ignore[misc]
    assert len(world.rows("force_promote_refused")) == len(bad)
    return f"refused x{len(refused)}"


@scenario("37", "refused, refused")
def damaged_version_is_forced(world: World, tmp: Path) -> str:
    world.bootstrap(tmp)
    version = world.challenge(tmp)

    def silent(copy: object) -> None:
        raise ActivationFailed("no answer")

    unanswered = refusal(lambda: world.force(version, approver="second.person", smoke=silent))
    damage(world, version)
    damaged = refusal(lambda: world.force(version, approver="second.person"))
    return f"{unanswered.split(':')[0]}, {damaged.split(':')[0]}"


@scenario("38", "force_promote with skipped ['fidelity', 'competition', 'hooks', 'posture']")
def version_below_the_floor_is_forced(world: World, tmp: Path) -> str:
    world.bootstrap(tmp)
    version = world.challenge(tmp, Tweaks(fidelity={"churn_signal": "fail"}))
    decision, _ = world.force(version, approver="second.person")
    return f"{decision.decision} with skipped {decision.body['skipped_checks']}"


@scenario("39", "refused, then allowed by two")
def quarantined_version_is_forced(world: World, tmp: Path) -> str:
    world.bootstrap(tmp)
    version = world.challenge(tmp)
    states.quarantine(world.ctx.objects, version, "risk.officer", "wrong labels", later())
    refusal(lambda: world.force(version, approver="second.person"))
    refusal(lambda: world.force(version, allow_quarantined=True))
    decision, _ = world.force(version, approver="second.person", allow_quarantined=True)
    return f"refused, then {'allowed by two' if decision.changes_champion else 'refused'}"


@scenario("40", "ALREADY_CHAMPION, 1 verdict, generation 1")
def champion_is_forced(world: World, tmp: Path) -> str:
    decision, receipt = world.force(world.bootstrap(tmp))
    releases.release(world.settings, decision, receipt)
    return (
        f"{force.outcome(decision, 'req-1')}, {len(world.rows('promotion_decision'))} verdict, "
        f"generation {world.seen.generation}"
    )


@scenario("41", "one decision")
def same_force_twice(world: World, tmp: Path) -> str:
    world.bootstrap(tmp)
    version = world.challenge(tmp)
    first = world.force(version, approver="second.person")
    again = world.force(version, approver="second.person", now=later(hours=5))
    assert first == again
    assert "req-1 was" in refusal(lambda: world.force(version, approver="second.person", operator="another"))
    return "one decision" if len(world.rows("promotion_decision")) == 2 else "two decisions"


@scenario("42", "replayed, 2 verdicts, same manifest")
def evaluated_twice(world: World, tmp: Path) -> str:
    world.bootstrap(tmp)
    world.challenge(tmp)
    first, manifest = world.judge(), world.ctx.read("gate").content_hash
    world.ctx.objects.delete(f"runs/synthetic/{world.monday}/gate/manifest.json")
    replayed = world.judge() == first and world.ctx.read("gate").content_hash == manifest
    return f"{'replayed' if replayed else 'again'}, {len(world.rows('promotion_decision'))} verdicts, same manifest"


@scenario("43", "error CHAMPION_CHANGED, no verdict")
def force_lands_while_judging(world: World, tmp: Path) -> str:
    first = world.bootstrap(tmp)
    world.promote(tmp)
    world.served_since(first, 30)
    world.challenge(tmp, Tweaks(strength=4.0), Tweaks())
    before = len(world.rows("promotion_decision"))

    class Landing:
        name = "slow"

        def ask(self, version: str) -> Opinion:
            releases.release(world.settings, *world.force(first))
            return Opinion("pass", "OK", "no objection")

    found = error(lambda: world.judge(hooks=[Landing()]))
    added = len(world.rows("promotion_decision")) - before
    return f"{found}, {'no verdict' if added == 1 else 'verdict'}"  # the one added is the forced one


@scenario("44", "completed, one verdict")
def crash_between_entry_and_swap(world: World, tmp: Path) -> str:
    version = str(world.package(Tweaks(), tmp).facts["version"])
    world.score(Tweaks(), None)
    world.judge()
    repaired = releases.reconcile(world.settings)
    assert world.seen.version == version == world.target.serving()
    verdicts = len(world.rows("promotion_decision"))
    return f"{repaired[0].split(' ')[0]}, {'one verdict' if verdicts == 1 else 'more'}"


@scenario("45", "AppendFailed, no decision, no swap")
def record_is_not_writable(world: World, tmp: Path) -> str:
    world.package(Tweaks(), tmp)
    world.score(Tweaks(), None)
    broken = tmp / "a-file"
    broken.write_text("the audit store is not a folder")
    place = world.settings.place.model_copy(update={"audit": f"file://{broken}"})
    elsewhere = World(world.settings.model_copy(update={"place": place}), world.monday)
    with pytest.raises(AppendFailed):
        elsewhere.judge()
    undecided = not decisions.listed(world.ctx.objects)
    return f"AppendFailed, {'no decision' if undecided else 'decided'}, {'no swap' if not world.seen.tag else 'swap'}"


@scenario("46", "await_signoff COMPLIANCE_UNAVAILABLE")
def hook_times_out(world: World, tmp: Path) -> str:
    world.bootstrap(tmp)
    world.challenge(tmp)
    return outcome(world.judge(hooks=[hook("compliance", TimeoutError("2 s"))]))


@scenario("47", "reject COMPLIANCE_REJECTED")
def hook_rejects(world: World, tmp: Path) -> str:
    world.bootstrap(tmp)
    world.challenge(tmp)
    asked = [
        hook("risk", Opinion("escalate", "RISK_HIGH", "look")),
        hook("compliance", Opinion("reject", "COMPLIANCE_REJECTED", "unacceptable")),
    ]
    return outcome(world.judge(hooks=asked))


@scenario("48", "reject COUNTERFACTUAL_VETO")
def counterfactual_vetoes(world: World, tmp: Path) -> str:
    world.bootstrap(tmp)
    world.challenge(tmp)
    worse = Opinion("reject", "COUNTERFACTUAL_VETO", "WORSE")
    return outcome(world.judge(hooks=[hook("counterfactual", worse)]))


@scenario("49", "await_signoff PASSED counterfactual UNAVAILABLE")
def no_propensities(world: World, tmp: Path) -> str:
    world.bootstrap(tmp)
    world.challenge(tmp)
    facts = world.judge()
    said = world.stored(facts["decision_id"]).decision.body["counterfactual"]["verdict"]
    return f"{outcome(facts)} counterfactual {said}"


@scenario("50", "dry runs recorded 4, decisions 1, pointer untouched")
def backfill_of_four_mondays(world: World, tmp: Path) -> str:
    world.bootstrap(tmp)
    before = world.ctx.objects.get(pointer.KEY)
    for _ in range(4):
        world.challenge(tmp)
        assert world.judge("dry_run")["decision"] == "await_signoff"
        releases.publish(world.ctx)
    untouched = world.ctx.objects.get(pointer.KEY) == before
    recorded, made = len(world.rows("gate_dry_run")), len(decisions.listed(world.ctx.objects))
    return f"dry runs recorded {recorded}, decisions {made}, pointer {'untouched' if untouched else 'moved'}"


@scenario("51", "error BUNDLE_STALE x2")
def bundle_is_old_or_of_another_champion(world: World, tmp: Path) -> str:
    first = world.bootstrap(tmp)
    world.promote(tmp)
    world.served_since(first, 30)
    world.challenge(tmp, Tweaks(strength=4.0), Tweaks())
    found = error(lambda: world.judge(now=later(days=9)))
    releases.release(world.settings, *world.force(first))
    assert error(world.judge) == found
    return f"{found} x2"


@scenario("52", "ActivationFailed, former version serves, manifest_swap failed")
def new_version_does_not_answer(world: World, tmp: Path) -> str:
    first = world.bootstrap(tmp)
    _, decision_id = world.await_approval(tmp)
    world.approve(decision_id)

    class Silent(LocalTarget):
        def check(self, version: str) -> None:
            raise ActivationFailed(f"{version}: no answer")

    with pytest.raises(ActivationFailed):
        releases.publish(world.ctx, target=Silent(world.target.folder))
    assert world.seen.version == first == world.target.serving()
    assert world.seen.generation == 3
    phases = [row.payload["phase"] for row in world.rows("manifest_swap")]
    return (
        f"ActivationFailed, former version serves, manifest_swap {phases[-1] if 'failed' not in phases else 'failed'}"
    )


@scenario("53", "superseded, pending_approval")
def newer_pass_while_one_waits(world: World, tmp: Path) -> str:
    world.bootstrap(tmp)
    older, _ = world.await_approval(tmp)
    newer, _ = world.await_approval(tmp)
    return f"{world.state(older)}, {world.state(newer)}"


@scenario("55", "refused: second person")
def version_that_never_served_is_forced_alone(world: World, tmp: Path) -> str:
    world.bootstrap(tmp)
    version = world.challenge(tmp)
    said = refusal(lambda: world.force(version))
    return f"refused: {'second person' if 'second person' in said else said}"


@scenario("56", "await_signoff PASSED unpowered ['will_acquire_lending'] of 6")
def task_with_twelve_positives(world: World, tmp: Path) -> str:
    world.positives = {"will_acquire_lending": 0.01}
    world.bootstrap(tmp)
    world.challenge(tmp, champion=Tweaks(strength=WEAK))
    facts = world.judge()
    sets = world.stored(facts["decision_id"]).decision.body["task_sets"]
    judged = [task for task in sets["compared"] if task in BINARY]
    return f"{outcome(facts)} unpowered {sets['unpowered']} of {len(judged)}"


@scenario("57", "await_signoff, expired, approval_expired")
def nobody_answers(world: World, tmp: Path) -> str:
    world.bootstrap(tmp)
    version, decision_id = world.await_approval(tmp)
    decision = signoff.conclude(world.settings, decision_id, "expired", None, "")
    return f"{decision.decision}, {world.state(version)}, {world.rows('approval_expired')[0].header['event']}"


@pytest.mark.parametrize("number", TABLE)
def test_situation_has_its_verdict(number: str, world: World, tmp_path: Path) -> None:
    situation, expected = TABLE[number]
    assert situation(world, tmp_path) == expected


def test_automatic_promotion_in_production_is_a_start_up_failure(tmp_path: Path) -> None:
    """Number 54."""
    layer = tmp_path / "layer.yaml"
    layer.write_text("promotion: {auto_promote: true}")
    assert settings.load("synthetic", Place(env="staging", overrides=layer)).promotion.auto_promote
    with pytest.raises(SettingsError, match="auto_promote must be false in prod"):
        settings.load("synthetic", Place(env="prod", overrides=layer))


def test_an_underpowered_policy_is_refused_in_production(world: World, tmp_path: Path) -> None:
    world.bootstrap(tmp_path)
    world.challenge(tmp_path)
    place = world.settings.place.model_copy(update={"env": "prod"})
    prod = World(world.settings.model_copy(update={"place": place}), world.monday)
    assert POLICY["promotion"]["min_gate_rows"] < prod.settings.promotion.powered_gate_rows
    with pytest.raises(SettingsError, match="min_gate_rows is 500 in prod"):
        prod.judge()


def test_rollback_names_what_it_rolls_back_and_lists_alternatives(world: World, tmp_path: Path) -> None:
    first, second = world.bootstrap(tmp_path), world.promote(tmp_path)
    world.served_since(first, 30)
    world.served_since(second, 30)
    decision, receipt = force.rollback(
        world.settings, "on.call", "Error spike after the release of today", request_id="rb-1"
    )
    assert (decision.challenger_version, decision.body["rollback_of"]) == (first, second)
    releases.release(world.settings, decision, receipt)
    assert world.target.serving() == first
    damage(world, second)
    with pytest.raises(RequestRefused, match=f"known-good versions: {first}"):
        force.rollback(world.settings, "on.call", "Error spike after the release of today", request_id="rb-2")
