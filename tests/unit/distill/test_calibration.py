"""Calibrators are a few numbers that never change a ranking. Source: distillation.md section 10."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, softmax

from pipeline_lib.distill import calibration as c
from pipeline_lib.distill import fidelity, metrics

SEEDS = st.integers(0, 2000)


def skewed(seed: int, n: int = 800) -> tuple[np.ndarray, np.ndarray]:
    """Raw scores three times too steep and shifted, with labels."""
    rng = np.random.default_rng(seed)
    z = rng.normal(-1, 1, n)
    return 3 * z + 2, (rng.random(n) < expit(z)).astype(np.int64)


def test_platt_finds_the_slope_and_the_shift():
    raw, y = skewed(0, 200_000)
    a, b = c.platt(raw, y) or (0, 0)
    assert (a, b) == pytest.approx((1 / 3, -2 / 3), abs=0.02)


@given(SEEDS)
def test_calibration_never_changes_auc(seed):
    raw, y = skewed(seed)
    calibrator = c.fit_binary(raw, y)
    assert calibrator["kind"] == "platt"
    assert calibrator["a"] > 0
    assert metrics.auc(y, c.apply_binary(calibrator, raw)) == pytest.approx(metrics.auc(y, expit(raw)), abs=1e-12)


def test_calibration_lowers_the_error_it_is_for():
    raw, y = skewed(1, 5000)
    assert fidelity.ece(y, c.apply_binary(c.fit_binary(raw, y), raw)) < 0.03 < fidelity.ece(y, expit(raw))


def test_separable_labels_stay_finite():
    raw = np.linspace(-1, 1, 100)
    calibrator = c.fit_binary(raw, (raw > 0).astype(np.int64))
    assert np.isfinite([calibrator["a"], calibrator["b"]]).all()


@pytest.mark.parametrize("raw", [-np.linspace(-3, 3, 500), np.zeros(500)], ids=["reversed", "constant"])
def test_a_slope_that_is_not_positive_is_rejected(raw):
    y = (np.linspace(-3, 3, 500) + np.sin(np.arange(500)) > 0).astype(np.int64)
    assert c.fit_binary(raw, y) == {"kind": "none", "flag": c.REJECTED}
    assert c.fit_linear(raw, np.linspace(0, 1, 500)) == {"kind": "none", "flag": c.REJECTED}


def test_one_vs_rest_passes_rare_classes_through_and_sums_to_one():
    rng = np.random.default_rng(2)
    logits = rng.normal(size=(3000, 4)) + np.array([2, 1, 0, -6])
    y = (softmax(logits, axis=1).cumsum(axis=1) < rng.random((3000, 1))).sum(axis=1)
    p = softmax(logits / 3, axis=1)
    calibrator = c.fit_one_vs_rest(p, y, min_class_rows=50)
    assert (calibrator["a"][3], calibrator["b"][3]) == (1.0, 0.0)
    served = c.apply_multiclass(calibrator, p)
    np.testing.assert_allclose(served.sum(axis=1), 1)
    assert metrics.log_loss(y, served) < metrics.log_loss(y, p)


def test_linear_correction_is_least_squares():
    x = np.random.default_rng(3).normal(size=1000)
    calibrator = c.fit_linear(x, 2 + 0.5 * x)
    assert (calibrator["u"], calibrator["v"]) == pytest.approx((2, 0.5))
    np.testing.assert_allclose(c.apply_linear(calibrator, x), 2 + 0.5 * x)


def test_a_calibrator_survives_json_to_the_last_bit():
    raw, y = skewed(4)
    calibrator = c.fit_binary(raw, y)
    again = json.loads(json.dumps(calibrator))
    assert again == calibrator
    assert (c.apply_binary(again, raw) == c.apply_binary(calibrator, raw)).all()
