"""Section 6 as arithmetic: limits, directions, validity, and that nothing missing is ever replaced."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_lib.gate import compare
from pipeline_lib.gate.compare import Limits
from pipeline_lib.gate.significance import OneSided
from pipeline_lib.registry.package import PackagedTask

LIMITS = Limits(
    min_improvement=0.005,
    max_degradation=0.02,
    abs_tolerance=0.002,
    significance_level=0.05,
    harm_test=True,
    harm_loss=0.01,
)
KINDS = {"a": "binary", "b": "binary", "c": "multiclass", "r": "regression"}
GOOD = {"a": 0.7, "b": 0.8, "c": 0.4, "r": 0.5}


def package(*by_rules: str) -> dict[str, PackagedTask]:
    return {
        name: PackagedTask(name, kind, ("x", "y"), "distil", 3 if name in by_rules else 1, "pass", 0.1)
        for name, kind in KINDS.items()
    }


def sets(new: dict[str, PackagedTask] | None = None, unpowered: tuple[str, ...] = ()) -> compare.TaskSets:
    return compare.task_sets(list(KINDS), package(), new or package(), unpowered)


def judged(champion: compare.Values, challenger: compare.Values, p: float | None = 0.001) -> compare.Competition:
    gain = OneSided(0.01, 0.001, 3.0, p, 100)
    harms = {task: OneSided(0.0, 0.001, 0.0, 0.9, 100) for task in KINDS}
    return compare.compete(KINDS, sets(), champion, challenger, gain, harms, LIMITS)


def better(**changed: float | None) -> dict[str, float | None]:
    return {**GOOD, "a": 0.72, "b": 0.82, **changed}


NUMBERS = st.one_of(st.none(), st.floats(allow_nan=True, allow_infinity=True), st.floats(0.3, 0.9))
MAPS = st.dictionaries(st.sampled_from(list(KINDS)), NUMBERS)


@given(champion=MAPS, challenger=MAPS, p=st.one_of(st.none(), st.floats(0, 1)))
def test_nothing_passes_without_every_required_finite_value(
    champion: dict[str, float | None], challenger: dict[str, float | None], p: float | None
) -> None:
    found = judged(champion, challenger, p)
    values = [side.get(task) for side in (champion, challenger) for task in KINDS]
    finite = all(value is not None and math.isfinite(value) for value in values)
    assert not found.passed or (finite and p is not None)
    assert finite or found.code == "METRIC_INVALID"


def test_all_finite_and_better_passes() -> None:
    """The property above can fail: this is the pass it guards."""
    assert judged(GOOD, better()).code == "PASSED"


@pytest.mark.parametrize(
    ("champion", "needed", "missed"), [(0.7, 0.7035, 0.70349), (0.8, 0.8040, 0.80399)], ids=["at 0.70", "at 0.80"]
)
def test_improvement_is_relative_and_inclusive(champion: float, needed: float, missed: float) -> None:
    old = {**GOOD, "a": champion, "b": champion}
    assert judged(old, {**old, "a": needed, "b": needed}).code == "PASSED"
    assert judged(old, {**old, "a": missed, "b": missed}).code == "PRIMARY_NOT_IMPROVED"


def test_an_error_that_falls_is_an_improvement() -> None:
    rows = {row.metric: row for row in judged(GOOD, better(r=0.45)).comparison}
    assert rows["nmae:r"].relative == pytest.approx(0.1)
    assert rows["nmae:r"].delta == pytest.approx(-0.05)


def test_every_offender_is_listed() -> None:
    found = judged(GOOD, better(c=0.3, r=0.6))
    assert found.code == "SECONDARY_DEGRADED"
    assert all(name in found.reason for name in ("f1_macro:c", "nmae:r", "avg_f1_macro", "avg_nmae"))


def test_all_numbers_are_there_even_when_an_early_code_ends_it() -> None:
    found = judged(GOOD, GOOD)
    assert found.code == "PRIMARY_NOT_IMPROVED"
    assert [row.metric for row in found.comparison] == [
        "avg_auc", "avg_f1_macro", "avg_nmae", "auc:a", "auc:b", "f1_macro:c", "nmae:r",
    ]  # fmt: skip
    assert found.significance["p"] == 0.001


def test_a_champion_at_zero_admits_no_relative_gain() -> None:
    zero = {**GOOD, "a": 0.0, "b": 0.0}
    assert judged(zero, better()).code == "METRIC_INVALID"


def test_a_perfect_champion_on_an_error_is_degraded_by_any_material_error() -> None:
    assert judged({**GOOD, "r": 0.0}, better(r=0.1)).code == "SECONDARY_DEGRADED"
    assert judged({**GOOD, "r": 0.0}, better(r=0.001)).code == "PASSED"


def test_averages_leave_unpowered_tasks_out_for_both() -> None:
    left = sets(unpowered=("b",))
    gain, harms = OneSided(0.01, 0.001, 3.0, 0.001, 100), {"a": OneSided(0.0, 0.001, 0.0, 0.9, 100)}
    found = compare.compete(KINDS, left, {**GOOD, "b": math.nan}, better(b=None), gain, harms, LIMITS)
    assert found.passed
    assert left.unpowered == ("b",)
    assert (found.comparison[0].champion, found.comparison[0].challenger) == (0.7, 0.72)


def test_no_binary_task_in_common_is_no_comparison() -> None:
    nothing = compare.task_sets(list(KINDS), package("a", "b"), package(), ())
    found = compare.compete(KINDS, nothing, GOOD, better(), None, {}, LIMITS)
    assert found.code == "NO_COMPARABLE_TASKS"


def test_significant_harm_needs_both_chance_and_size() -> None:
    gain = OneSided(0.01, 0.001, 3.0, 0.001, 100)
    small, large = better(c=0.4 * 0.995), better(c=0.4 * 0.985)
    sure = {"c": OneSided(0.004, 0.001, 4.0, 1e-5, 100)}
    assert compare.compete(KINDS, sets(), GOOD, small, gain, sure, LIMITS).code == "PASSED"
    assert compare.compete(KINDS, sets(), GOOD, large, gain, sure, LIMITS).code == "SIGNIFICANT_HARM"
