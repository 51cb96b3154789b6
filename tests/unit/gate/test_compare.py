"""Section 6 as arithmetic: limits, directions, validity, and that nothing missing is ever replaced."""

from __future__ import annotations

import math

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline_lib.canonical import with_decimals
from pipeline_lib.gate import compare, ladder, sets, table
from pipeline_lib.gate.limits import Limits
from pipeline_lib.gate.trial import answer
from pipeline_lib.registry.package import PackagedTask

LIMITS = Limits(
    min_improvement=0.005,
    max_degradation=0.02,
    abs_tolerance=0.002,
    significance_level=0.05,
    power=0.8,
    harm_test=True,
    harm_loss=0.01,
    min_positives=50,
    min_powered_tasks=4,
    min_gate_rows=1000,
    powered_gate_rows=1000,
)
KINDS = {"a": "binary", "b": "binary", "c": "multiclass", "r": "regression"}
GOOD = {"a": 0.7, "b": 0.8, "c": 0.4, "r": 0.5}


def package(*by_rules: str) -> dict[str, PackagedTask]:
    return {
        name: PackagedTask(name, kind, ("x", "y"), "distil", 3 if name in by_rules else 1, "pass", 0.1)
        for name, kind in KINDS.items()
    }


def sets_of(new: dict[str, PackagedTask] | None = None, unpowered: tuple[str, ...] = ()) -> sets.TaskSets:
    return sets.task_sets(list(KINDS), package(), new or package(), unpowered)


SURE = {"avg_auc": 0.001, "auc:a": 0.01, "auc:b": 0.01, "f1_macro:c": 0.01, "nmae:r": 0.1}
"""Standard errors under which these gains are no chance and these losses may be."""


def judged(
    champion: table.Values,
    challenger: table.Values,
    errors: dict[str, float] = SURE,
    compared: sets.TaskSets | None = None,
    limits: Limits = LIMITS,
) -> compare.Competition:
    return compare.compete(KINDS, compared or sets_of(), champion, challenger, errors, 100, limits)


def better(**changed: float | None) -> dict[str, float | None]:
    return {**GOOD, "a": 0.72, "b": 0.82, **changed}


NUMBERS = st.one_of(st.none(), st.floats(allow_nan=True, allow_infinity=True), st.floats(0.3, 0.9))
MAPS = st.dictionaries(st.sampled_from(list(KINDS)), NUMBERS)
ERRORS = st.dictionaries(st.sampled_from(list(SURE)), st.one_of(st.floats(), st.floats(1e-4, 1e-2)))


@settings(max_examples=300, deadline=None)
@given(champion=MAPS, challenger=MAPS, errors=ERRORS)
@example(champion=GOOD, challenger={**GOOD, "a": 0.72, "b": 0.82}, errors=SURE)
@example(champion=GOOD, challenger={**GOOD, "a": 0.72, "b": 0.82}, errors={**SURE, "nmae:r": math.nan})
@example(champion=GOOD, challenger={**GOOD, "a": 0.72, "b": math.inf}, errors=SURE)
@example(champion={**GOOD, "a": -math.inf}, challenger=GOOD, errors=SURE)
def test_nothing_is_promoted_without_every_required_finite_value(
    champion: dict[str, float | None], challenger: dict[str, float | None], errors: dict[str, float]
) -> None:
    """Section 16, through the last two steps under the posture that would promote without a human."""
    found = judged(champion, challenger, errors)
    climb = ladder.climb(
        [
            ("competition", lambda: answer(found, LIMITS)),
            ("posture", lambda: ladder.posture(True, found.reason)),
        ]
    )
    values = [side.get(task) for side in (champion, challenger) for task in KINDS] + [errors.get(name) for name in SURE]
    known = all(value is not None and math.isfinite(value) for value in values)
    assert climb.decision in ("promote", "reject")
    assert climb.decision == "reject" or known
    assert all(line is None or math.isfinite(line) for line in reals(found))


def reals(found: compare.Competition) -> list[float | None]:
    """Everything that is written to the record, which holds no NaN."""
    rows = [row.to_dict() for row in found.comparison]
    cells = [value for row in rows for value in row.values()] + list(found.significance.values())
    return [value for value in cells if isinstance(value, float)]


def test_all_finite_and_better_passes() -> None:
    """The property above can fail: this is the pass it guards."""
    assert judged(GOOD, better()).code == "PASSED"


