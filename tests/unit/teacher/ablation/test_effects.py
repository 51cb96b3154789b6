"""Differences: what is there is found, what is not is called null, and chance alone is no result."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline_lib.teacher.ablation.effects import Customers, Effect, Measured, effect, holm, judge
from pipeline_lib.teacher.ablation.judged import TaskAnswers

SEEDS, ROWS = range(5), 400


def answers(rng: np.random.Generator, strength: float) -> list[TaskAnswers]:
    """A binary task whose score is the label, as strong as asked, and noise."""
    y = (np.arange(ROWS) % 4 == 0).astype(float)
    return [TaskAnswers("b", "binary", 1, False, {"y": y, "score": y * strength + rng.normal(size=ROWS)})]


def measured(strength: float, seed: int) -> Measured:
    rng, customers = np.random.default_rng(seed), Customers(200, 1)
    found = {s: customers.measure(np.arange(ROWS) // 2, answers(rng, strength), "") for s in SEEDS}
    return Measured({s: point for s, (point, _) in found.items()}, {s: drawn for s, (_, drawn) in found.items()})


def compared(a: Measured, b: Measured) -> Effect:
    return effect("a", a, "b", b, "avg_auc", 0.95, np.random.default_rng(0))


def judged(a: Measured, b: Measured, floor: float | None = 0.001) -> Effect:
    return judge([compared(a, b)], {"avg_auc": floor}, 0.95, 2.0)[0]


def test_a_difference_that_is_there_is_found() -> None:
    found = judged(measured(1.5, 0), measured(0.2, 1))
    assert found.verdict == "better"
    assert (found.low or 0) > 0
    assert judged(measured(0.2, 1), measured(1.5, 0)).verdict == "worse"


@pytest.mark.parametrize("seed", range(6))
def test_two_of_a_kind_differ_by_nothing_that_counts(seed: int) -> None:
    found = judged(measured(0.6, seed), measured(0.6, seed + 100), floor=measured(0.6, 7).spread("avg_auc"))
    assert found.verdict == "null"


def test_a_difference_below_the_floor_is_null_however_sure() -> None:
    a, b = measured(1.5, 0), measured(0.2, 1)
    assert judged(a, b, floor=0.5).verdict == "null"


def test_one_seed_or_no_floor_judges_nothing() -> None:
    a, b = measured(1.5, 0), measured(0.2, 1)
    alone = Measured({0: a.point[0]}, {0: a.resampled[0]})
    assert judged(alone, b).verdict == "unjudged"
    assert judged(alone, b).low is None
    assert judged(a, b, floor=None).verdict == "unjudged"


def test_the_wider_interval_is_taken() -> None:
    found = compared(measured(0.8, 0), measured(0.2, 1))
    widths = [high - low for low, high in (found.t_interval or (0, 0), found.customer_interval)]
    assert min(widths) > 0
    assert (found.high or 0) - (found.low or 0) == pytest.approx(max(widths))


def test_pairing_removes_what_seeds_share() -> None:
    """Seeds that are all worse for both say nothing about the difference."""

    def shifted(by: float) -> Measured:
        value = {s: 0.6 + 0.05 * s + by for s in SEEDS}
        return Measured(
            {s: {"avg_auc": v} for s, v in value.items()},
            {s: {"avg_auc": np.full(100, v)} for s, v in value.items()},
        )

    found = compared(shifted(0.01), shifted(0.0))
    assert (found.low, found.high) == pytest.approx((0.01, 0.01))


def test_the_rows_of_a_customer_are_drawn_together() -> None:
    """Doubling every row of a customer adds no information, and no precision."""
    rng = np.random.default_rng(5)
    (single,) = answers(rng, 0.5)
    double = TaskAnswers("b", "binary", 1, False, {name: np.repeat(c, 2) for name, c in single.columns.items()})
    customers = np.arange(ROWS)
    _, once = Customers(300, 1).measure(customers, [single], "")
    _, twice = Customers(300, 1).measure(np.repeat(customers, 2), [double], "")
    assert twice["avg_auc"] == pytest.approx(once["avg_auc"])


def test_holm_is_the_textbook_example() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])


def test_many_comparisons_need_more_than_one() -> None:
    """An effect that is real alone is not among thirty that are not."""
    strong = compared(measured(0.75, 0), measured(0.6, 1))
    floors = {"avg_auc": 1e-6}
    alone = judge([strong], floors, 0.95, 2.0)[0]
    among = judge([strong, *[compared(measured(0.6, k), measured(0.6, k + 50)) for k in range(8)]], floors, 0.95, 2.0)[
        0
    ]
    assert among.p_holm > alone.p_holm
