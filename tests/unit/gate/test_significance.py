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


def pairwise_auc(y: np.ndarray, s: np.ndarray) -> float:
    pairs = [(p > n) + 0.5 * (p == n) for p in s[y == 1] for n in s[y == 0]]
    return float(np.mean(pairs)) if pairs else math.nan


@given(labels=LABELS, scores=SCORES)
def test_auc_is_the_share_of_ordered_pairs(labels: list[float], scores: list[float]) -> None:
    y, s = np.array(labels), np.array(scores)
    assert metrics.auc(y, s) == pytest.approx(pairwise_auc(y, s), nan_ok=True)


@given(labels=LABELS, scores=SCORES)
def test_influences_of_auc_sum_to_nothing_and_are_zero_where_unlabelled(
    labels: list[float], scores: list[float]
) -> None:
    y, s = np.array(labels), np.array(scores)
    influence = metrics.auc_influence(y, s)
    if math.isnan(metrics.auc(y, s)):
        assert np.isnan(influence).all()
    else:
        assert influence.sum() == pytest.approx(0, abs=1e-9)
        assert (influence[np.isnan(y)] == 0).all()


def test_a_score_that_is_not_finite_admits_no_auc() -> None:
    assert math.isnan(metrics.auc(np.array([0.0, 1.0, 1.0]), np.array([0.1, np.inf, 0.2])))


def test_standard_error_of_one_auc_is_delong() -> None:
    rng = np.random.default_rng(3)
    y = (rng.uniform(size=ROWS) < 0.3).astype(float)
    s = y + rng.normal(size=ROWS)
    found = np.sqrt(np.sum(metrics.auc_influence(y, s) ** 2)) / ROWS
    pos, neg = s[y == 1], s[y == 0]
    v10 = np.array([(np.sum(p > neg) + 0.5 * np.sum(p == neg)) / len(neg) for p in pos])
    v01 = np.array([(np.sum(n < pos) + 0.5 * np.sum(n == pos)) / len(pos) for n in neg])
    delong = math.sqrt(v10.var(ddof=1) / len(pos) + v01.var(ddof=1) / len(neg))
    assert found == pytest.approx(delong, rel=0.01)


def test_macro_f1_counts_a_class_nobody_uses_as_zero() -> None:
    y, c = np.array([0, 0, 1, 1, -1]), np.array([0, 1, 1, 1, 2])
    assert metrics.macro_f1(y, c, 3) == pytest.approx((2 / 3 + 4 / 5 + 0) / 3)


def test_standard_error_of_macro_f1_is_near_a_bootstrap() -> None:
    rng = np.random.default_rng(5)
    y = rng.integers(0, 5, ROWS)
    c = np.where(rng.uniform(size=ROWS) < 0.6, y, rng.integers(0, 5, ROWS))
    found = np.sqrt(np.sum(metrics.macro_f1_influence(y, c, 5) ** 2)) / ROWS
    draws = [metrics.macro_f1(y[i], c[i], 5) for i in (rng.integers(0, ROWS, ROWS) for _ in range(400))]
    assert found == pytest.approx(np.std(draws), rel=0.15)


def test_nmae_of_the_constant_label_is_unknown() -> None:
    assert math.isnan(metrics.nmae(np.array([2.0, 2.0, math.nan]), np.zeros(3)))


def test_harm_of_nmae_is_the_paired_test() -> None:
    rng = np.random.default_rng(7)
    y = rng.normal(size=ROWS)
    old, new = y + rng.normal(size=ROWS), y + 1.1 * rng.normal(size=ROWS)
    difference = (np.abs(new - y) - np.abs(old - y)) / y.std()
    found = significance.harm(difference.mean(), metrics.nmae_influence(y, new) - metrics.nmae_influence(y, old))
    assert found.p is not None
    assert found.p == pytest.approx(stats.ttest_1samp(difference, 0, alternative="greater").pvalue, abs=2e-3)


def simulated_p(rng: np.random.Generator, edge: float) -> float:
    """Primary p of two models on three tasks; ``edge`` 0: equally good, errors of models and tasks correlated."""
    shared, gains, influences = rng.normal(size=ROWS), [], []
    for _ in range(3):
        y = (shared + rng.normal(size=ROWS) > 0.8).astype(float)
        both = shared + rng.normal(size=ROWS)
        old, new = both + rng.normal(size=ROWS), both + (1 - edge) * rng.normal(size=ROWS)
        gains.append(metrics.auc(y, new) - metrics.auc(y, old))
        influences.append(metrics.auc_influence(y, new) - metrics.auc_influence(y, old))
    p = significance.gain(float(np.mean(gains)), influences).p
    assert p is not None
    return p


def test_equal_models_are_called_different_in_about_one_of_twenty_cases() -> None:
    rng = np.random.default_rng(11)
    share = np.mean([simulated_p(rng, 0.0) < 0.05 for _ in range(400)])
    assert 0.02 <= share <= 0.08


def test_a_better_model_is_found() -> None:
    rng = np.random.default_rng(13)
    assert np.mean([simulated_p(rng, 0.5) < 0.05 for _ in range(60)]) > 0.5


def test_identical_outputs_have_p_of_one() -> None:
    found = significance.gain(0.0, [np.zeros(10)])
    assert (found.se, found.p) == (0.0, 1.0)


def test_a_difference_without_spread_admits_no_test_of_gain_and_is_certain_harm() -> None:
    assert significance.gain(0.1, [np.zeros(10)]).p is None
    assert significance.gain(-0.1, [np.zeros(10)]).p is None
    assert significance.harm(0.1, np.zeros(10)).p == 0.0
    assert significance.harm(-0.1, np.zeros(10)).p == 1.0


def test_holm_multiplies_by_what_is_left_and_never_falls() -> None:
    assert significance.holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "c": 0.06, "b": 0.06})


@given(z=st.floats(-8, 8))
def test_upper_tail_is_the_normal_one(z: float) -> None:
    assert significance.upper_tail(z) == pytest.approx(stats.norm.sf(z), rel=1e-9)
