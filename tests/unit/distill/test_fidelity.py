"""The statistics of distillation.md 11.1 on arrays small enough to know the answer."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, softmax

from pipeline_lib.distill import fidelity as f
from pipeline_lib.distill import metrics as m

SEEDS = st.integers(0, 5000)


def probabilities(seed: int, rows: int = 50, classes: int = 4) -> np.ndarray:
    return softmax(np.random.default_rng(seed).normal(size=(rows, classes)), axis=1)


@given(SEEDS)
def test_a_copy_is_at_distance_zero(seed):
    p = probabilities(seed)
    assert f.kl(p, p) == f.jsd(p, p) == f.kl_relative(p, p) == 0
    v = p[:, 0]
    assert f.kl_values(v, v) == 0
    assert f.dispersion(v, v) == f.agreement(v, v) == f.quartile_agreement(v, v) == f.topdecile_overlap(v, v) == 1
    assert m.rank_correlation(v, v) == pytest.approx(1)


@given(SEEDS, SEEDS)
def test_divergences_are_not_negative_and_jensen_shannon_ends_at_ln_2(a, b):
    p, q = probabilities(a), probabilities(b)
    assert f.kl(p, q) >= 0
    assert 0 <= f.jsd(p, q) <= math.log(2)
    assert f.jsd(p, q) == pytest.approx(f.jsd(q, p))


@given(SEEDS)
def test_a_constant_student_loses_all_information(seed):
    p = probabilities(seed)
    assert f.kl_relative(p, np.tile(p.mean(axis=0), (len(p), 1))) == pytest.approx(1)
    v = p[:, 0]
    assert f.kl_values(v, np.full(50, v.mean())) == pytest.approx(0.5)
    assert f.dispersion(v, np.full(50, 0.3)) == pytest.approx(0, abs=1e-12)
    assert math.isnan(m.rank_correlation(v, np.full(50, 0.3)))


def test_binary_kl_is_the_two_term_formula():
    p, q = np.array([0.2, 0.9]), np.array([0.3, 0.6])
    by_hand = np.mean(p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q)))
    assert f.kl(f.two_columns(p), f.two_columns(q)) == pytest.approx(by_hand)


def test_the_absolute_floor_is_blind_on_rare_events_and_the_relative_one_is_not():
    z = np.random.default_rng(0).normal(-3.2, 1, 20_000)
    p = expit(z)
    constant = np.full(len(p), p.mean())
    pair = f.two_columns(p), f.two_columns(constant)
    assert f.kl(*pair) < 0.05
    assert f.kl_relative(*pair) == pytest.approx(1)


def test_auc_counts_ties_one_half_and_needs_both_classes():
    assert m.auc(np.array([0, 1, 1, 0]), np.array([0.1, 0.9, 0.9, 0.9])) == pytest.approx(0.75)
    assert m.auc(np.array([0, 0, 1, 1]), np.array([0.0, 0.1, 0.2, 0.3])) == 1
    assert math.isnan(m.auc(np.array([1, 1]), np.array([0.1, 0.2])))


@given(SEEDS)
def test_weights_mean_repetition(seed):
    rng = np.random.default_rng(seed)
    y, score, w = rng.integers(0, 2, 30), rng.normal(size=30).round(1), rng.integers(1, 4, 30)
    repeated = np.repeat(np.arange(30), w)
    weights = w.astype(float)
    assert m.auc(y, score, weights) == pytest.approx(m.auc(y[repeated], score[repeated]), nan_ok=True)
    assert m.macro_f1(y, y[::-1], 3, weights) == pytest.approx(m.macro_f1(y[repeated], y[::-1][repeated], 3))
    assert m.r2(score, score**2, weights) == pytest.approx(m.r2(score[repeated], score[repeated] ** 2))


def test_an_absent_class_counts_zero_in_macro_f1():
    y = np.array([0, 0, 1, 1])
    assert m.macro_f1(y, y, 2) == 1
    assert m.macro_f1(y, y, 4) == 0.5


def test_calibration_error_is_weighted_by_count_and_closes_the_last_bin():
    y = np.array([1] * 9 + [0])
    assert f.ece_equal_width(y, np.full(10, 1.0)) == pytest.approx(0.1)
    p = np.array([0.05] * 90 + [0.95] * 10)
    hits = np.array([0] * 90 + [1] * 5 + [0] * 5)
    assert f.ece_equal_width(hits, p) == pytest.approx((90 * 0.05 + 10 * 0.45) / 100)


def test_equal_mass_bins_see_what_equal_width_ones_hide():
    p = np.linspace(0.001, 0.099, 1000)
    y = np.zeros(1000, int)
    y[:50] = 1
    assert f.ece_equal_width(y, p) < 0.001
    assert f.ece_equal_mass(y, p) > 0.05
    assert f.ece(y, p) == f.ece_equal_mass(y, p)


@given(SEEDS)
def test_equal_probabilities_share_an_equal_mass_bin_whatever_the_row_order(seed):
    rng = np.random.default_rng(seed)
    p, y = rng.choice([0.1, 0.2, 0.7], 60), rng.integers(0, 2, 60)
    order = rng.permutation(60)
    assert f.ece_equal_mass(y, p) == pytest.approx(f.ece_equal_mass(y[order], p[order]))


def test_gaps_are_signed_student_minus_teacher():
    y = np.array([0, 0, 1, 1])
    good, bad = np.array([0.1, 0.2, 0.8, 0.9]), np.array([0.9, 0.2, 0.8, 0.1])
    assert f.auc_gap(y, bad, good) > 0 > f.auc_gap(y, good, bad)
    assert f.f1_gap(y, f.two_columns(bad), f.two_columns(good)) > 0
    values = y.astype(float)
    assert f.nmae_gap(values, values, values + 1) == pytest.approx(1 / values.std())
    assert f.nrmse_gap(values, values, values + 1) == pytest.approx(1 / values.std())


def test_top_decile_overlap_is_the_share_of_the_teachers_top_found():
    teacher = np.arange(100.0)
    student = teacher.copy()
    student[[90, 91]] = -1
    assert f.topdecile_overlap(teacher, student) == pytest.approx(0.8)


def test_no_segment_is_unknown_and_not_zero():
    assert f.worst_segment(lambda rows: 1.0, []) is None
    assert f.worst_segment(lambda rows: -0.2 * rows.sum(), [np.array([True, True])]) == pytest.approx(0.4)
