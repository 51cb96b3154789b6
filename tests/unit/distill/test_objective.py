"""Gradients, hessians and the free oracles of distillation.md section 5."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_lib.distill import objective

TEMPERATURES = (1.0, 2.5, 5.0)
WEIGHTS = (0.0, 0.3, 1.0)
STEP = 1e-4


def derivatives(loss, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Central differences of a row-wise loss, one coordinate of z at a time."""
    first, second = np.zeros_like(z), np.zeros_like(z)
    columns = [np.ones_like(z)] if z.ndim == 1 else [np.eye(z.shape[1])[k] * np.ones_like(z) for k in range(z.shape[1])]
    for k, unit in enumerate(columns):
        up, mid, down = (loss(z + step * unit) for step in (STEP, 0.0, -STEP))
        at = slice(None) if z.ndim == 1 else (slice(None), k)
        first[at], second[at] = (up - down) / (2 * STEP), (up - 2 * mid + down) / STEP**2
    return first, second


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("weight", WEIGHTS)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_binary_gradient_and_hessian_are_the_derivatives_of_the_loss(temperature, weight, seed):
    rng = np.random.default_rng(seed)
    z, t, y = rng.normal(0, 2, 30), rng.normal(0, 2, 30), rng.integers(0, 2, 30)
    loss = objective.Binary(weight, temperature)
    gradient, hessian = loss.gradients(z, y, t)
    first, second = derivatives(lambda s: loss.row_loss(s, y, t), z)
    np.testing.assert_allclose(gradient, first, atol=1e-6)
    np.testing.assert_allclose(hessian, second, atol=1e-5)


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("weight", WEIGHTS)
@pytest.mark.parametrize("classes", [2, 3, 7])
def test_multiclass_hessian_is_the_diagonal_second_derivative_times_lightgbms_scaling(temperature, weight, classes):
    rng = np.random.default_rng(classes)
    z, t, y = rng.normal(size=(40, classes)), rng.normal(size=(40, classes)), rng.integers(0, classes, 40)
    loss = objective.Multiclass(weight, temperature)
    gradient, hessian = loss.gradients(z, y, t)
    first, second = derivatives(lambda s: loss.row_loss(s, y, t), z)
    np.testing.assert_allclose(gradient, first, atol=1e-6)
    np.testing.assert_allclose(hessian, second * classes / (classes - 1), atol=1e-5)


@pytest.mark.parametrize("weight", WEIGHTS)
def test_regression_gradient_and_hessian_are_the_derivatives_of_the_loss(weight):
    rng = np.random.default_rng(3)
    z, t, y = rng.normal(size=30), rng.normal(size=30), rng.normal(size=30)
    loss = objective.Regression(weight)
    gradient, hessian = loss.gradients(z, y, t)
    first, second = derivatives(lambda s: loss.row_loss(s, y, t), z)
    np.testing.assert_allclose(gradient, first, atol=1e-6)
    np.testing.assert_allclose(hessian, second, atol=1e-5)


@pytest.mark.parametrize("weight", WEIGHTS)
def test_a_clipped_regression_is_hubers_and_its_hessian_bounds_the_second_derivative(weight):
    rng = np.random.default_rng(4)
    z, t, y = rng.normal(size=200), rng.normal(size=200), rng.standard_cauchy(200)
    loss = objective.Regression(weight, clip=0.7)
    away = np.abs(np.abs(z - y) - 0.7) > 10 * STEP  # at the bend itself there is no second derivative
    gradient, hessian = loss.gradients(z, y, t)
    first, second = derivatives(lambda s: loss.row_loss(s, y, t), z)
    np.testing.assert_allclose(gradient[away], first[away], atol=1e-6)
    assert (second[away] <= hessian[away] + 1e-5).all()
    near = np.abs(z - y) < 0.7
    np.testing.assert_allclose(second[away & near], hessian[away & near], atol=1e-5)
    assert np.abs(gradient - (1 - weight) * (z - t)).max() <= weight * 0.7 + 1e-12


def test_the_clip_is_in_robust_deviations_of_the_label_from_the_teacher():
    rng = np.random.default_rng(5)
    t = rng.normal(size=100_000)
    y = t + rng.normal(0, 3, size=100_000)
    y[:2000] = 1e6  # no mean and no deviation survives this
    assert objective.clip_of(y, t, 1.345) == pytest.approx(1.345 * 3, rel=0.05)
    assert objective.clip_of(t, t, 1.345) is None


def test_a_copy_of_the_teacher_has_no_soft_loss_and_no_soft_gradient():
    t = np.random.default_rng(0).normal(size=(20, 5))
    for loss, z in ((objective.Binary(0.0, 2.5), t[:, 0]), (objective.Multiclass(0.0, 2.5), t)):
        np.testing.assert_allclose(loss.row_loss(z, np.zeros(20), z), 0, atol=1e-12)
        np.testing.assert_allclose(loss.gradients(z, np.zeros(20), z)[0], 0, atol=1e-12)


def test_hessians_are_clipped_where_the_student_is_certain():
    _, hessian = objective.Binary(0.3, 1.0).gradients(
        np.array([50.0, -50.0]), np.array([1, 0]), np.array([50.0, -50.0])
    )
    assert (hessian == objective.MIN_HESSIAN).all()


def test_base_score_is_the_score_whose_output_is_the_mean_blended_target():
    rng = np.random.default_rng(1)
    y, t = rng.integers(0, 2, 500), rng.normal(-2, 1, 500)
    p = 1 / (1 + np.exp(-t))
    base = objective.Binary(0.3, 1.0).base_score(y, t)
    assert 1 / (1 + np.exp(-base[0])) == pytest.approx(0.3 * y.mean() + 0.7 * p.mean())
    classes = rng.integers(0, 3, 500)
    logits = rng.normal(size=(500, 3))
    scores = np.exp(objective.Multiclass(1.0, 1.0).base_score(classes, logits))
    np.testing.assert_allclose(scores, np.bincount(classes) / 500)
    assert objective.Regression(0.3).base_score(y, t)[0] == pytest.approx(0.3 * y.mean() + 0.7 * t.mean())