@pytest.mark.parametrize("unknown", ["avg_auc", "auc:a", "f1_macro:c", "nmae:r"])
def test_a_test_that_cannot_be_made_is_not_passed(unknown: str) -> None:
    """A guard that was skipped silently would let everything through. Source: promotion.md section 1, L5."""
    known = {name: error for name, error in SURE.items() if name != unknown}
    assert judged(GOOD, better(), known).code == "METRIC_INVALID"


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
    assert found.significance["p"] == 0.5
    assert [guard["task"] for guard in found.significance["harm"]] == list(KINDS)


def test_a_champion_at_zero_admits_no_relative_gain() -> None:
    zero = {**GOOD, "a": 0.0, "b": 0.0}
    assert judged(zero, better()).code == "METRIC_INVALID"


def test_a_perfect_champion_on_an_error_is_degraded_by_any_material_error() -> None:
    assert judged({**GOOD, "r": 0.0}, better(r=0.1)).code == "SECONDARY_DEGRADED"
    assert judged({**GOOD, "r": 0.0}, better(r=0.001)).code == "PASSED"


def test_averages_leave_unpowered_tasks_out_for_both() -> None:
    left = sets_of(unpowered=("b",))
    found = judged({**GOOD, "b": math.nan}, better(b=None), compared=left)
    assert found.passed
    assert left.unpowered == ("b",)
    assert (found.comparison[0].champion, found.comparison[0].challenger) == (0.7, 0.72)


def test_no_binary_task_in_common_is_no_comparison() -> None:
    nothing = sets.task_sets(list(KINDS), package("a", "b"), package(), ())
    assert judged(GOOD, better(), compared=nothing).code == "NO_COMPARABLE_TASKS"


def test_significant_harm_needs_both_chance_and_size() -> None:
    small, large, sure = better(c=0.4 * 0.995), better(c=0.4 * 0.985), {**SURE, "f1_macro:c": 1e-4}
    assert judged(GOOD, small, sure).code == "PASSED"
    assert judged(GOOD, large).code == "PASSED"
    harmed = judged(GOOD, large, sure)
    assert harmed.code == "SIGNIFICANT_HARM"
    assert "c (adjusted p = " in harmed.reason


def test_an_error_that_falls_harms_nobody() -> None:
    """The direction of the guard: NMAE is better when it is smaller."""
    assert judged(GOOD, better(r=0.45), {**SURE, "nmae:r": 1e-4}).passed
    assert judged(GOOD, better(r=0.508), {**SURE, "nmae:r": 1e-4}).code == "SIGNIFICANT_HARM"


def test_every_row_says_in_words_why_it_stands_as_it_does() -> None:
    found = judged({**GOOD, "b": 0.0, "c": 0.012}, {"a": 0.72, "b": 0.0, "c": 0.0115, "r": 0.51}, SURE)
    said = {row.metric: row.why for row in found.comparison}
    assert said["auc:a"] == "better"
    assert said["auc:b"] == "equal"
    assert said["f1_macro:c"] == "worse by 4.17%, but by 0.000500 only: below the 0.002 that count"
    assert said["nmae:r"] == "worse by 2.00%, within 2.00%"
    assert said["avg_auc"] == "better by 2.8571%; 0.50% or more was needed"
    late = judged(GOOD, {**GOOD, "a": math.nan, "r": 0.6})
    said = {row.metric: row.why for row in late.comparison}
    assert said["auc:a"] == "not computable: the value of the challenger is unknown"
    assert said["nmae:r"] == "worse by 20.00%, more than 2.00%, and by 0.100000"


def test_every_row_has_the_interval_of_its_difference() -> None:
    rows = {row.metric: row for row in judged(GOOD, better(), {**SURE, "avg_nmae": 0.1}).comparison}
    assert (rows["avg_auc"].low, rows["avg_auc"].high) == pytest.approx((0.01804, 0.02196), abs=1e-5)
    assert (rows["avg_nmae"].low, rows["avg_nmae"].high) == pytest.approx((-0.196, 0.196), abs=1e-3)
    assert rows["avg_f1_macro"].low is None


def test_the_limits_of_a_row_are_those_of_the_policy() -> None:
    assert Limits.recorded(with_decimals(LIMITS.to_dict())) == LIMITS
