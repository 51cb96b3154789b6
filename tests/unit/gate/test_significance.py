"""The arithmetic of AUC, macro-F1, NMAE and their tests, against definitions and simulations."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from pipeline_lib.gate import metrics, significance

ROWS = 600
SCORES = st.lists(st.sampled_from([0.1, 0.2, 0.2, 0.5, 0.9]), min_size=12, max_size=12)
LABELS = st.lists(st.sampled_from([0.0, 1.0, math.nan]), min_size=12, max_size=12)


def se_of(found: metrics.Measured) -> float:
    assert found.influence is not None
    return significance.standard_error(found.influence, np.arange(len(found.influence)))


def pairwise_auc(y: np.ndarray, s: np.ndarray) -> float:
    pairs = [(p > n) + 0.5 * (p == n) for p in s[y == 1] for n in s[y == 0]]
    return float(np.mean(pairs)) if pairs else math.nan


@given(labels=LABELS, scores=SCORES)
def test_auc_is_the_share_of_ordered_pairs(labels: list[float], scores: list[float]) -> None:
    y, s = np.array(labels), np.array(scores)
    assert metrics.auc(y, s).value == pytest.approx(pairwise_auc(y, s), nan_ok=True)


@given(labels=LABELS, scores=SCORES)
def test_influences_of_auc_sum_to_nothing_and_are_zero_where_unlabelled(
    labels: list[float], scores: list[float]
) -> None:
    y, s = np.array(labels), np.array(scores)
    found = metrics.auc(y, s)
    if found.influence is None:
        assert math.isnan(found.value or 0)
    else:
        assert found.influence.sum() == pytest.approx(0, abs=1e-9)
        assert (found.influence[np.isnan(y)] == 0).all()


def test_a_score_that_is_not_finite_admits_no_auc() -> None:
    for wrong in (np.inf, -np.inf, np.nan):
        assert metrics.auc(np.array([0.0, 1.0, 1.0]), np.array([0.1, wrong, 0.2])) == metrics.UNDEFINED


@given(labels=LABELS, scores=SCORES)
def test_placements_are_the_shares_of_the_other_class(labels: list[float], scores: list[float]) -> None:
    y, s = np.array(labels), np.array(scores)
    found = metrics.auc(y, s)
    if found.influence is None or found.value is None:
        return
    pos, neg = s[y == 1], s[y == 0]
    above = np.array([np.mean((p > neg) + 0.5 * (p == neg)) for p in pos])
    below = np.array([np.mean((pos > n) + 0.5 * (pos == n)) for n in neg])
    assert found.influence[y == 1] == pytest.approx(len(y) / len(pos) * (above - found.value))
    assert found.influence[y == 0] == pytest.approx(len(y) / len(neg) * (below - found.value))


def test_standard_error_of_one_auc_is_delong() -> None:
    rng = np.random.default_rng(3)
    y = (rng.uniform(size=ROWS) < 0.3).astype(float)
    s = y + rng.normal(size=ROWS)
    pos, neg = s[y == 1], s[y == 0]
    v10 = np.array([(np.sum(p > neg) + 0.5 * np.sum(p == neg)) / len(neg) for p in pos])
    v01 = np.array([(np.sum(n < pos) + 0.5 * np.sum(n == pos)) / len(pos) for n in neg])
    delong = math.sqrt(v10.var(ddof=1) / len(pos) + v01.var(ddof=1) / len(neg))
    assert se_of(metrics.auc(y, s)) == pytest.approx(delong, rel=0.01)


def test_macro_f1_counts_a_class_nobody_uses_as_zero() -> None:
    y, c = np.array([0, 0, 1, 1, -1]), np.array([0, 1, 1, 1, 2])
    assert metrics.macro_f1(y, c, 3).value == pytest.approx((2 / 3 + 4 / 5 + 0) / 3)


def test_a_class_outside_the_list_admits_no_macro_f1() -> None:
    y, c = np.array([0, 1, 2]), np.array([0, 1, 1])
    assert metrics.macro_f1(y, c, 2) == metrics.UNDEFINED
    assert metrics.macro_f1(c, y, 2) == metrics.UNDEFINED
    assert metrics.macro_f1(c, np.array([0, -1, 1]), 2) == metrics.UNDEFINED


@pytest.mark.parametrize("classes", [3, 7, 25])
def test_standard_error_of_macro_f1_is_near_a_bootstrap(classes: int) -> None:
    """Source: promotion.md 6.4: within 11 % at seven classes."""
    rng, rows = np.random.default_rng(5), 2000
    y = rng.integers(0, classes, rows)
    c = np.where(rng.uniform(size=rows) < 0.6, y, rng.integers(0, classes, rows))
    draws = [metrics.macro_f1(y[i], c[i], classes).value for i in (rng.integers(0, rows, rows) for _ in range(300))]
    assert se_of(metrics.macro_f1(y, c, classes)) == pytest.approx(np.std(draws), rel=0.15)


def test_nmae_of_the_constant_label_is_unknown() -> None:
    assert metrics.nmae(np.array([2.0, 2.0, math.nan]), np.zeros(3)) == metrics.UNDEFINED
    assert metrics.nmae(np.array([math.nan]), np.zeros(1)) == metrics.UNDEFINED
    assert metrics.nmae(np.array([1.0, 2.0]), np.array([np.inf, 0.0])) == metrics.UNDEFINED


def test_harm_of_nmae_is_the_paired_test() -> None:
    rng = np.random.default_rng(7)
    y = rng.normal(size=ROWS)
    old, new = y + rng.normal(size=ROWS), y + 1.1 * rng.normal(size=ROWS)
    difference = (np.abs(new - y) - np.abs(old - y)) / y.std()
    per_row = metrics.nmae(y, new).influence - metrics.nmae(y, old).influence
    found = significance.harm(difference.mean(), significance.standard_error(per_row, np.arange(ROWS)))
    assert found.p == pytest.approx(stats.ttest_1samp(difference, 0, alternative="greater").pvalue, abs=2e-3)


def test_rows_of_one_customer_count_once() -> None:
    per_row = np.array([1.0, -1.0, 2.0])
    assert significance.standard_error(per_row, np.arange(3)) == pytest.approx(math.sqrt(6) / 3)
    assert significance.standard_error(per_row, np.array([0, 0, 1])) == pytest.approx(math.sqrt(4) / 3)
    assert significance.standard_error(np.repeat(per_row, 2), np.repeat(np.arange(3), 2)) == pytest.approx(
        significance.standard_error(per_row, np.arange(3))
    )


def test_identical_outputs_have_p_of_one() -> None:
    assert significance.gain(0.0, 0.0).p == 1.0


def test_a_difference_without_spread_admits_no_test_of_gain_and_is_certain_harm() -> None:
    assert significance.gain(0.1, 0.0).p is None
    assert significance.gain(-0.1, 0.0).p is None
    assert significance.harm(0.1, 0.0).p == 0.0
    assert significance.harm(-0.1, 0.0).p == 1.0
    assert significance.harm(0.0, 0.0).p == 1.0


def test_an_interval_holds_the_difference_with_its_normal_quantile() -> None:
    assert significance.interval(0.5, 0.1) == pytest.approx((0.5 - 0.195996, 0.5 + 0.195996), abs=1e-6)


@given(se=st.floats(1e-6, 1), alpha=st.floats(0.01, 0.2), power=st.floats(0.55, 0.99))
def test_the_detectable_difference_is_found_with_the_stated_power(se: float, alpha: float, power: float) -> None:
    smallest = significance.detectable(se, alpha, power)
    critical = stats.norm.isf(alpha) * se
    assert stats.norm.sf(critical, loc=smallest, scale=se) == pytest.approx(power, abs=1e-9)


def test_holm_multiplies_by_what_is_left_and_never_falls() -> None:
    assert significance.holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "c": 0.06, "b": 0.06})


@given(z=st.floats(-8, 8))
def test_upper_tail_is_the_normal_one(z: float) -> None:
    assert significance.upper_tail(z) == pytest.approx(stats.norm.sf(z), rel=1e-9)
