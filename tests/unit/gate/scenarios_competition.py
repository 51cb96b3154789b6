"""Rows 1, 2, 7 to 17, 21, 22 and 56 of the scenario table: what the numbers of two models decide."""

from __future__ import annotations

import math
from pathlib import Path

from pipeline_lib.gate import evidence, sets, trial
from pipeline_lib.gate.limits import Limits
from pipeline_lib.publish import release as releases
from pipeline_lib.records import Decision
from tests.unit.gate.exact import Figures
from tests.unit.gate.promotion_world import BINARY, REGRESSION, Tweaks, World
from tests.unit.gate.scenario import compared, found, judged, pages, scenario

BETTER = Figures(auc=0.7040)
ONE = BINARY[0]


def primary(decision: Decision) -> dict[str, str]:
    row: dict[str, str] = decision.body["comparison"][0]
    assert row["metric"] == "avg_auc"
    return row


@scenario(1, "Gain 0.70 -> 0.7040, no loss, all fidelity pass", "await_signoff", "`PASSED`; no swap")
def cleared(world: World, tmp: Path) -> tuple[str, str]:
    decision = judged(compared(world, tmp, BETTER))
    releases.publish(world.ctx)
    assert (primary(decision)["champion"], primary(decision)["challenger"]) == ("0.700000000", "0.704000000")
    assert float(decision.body["significance"]["p"]) < 0.05
    verdict, code = found(decision)
    return verdict, f"{code}; {'no swap' if world.seen.version == decision.champion_version else 'swapped'}"


@scenario(2, "The same, `auto_promote` true (not in prod)", "promote", "`PASSED`; swapped, trigger auto")
def cleared_under_auto_promote(world: World, tmp: Path) -> tuple[str, str]:
    auto = compared(world.with_policy(auto_promote=True), tmp, BETTER)
    decision = judged(auto)
    releases.publish(auto.ctx)
    pointer = auto.seen.pointer
    assert pointer is not None
    verdict, code = found(decision)
    swapped = "swapped" if pointer.version == decision.challenger_version else "no swap"
    return verdict, f"{code}; {swapped}, trigger {pointer.trigger}"


@scenario(7, "Identical outputs: a tie", "reject", "`PRIMARY_NOT_IMPROVED`")
def identical_outputs(world: World, tmp: Path) -> tuple[str, str]:
    return found(judged(compared(world, tmp, Figures())))


@scenario(8, "Champion 0.7000, challenger exactly 0.7035", "await_signoff", "`PASSED`: inclusive")
def exactly_the_gain(world: World, tmp: Path) -> tuple[str, str]:
    decision = judged(compared(world, tmp, Figures(auc=0.7035)))
    assert primary(decision)["relative"] == "0.005000000"
    verdict, code = found(decision)
    return verdict, f"{code}: inclusive"


@scenario(9, "Challenger 0.7034", "reject", "`PRIMARY_NOT_IMPROVED`")
def just_below_the_gain(world: World, tmp: Path) -> tuple[str, str]:
    return found(judged(compared(world, tmp, Figures(auc=0.7034))))


@scenario(10, "Gain enough, p exactly at the level", "reject", "`NOT_SIGNIFICANT`: strict")
def p_at_the_level(world: World, tmp: Path) -> tuple[str, str]:
    """The level is set to the very p of these rows; the next larger real would let it pass."""
    compared(world, tmp, Figures(auc=0.721, shuffled=frozenset(BINARY)))
    p = exact_p(world)
    looser = world.with_policy(significance_level=math.nextafter(p, 1))
    assert looser.judge("dry_run")["decision"] == "await_signoff"
    verdict, code = found(judged(world.with_policy(significance_level=p)))
    return verdict, f"{code}: strict"


def exact_p(world: World) -> float:
    """The primary p of this week's rows, unrounded."""
    ctx, kinds = world.ctx, {name: task.kind for name, task in world.settings.tasks.tasks.items()}
    bundle = evidence.collect(ctx.read("score"), ctx.read("labels"), list(kinds), ctx.objects)
    package, _ = trial.verified(ctx.objects, world.keys, *_challenger(world))
    assert package is not None
    all_of_them = sets.task_sets(list(kinds), package.tasks, package.tasks, ())
    shapes = trial.shapes_of(package.tasks, all_of_them)
    return float(trial.judge(bundle.open(), all_of_them, shapes, Limits.of(world.settings.promotion)).significance["p"])


def _challenger(world: World) -> tuple[str, str]:
    facts = world.ctx.read("package").facts
    return str(facts["version"]), str(facts["manifest_sha256"])


@scenario(11, "Gain 3 %, p above the level", "reject", "`NOT_SIGNIFICANT`")
def large_gain_by_chance(world: World, tmp: Path) -> tuple[str, str]:
    decision = judged(compared(world, tmp, Figures(auc=0.721, shuffled=frozenset(BINARY))))
    assert (primary(decision)["relative"], float(decision.body["significance"]["p"]) > 0.05) == ("0.030000000", True)
    assert "would be found in 80% of cases" in decision.reason
    return found(decision)


