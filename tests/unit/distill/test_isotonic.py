"""Steps replace a sigmoid only where they are better, and never turn a pair of customers round."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit

from pipeline_lib.distill import calibration, fidelity, isotonic, metrics
from pipeline_lib.distill.frame import Rows
from pipeline_lib.serve import calibrate
from pipeline_lib.settings.distillation import Isotonic

POLICY = Isotonic(min_positives=5000, min_ece_gain=0.01, max_knots=200)
KINKED = (np.array([-3.0, 0.0, 0.1, 3.0]), np.array([0.02, 0.05, 0.7, 0.75]))
"""A step in the middle: no sigmoid has it."""


def calib(n: int, seed: int, kinked: bool = True) -> tuple[np.ndarray, Rows]:
    """Raw scores and labelled rows, two of each customer; the probability is a step or Platt's own law."""
    rng = np.random.default_rng(seed)
    raw = rng.normal(0, 1.5, n)
    p = np.interp(raw, *KINKED) if kinked else expit(2 * raw - 0.5)
    y = (rng.random(n) < p).astype(np.int64)
    return raw, Rows(np.empty((n, 0), np.float32), y, raw, np.arange(n) // 2)


def test_steps_replace_a_sigmoid_that_cannot_follow():
    raw, rows = calib(20_000, 0)
    found = isotonic.better(raw, rows, POLICY, seed=1)
    assert found is not None
    fresh, judged = calib(20_000, 1)
    platt = calibration.fit_binary(raw, rows.y)
    steps, sigmoid = (fidelity.ece(judged.y, calibration.apply_binary(c, fresh)) for c in (found, platt))
    assert steps < 0.02 < sigmoid - POLICY.min_ece_gain


def test_a_sigmoid_that_follows_stays():
    assert isotonic.better(*calib(20_000, 0, kinked=False), POLICY, seed=1) is None


def test_fewer_positives_than_the_policy_asks_for_keep_the_sigmoid():
    raw, rows = calib(20_000, 0)
    more = POLICY.model_copy(update={"min_positives": int(rows.y.sum()) + 1})
    assert isotonic.better(raw, rows, more, seed=1) is None
    assert isotonic.better(raw, rows, POLICY.model_copy(update={"min_positives": int(rows.y.sum())}), seed=1)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.integers(2, 40))
def test_knots_rise_are_few_and_turn_no_pair_round(seed, knots):
    raw, rows = calib(3000, seed)
    found = isotonic.fit(raw, rows.y, POLICY.model_copy(update={"max_knots": knots}))
    x, y = np.array(found["x"]), np.array(found["y"])
    assert 2 <= len(x) <= knots
    assert (np.diff(x) > 0).all()
    assert (np.diff(y) > 0).all()
    inside = (raw >= x[0]) & (raw <= x[-1])
    p = calibration.apply_binary(found, raw)
    assert metrics.auc(rows.y[inside], p[inside]) == pytest.approx(metrics.auc(rows.y[inside], raw[inside]), abs=1e-12)
    assert (p[raw < x[0]] == y[0]).all()
    assert (p[raw > x[-1]] == y[-1]).all()


def test_a_score_that_says_nothing_has_no_steps():
    assert isotonic.fit(np.zeros(100), np.arange(100) % 2, POLICY) is None


def test_the_third_kept_aside_is_of_whole_customers():
    customer = np.arange(9000) // 3
    aside = isotonic.kept_aside(customer, seed=3)
    assert aside.sum() == 3000
    assert len(np.intersect1d(customer[aside], customer[~aside])) == 0


def test_serving_reads_the_knots_as_they_were_judged():
    raw, rows = calib(20_000, 0)
    found = json.loads(json.dumps(isotonic.fit(raw, rows.y, POLICY)))
    mine = calibration.apply_binary(found, raw[:500]).clip(calibrate.LOWEST, 1 - calibrate.LOWEST)
    served = [calibrate.served("binary", "raw", [float(score)], found)[0] for score in raw[:500]]
    np.testing.assert_allclose(served, mine, atol=1e-12)
