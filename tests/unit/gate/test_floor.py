"""What a failed fidelity says: every failing task with every criterion, its value and its limit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline_lib.canonical import with_decimals
from pipeline_lib.gate import floor
from pipeline_lib.registry.package import Missed, PackagedTask
from tests.unit.gate.promotion_world import Tweaks, World
from tests.unit.gate.scenario import judged

RANK: dict[str, Any] = {"criterion": "rank_corr", "value": 0.712, "limit": 0.8, "sense": ">="}
ECE: dict[str, Any] = {"criterion": "ece", "value": None, "limit": 0.0257, "sense": "<="}


def task(route: str = "distil", verdict: str | None = "pass", kl: float | None = 0.1, *failing: Missed) -> PackagedTask:
    return PackagedTask("a", "binary", (), route, 1, verdict, kl, failing)


def asked(*tasks: PackagedTask) -> tuple[str | None, str]:
    answer = floor.ask([floor.TaskFidelity.of(one, 0.2) for one in tasks], [one.name for one in tasks])
    return answer.decision, answer.code


def test_every_failing_task_is_named_with_every_criterion(world: World, tmp_path: Path) -> None:
    """KL is in order here: naming it alone would read as if nothing were wrong."""
    world.bootstrap(tmp_path)
    failing = {"churn_signal": [RANK, ECE], "next_mcc": [{**RANK, "criterion": "f1_gap", "sense": "<="}]}
    world.challenge(tmp_path, Tweaks(fidelity=dict.fromkeys(failing, "fail"), failing=failing))
    decision = judged(world)
    assert decision.reason == (
        "FIDELITY_FAILED: 2 of 13 tasks diverge from the teacher: "
        "churn_signal (rank_corr 0.712, needs >= 0.8; ece unknown, needs <= 0.0257); "
        "next_mcc (f1_gap 0.712, needs <= 0.8)"
    )
    rows = {row["task"]: row for row in decision.body["fidelity"]}
    assert rows["churn_signal"]["failing"] == with_decimals([RANK, ECE])
    assert rows["top_mcc_shift"]["failing"] == []
    step = next(step for step in decision.body["gate_path"] if step["step"] == "fidelity")
    assert [failed["task"] for failed in step["value"]] == ["churn_signal", "next_mcc"]
    page = world.ctx.read("gate").path("comparison.md").read_text()
    assert "rank_corr 0.7120, needs >= 0.8000; ece unknown, needs <= 0.0257" in page


@pytest.mark.parametrize(
    ("one", "outcome"),
    [
        (task(), (None, "FIDELITY_PASSED")),
        (task(kl=0.2), (None, "FIDELITY_PASSED")),
        (task(kl=0.2000001), ("reject", "FIDELITY_FAILED")),
        (task("distil", "fail", 0.1), ("reject", "FIDELITY_FAILED")),
        (task("distil", "pass", 0.1, Missed(**RANK)), ("reject", "FIDELITY_FAILED")),
        (task("distil", "pass", None), ("reject", "FIDELITY_INCOMPLETE")),
        (task("distil", "pass", float("nan")), ("reject", "FIDELITY_INCOMPLETE")),
        (task("distil", None), ("reject", "FIDELITY_INCOMPLETE")),
        (task("distil", "exempt"), ("reject", "FIDELITY_INCOMPLETE")),
        (task("direct", "exempt", None), (None, "FIDELITY_PASSED")),
        (task("direct", "pass", None), ("reject", "FIDELITY_INCOMPLETE")),
        (task("rules", "rules", None), (None, "FIDELITY_PASSED")),
        (task("elsewhere", "pass"), ("reject", "FIDELITY_INCOMPLETE")),
    ],
)
def test_a_task_passes_only_with_the_verdict_of_its_route(one: PackagedTask, outcome: tuple[str | None, str]) -> None:
    assert asked(one) == outcome


def test_a_divergence_above_the_gates_own_floor_is_a_miss_whatever_the_report_says() -> None:
    """The package may have been judged under another floor than the gate's."""
    (found,) = (floor.TaskFidelity.of(task(kl=0.25), 0.2),)
    assert found.failing == (Missed("kl", 0.25, 0.2, "<="),)
    already = floor.TaskFidelity.of(task("distil", "fail", 0.25, Missed("kl", 0.25, 0.2, "<=")), 0.2)
    assert already.failing == found.failing


def test_a_row_of_the_record_is_read_back_as_it_was() -> None:
    for one in (task(), task("distil", "fail", None, Missed(**RANK), Missed(**ECE)), task("rules", "rules", None)):
        kept = floor.TaskFidelity.of(one, 0.2)
        assert floor.TaskFidelity.recorded(with_decimals(kept.to_dict())) == kept
