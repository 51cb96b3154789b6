"""Rows 18 to 20 and 23 to 33 of the scenario table: packages, fidelity, and a registry that must be read right."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline_lib.errors import StoreError
from pipeline_lib.publish import release as releases
from pipeline_lib.registry import pointer, versions
from tests.unit.gate.exact import Figures, present
from tests.unit.gate.promotion_world import BINARY, CLASSES, REGRESSION, WEAK, Tweaks, World
from tests.unit.gate.scenario import damage, error, forced, found, judged, pages, scenario, verdicts

ALL = (*BINARY, *CLASSES, *REGRESSION)


@scenario(
    18, "Two tasks KL 0.21 and 0.27, avg_auc +3 %", "reject", "`FIDELITY_FAILED` naming both; competition not run"
)
def students_diverge(world: World, tmp: Path) -> tuple[str, str]:
    world.bootstrap(tmp)
    world.challenge(tmp, Tweaks(kl={"churn_signal": 0.21, "nba_primary": 0.27}))
    present(world, Figures(), Figures(auc=0.721))
    decision = judged(world)
    steps = {step["step"]: step["outcome"] for step in decision.body["gate_path"]}
    assert (steps["competition"], decision.body["comparison"], decision.body["significance"]) == ("skipped", None, None)
    named = all(
        text in decision.reason for text in ("churn_signal (kl 0.21, needs <= 0.2)", "nba_primary (kl 0.27, needs")
    )
    verdict, code = found(decision)
    return verdict, f"{code} {'naming both' if named else decision.reason}; competition not run"


@scenario(19, "KL exactly 0.200", "await_signoff", "`PASSED`: the floor is inclusive")
def divergence_at_the_floor(world: World, tmp: Path) -> tuple[str, str]:
    world.bootstrap(tmp)
    world.challenge(tmp, Tweaks(kl={"churn_signal": 0.200}))
    verdict, code = found(judged(world))
    return verdict, f"{code}: the floor is inclusive"


@scenario(
    20, "Fidelity summary empty, of 12 of 13 tasks, or a pass without a measured KL", "reject", "`FIDELITY_INCOMPLETE`"
)
def without_fidelity_verdict(world: World, tmp: Path) -> tuple[str, str]:
    world.bootstrap(tmp)
    silent = (
        Tweaks(fidelity=dict.fromkeys(ALL, "none")),
        Tweaks(fidelity={"churn_signal": "none"}),
        Tweaks(kl={"churn_signal": None}),
    )
    outcomes = set()
    for tweaks in silent:
        world.challenge(tmp, tweaks)
        outcomes.add(found(judged(world)))
    (only,) = outcomes
    return only


@scenario(
    23, "Challenger lacks a task", "reject", "`PACKAGE_INCOMPLETE`, or `TASKS_MISSING` if it calls itself complete"
)
def package_lacks_a_task(world: World, tmp: Path) -> tuple[str, str]:
    world.bootstrap(tmp)
    world.challenge(tmp, Tweaks(state="incomplete", without=("churn_signal",)))
    verdict, incomplete = found(judged(world))
    world.challenge(tmp, Tweaks(without=("churn_signal",)))
    again, missing = found(judged(world))
    assert verdict == again
    return verdict, f"{incomplete}, or {missing} if it calls itself complete"


@scenario(24, "Challenger has a 14th task", "await_signoff", "`PASSED`; listed in `extra`, not served")
def package_has_a_task_more(world: World, tmp: Path) -> tuple[str, str]:
    world.bootstrap(tmp)
    world.challenge(tmp, Tweaks(extra=("a_fourteenth",)))
    decision = judged(world)
    listed = decision.body["task_sets"]["extra"] == ["a_fourteenth"]
    verdict, code = found(decision)
    return verdict, f"{code}; {'listed in `extra`' if listed else 'not listed'}, not served"


@scenario(
    25,
    "Champion answers next_mcc by rules, challenger by a model",
    "await_signoff",
    "`PASSED` compared without it; listed in `coverage_gain`",
)
def task_gets_a_model(world: World, tmp: Path) -> tuple[str, str]:
    before = Tweaks(strength=WEAK, by_rules=("next_mcc",))
    world.bootstrap(tmp, before)
    world.challenge(tmp, champion=before)
    decision = judged(world)
    without = "f1_macro:next_mcc" not in [row["metric"] for row in decision.body["comparison"]]
    listed = decision.body["task_sets"]["coverage_gain"] == ["next_mcc"]
    verdict, code = found(decision)
    return verdict, (
        f"{code} compared {'without' if without else 'with'} it; {'listed in `coverage_gain`' if listed else 'silent'}"
    )


@scenario(26, "Champion by a model, challenger by rules", "reject", "`COVERAGE_REGRESSION`")
def task_loses_its_model(world: World, tmp: Path) -> tuple[str, str]:
    world.bootstrap(tmp)
    world.challenge(tmp, Tweaks(by_rules=("next_mcc",)))
    return found(judged(world))


@scenario(27, "nba_primary gets another class", "reject", "`TASK_CONTRACT_CHANGED`")
def task_gets_a_class_more(world: World, tmp: Path) -> tuple[str, str]:
    world.bootstrap(tmp)
    world.challenge(tmp, Tweaks(classes={"nba_primary": CLASSES["nba_primary"] + 1}))
    return found(judged(world))


@scenario(28, "No pointer, no history, valid package", "bootstrap", "`NO_CHAMPION`; swapped, trigger auto")
def first_version(world: World, tmp: Path) -> tuple[str, str]:
    version = str(world.package(Tweaks(), tmp).facts["version"])
    world.score(Tweaks(), None)
    verdict, code = found(judged(world))
    releases.publish(world.ctx)
    now = world.seen.pointer
    assert now is not None
    return verdict, f"{code}; {'swapped' if now.version == version else 'no swap'}, trigger {now.trigger}"


@scenario(29, "The same with two fidelity failures", "bootstrap", "`NO_CHAMPION`; both named, with their layer")
def first_version_below_the_floor(world: World, tmp: Path) -> tuple[str, str]:
    tweaks = Tweaks(fidelity={"churn_signal": "fail", "nba_primary": "fail"}, kl={"nba_primary": 0.3})
    world.package(tweaks, tmp)
    world.score(tweaks, None)
    decision = judged(world)
    both = all(
        text in decision.reason
        for text in (
            "churn_signal (its report names no criterion), now layer",
            "nba_primary (kl 0.3, needs <= 0.2), now layer",
        )
    )
    verdict, code = found(decision)
    return verdict, f"{code}; {'both named, with their layer' if both else decision.reason}"


@scenario(
    30,
    "No pointer but there was a champion, or a pointer that we did not sign",
    "error",
    "`REGISTRY_CORRUPT`; no verdict",
)
def pointer_is_gone_or_edited(world: World, tmp: Path) -> tuple[str, str]:
    world.bootstrap(tmp)
    world.challenge(tmp)
    key, objects, before = pointer.KEY, world.ctx.objects, verdicts(world)
    kept = objects.get(key)
    objects.put(key, kept.replace(b'"generation":1', b'"generation":9'))
    edited = error(world.judge)
    objects.delete(key)
    assert edited == error(world.judge)
    return "error", f"`{edited}`; {'no verdict' if verdicts(world) == before else 'a verdict'}"


@scenario(31, "The pointer cannot be read", "error", "of the store; no verdict, never bootstrap")
def pointer_cannot_be_read(world: World, tmp: Path) -> tuple[str, str]:
    world.package(Tweaks(), tmp)
    world.score(Tweaks(), None)
    state = world.ctx.objects.local_path(f"registry/state/{versions.listed(world.ctx.objects)[0]}.json")
    blocked = state.parent.parent / "pointer"
    blocked.mkdir()
    (blocked / "champion.json").symlink_to(blocked / "champion.json")  # reading it is an I/O error, not "absent"
    with pytest.raises((StoreError, OSError)):
        world.judge()
    return "error", f"of the store; {'no verdict' if not verdicts(world) else 'a verdict'}, never bootstrap"


@scenario(32, "Champion's artefact has another hash", "reject", "`CHAMPION_UNLOADABLE`; paged; force still possible")
def champion_is_damaged(world: World, tmp: Path) -> tuple[str, str]:
    first = world.bootstrap(tmp)
    damage(world, first)
    challenger = world.challenge(tmp)
    with pages() as paged:
        verdict, code = found(judged(world))
    possible = forced(world, challenger, approver="second.person").changes_champion
    return verdict, f"{code}; {'paged' if paged else 'silent'}; force {'still possible' if possible else 'stuck'}"


@scenario(33, "One byte of the challenger altered", "reject", "`CHALLENGER_INVALID`")
def challenger_is_damaged(world: World, tmp: Path) -> tuple[str, str]:
    world.bootstrap(tmp)
    damage(world, world.challenge(tmp))
    return found(judged(world))