@scenario(
    12, "Gain enough, one task's AUC -1.9 %, harm not beyond chance", "await_signoff", "`PASSED`: within tolerance"
)
def one_task_loses_within_tolerance(world: World, tmp: Path) -> tuple[str, str]:
    losing = Figures(auc=0.714, of={ONE: 0.6867}, shuffled=frozenset({ONE}))
    decision = judged(compared(world, tmp, losing))
    assert float(harm(decision)["p_adjusted"]) > 0.05
    verdict, code = found(decision)
    return verdict, f"{code}: within tolerance"


@scenario(13, "Gain enough, one task's AUC -1.9 %, adjusted harm p below 0.001", "reject", "`SIGNIFICANT_HARM`")
def one_task_loses_beyond_chance(world: World, tmp: Path) -> tuple[str, str]:
    decision = judged(compared(world, tmp, Figures(auc=0.714, of={ONE: 0.6867})))
    assert float(harm(decision)["p_adjusted"]) < 0.001
    assert ONE in decision.reason
    return found(decision)


def harm(decision: Decision) -> dict[str, str]:
    return next(guard for guard in decision.body["significance"]["harm"] if guard["task"] == ONE)


@scenario(14, "Gain enough, avg_nmae up 2.5 % (0.40 -> 0.41)", "reject", "`SECONDARY_DEGRADED`")
def error_rises(world: World, tmp: Path) -> tuple[str, str]:
    decision = judged(compared(world, tmp, Figures(auc=0.7040, nmae=0.41)))
    assert all(name in decision.reason for name in ("avg_nmae", *REGRESSION))
    return found(decision)


@scenario(15, "Gain enough, avg_nmae *down* 5 %", "await_signoff", "`PASSED`: no objection")
def error_falls(world: World, tmp: Path) -> tuple[str, str]:
    verdict, code = found(judged(compared(world, tmp, Figures(auc=0.7040, nmae=0.38))))
    return verdict, f"{code}: no objection"


@scenario(16, "Gain enough, a secondary loss of exactly 2.000 %", "await_signoff", "`PASSED`: not more than")
def secondary_loss_of_exactly_two_percent(world: World, tmp: Path) -> tuple[str, str]:
    decision = judged(compared(world, tmp, Figures(auc=0.7040, nmae=0.408, shuffled=frozenset(REGRESSION))))
    assert {row["metric"]: row["relative"] for row in decision.body["comparison"]}["avg_nmae"] == "-0.020000000"
    verdict, code = found(decision)
    return verdict, f"{code}: not more than"


@scenario(
    17, "Gain enough, next_mcc F1 0.0120 -> 0.0115 (-4.2 %)", "await_signoff", "`PASSED`: 0.0005 is less than 0.002"
)
def small_metric_loses_little(world: World, tmp: Path) -> tuple[str, str]:
    """Three fewer customers of two thousand are right: less than counts, and not beyond chance."""
    few = {"next_mcc": 0.0115}
    decision = judged(compared(world, tmp, Figures(auc=0.7040, of=few), Figures(of={"next_mcc": 0.0120})))
    row = {row["metric"]: row for row in decision.body["comparison"]}["f1_macro:next_mcc"]
    assert float(row["relative"]) < -0.02
    assert "below the 0.002 that count" in row["why"]
    verdict, code = found(decision)
    return verdict, f"{code}: 0.0005 is less than 0.002"


@scenario(21, "Challenger's AUC of one task is NaN", "reject", "`METRIC_INVALID` challenger")
def challenger_answers_nan(world: World, tmp: Path) -> tuple[str, str]:
    world.bootstrap(tmp)
    world.challenge(tmp, Tweaks(nan_in=ONE))
    return invalid(judged(world))


@scenario(22, "Champion's metrics are missing for a task it serves", "reject", "`METRIC_INVALID` champion; paged")
def champion_has_no_outputs_for_a_task_it_serves(world: World, tmp: Path) -> tuple[str, str]:
    world.bootstrap(tmp)
    world.challenge(tmp, champion=Tweaks(without=(ONE,)))
    with pages() as paged:
        verdict, effect = invalid(judged(world))
    return verdict, f"{effect}; {'paged' if paged else 'silent'}"


def invalid(decision: Decision) -> tuple[str, str]:
    side, task = decision.reason.removeprefix("METRIC_INVALID: ").split(" ")[:2]
    assert task == ONE
    verdict, code = found(decision)
    return verdict, f"{code} {side}"


@scenario(
    56, "will_acquire_lending has 12 positives in the bundle", "await_signoff", "`PASSED` on 6 binary tasks; listed"
)
def task_with_twelve_positives(world: World, tmp: Path) -> tuple[str, str]:
    world.positives = {"will_acquire_lending": 0.01}
    world.bootstrap(tmp)
    world.challenge(tmp)
    decision = judged(world)
    sets_ = decision.body["task_sets"]
    listed = "listed" if sets_["unpowered"] == ["will_acquire_lending"] else "not listed"
    verdict, code = found(decision)
    return verdict, f"{code} on {sum(task in BINARY for task in sets_['compared'])} binary tasks; {listed}"
