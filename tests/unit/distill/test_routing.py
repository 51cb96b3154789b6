"""Each boundary of distillation.md section 7 at, just above and just below it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_lib import settings
from pipeline_lib.distill import evidence, metrics, routing
from pipeline_lib.distill.frame import Rows
from pipeline_lib.errors import ContractError

AT = settings.load("synthetic").distillation.teacher_threshold
UP, DOWN = 1, -1


def nudged(value: float, direction: int) -> float:
    return math.nextafter(value, math.inf * direction)


@pytest.mark.parametrize(
    ("kind", "classes", "distil_at", "rules_at"),
    [
        ("binary", 2, 0.60, 0.52),
        ("multiclass", 2, 0.75, 1 / 2),
        ("multiclass", 3, 2 / 3, 1 / 3),
        ("multiclass", 4, 0.50, 1 / 4),
        ("multiclass", 7, 2 / 7, 1 / 7),
        ("multiclass", 50, 0.04, 0.02),
        ("regression", 0, 0.05, 0.01),
    ],
)
def test_limits_are_inclusive_as_written(kind, classes, distil_at, rules_at):
    limits = routing.limits_of(kind, classes, AT)
    assert (limits.distil_at, limits.rules_at) == pytest.approx((distil_at, rules_at), abs=1e-12)

    def route(value: float) -> str:
        return routing.route_by_metric("toy", "metric", value, limits, None).route

    assert route(limits.distil_at) == route(nudged(limits.distil_at, UP)) == "distil"
    assert route(nudged(limits.distil_at, DOWN)) == route(nudged(limits.rules_at, UP)) == "direct"
    assert route(limits.rules_at) == route(nudged(limits.rules_at, DOWN)) == "rules"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_metric_that_is_not_finite_is_undetermined_and_never_rules(value):
    limits = routing.limits_of("regression", 0, AT)
    with pytest.raises(ContractError, match="UNDETERMINED") as raised:
        routing.route_by_metric("toy", "r2", value, limits, None)
    assert raised.value.findings[0].verdict == "UNJUDGED"


@given(value=st.floats(-1, 2), low=st.floats(-1, 1), width=st.floats(0, 0.5))
def test_borderline_means_that_the_interval_straddles_a_limit(value, low, width):
    limits = routing.limits_of("binary", 2, AT)
    found = routing.route_by_metric("toy", "auc", value, limits, (low, low + width))
    assert found.borderline == any(low < at < low + width for at in (0.60, 0.52))


def test_a_task_nobody_speaks_of_is_an_error_and_a_disabled_one_is_not():
    facts = {"a": {"status": "active"}, "b": {"status": "disabled", "reason": "too few positives"}}
    assert routing.absent_tasks(["a", "b", "c"], facts, {"c": "no cards"}) == {
        "b": "too few positives",
        "c": "no cards",
    }
    with pytest.raises(ContractError, match="UNDETERMINED"):
        routing.absent_tasks(["d"], facts, {})


def test_evidence_counts_rows_and_the_rarer_class_of_every_evaluation_partition():
    def rows(positives: int, n: int) -> Rows:
        y = np.array([1] * positives + [0] * (n - positives))
        return Rows(np.zeros((n, 1), np.float32), y, np.zeros(n), np.arange(n))

    parts = {p: rows(50, 1000) for p in ("fit", "stop", "calib", "fidelity", "route")}
    enough = evidence.count(parts, "binary", 2)
    assert evidence.short_of(enough, "binary", rows=1000, class_rows=50) == []
    short = evidence.count({**parts, "calib": rows(49, 999)}, "binary", 2)
    assert len(evidence.short_of(short, "binary", rows=1000, class_rows=50)) == 2
    assert len(evidence.short_of(short, "multiclass", rows=1000, class_rows=50)) == 1


def test_the_interval_resamples_customers_and_is_the_same_every_time():
    rng = np.random.default_rng(0)
    y = rng.normal(size=400)
    predicted = y + rng.normal(size=400)

    def metric(w: np.ndarray) -> float:
        return metrics.r2(y, predicted, w)

    alone = metrics.customer_interval(metric, np.arange(400), resamples=100, seed=1)
    again = metrics.customer_interval(metric, np.arange(400), resamples=100, seed=1)
    grouped = metrics.customer_interval(metric, np.arange(400) // 40, resamples=100, seed=1)
    assert alone == again
    assert alone is not None
    assert grouped is not None
    assert grouped != alone
    assert alone[0] < metrics.r2(y, predicted) < alone[1]


def test_no_interval_where_a_resample_can_lose_a_class():
    y = np.array([1, 0, 0, 0])
    assert (
        metrics.customer_interval(lambda w: metrics.auc(y, np.arange(4.0), w), np.arange(4), resamples=50, seed=0)
        is None
    )
