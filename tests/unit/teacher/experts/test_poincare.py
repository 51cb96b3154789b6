"""The Poincare ball: maps, distance and midpoint against other coordinates, and sound at the origin and the rim."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pipeline_lib.features import ball
from pipeline_lib.teacher.geometry.poincare import distance, exp0, gyromidpoint, log0, proj, rim

pytestmark = pytest.mark.rule("R14")
SEEDS, CURVATURES = st.integers(0, 2**31), st.sampled_from([0.5, 1.0, 2.0])
PRECISIONS = [torch.float32, torch.float64]


def points_of(seed: int, *shape: int, c: float = 1.0) -> Tensor:
    """Anywhere in the ball, also close to the origin and to the rim. (..., D) float64."""
    g = torch.Generator().manual_seed(seed)
    way = torch.nn.functional.normalize(torch.randn(*shape, generator=g, dtype=torch.float64), dim=-1)
    return way * torch.rand(*shape[:-1], 1, generator=g, dtype=torch.float64) * 0.99 / c**0.5


@given(SEEDS, CURVATURES)
@settings(max_examples=30, deadline=None)
def test_the_maps_at_the_origin_undo_each_other(seed: int, c: float) -> None:
    y = points_of(seed, 20, 8, c=c)
    torch.testing.assert_close(exp0(log0(y, c), c), y, atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(exp0(log0(y.float(), c), c), y.float(), atol=1e-5, rtol=1e-5)
    v = torch.nn.functional.normalize(y, dim=-1) * 2.5 / c**0.5
    torch.testing.assert_close(log0(exp0(v.float(), c), c), v.float(), atol=1e-4, rtol=1e-4)


@given(SEEDS, CURVATURES)
@settings(max_examples=30, deadline=None)
def test_the_midpoint_is_the_einstein_midpoint_of_klein_coordinates(seed: int, c: float) -> None:
    x, w = points_of(seed, 4, 5, 8, c=c), torch.rand(4, 5, generator=torch.Generator().manual_seed(seed)).double()
    klein = 2 * x / (1 + c * x.square().sum(-1, keepdim=True))
    lorentz = 1 / (1 - c * klein.square().sum(-1)).sqrt()
    mean = (w * lorentz)[..., None].mul(klein).sum(-2) / (w * lorentz).sum(-1, keepdim=True)
    expected = mean / (1 + (1 - c * mean.square().sum(-1, keepdim=True)).sqrt())
    torch.testing.assert_close(gyromidpoint(x, w, c), expected, atol=1e-9, rtol=1e-9)


def test_the_midpoint_is_that_of_the_features_stage_and_no_weighted_mean_of_coordinates() -> None:
    x, w = points_of(3, 5, 8), torch.ones(5).double()
    found = gyromidpoint(x, w)
    np.testing.assert_allclose(found, ball.midpoint(ball.lorentz(x.numpy()).sum(0)), atol=1e-9)
    factor = 1 / (1 - x.square().sum(-1)).sqrt()
    published = (factor[:, None] * x).sum(0) / factor.sum()
    assert (published - found).norm() > 0.005


def test_the_midpoint_of_two_points_lies_between_them_and_that_of_none_is_the_origin() -> None:
    x, y = points_of(5, 2, 8)
    middle = gyromidpoint(torch.stack([x, y]), torch.ones(2).double())
    torch.testing.assert_close(distance(x, middle), distance(y, middle))
    torch.testing.assert_close(2 * distance(x, middle), distance(x, y))
    assert not gyromidpoint(torch.stack([x, y]), torch.zeros(2).double()).any()


@given(SEEDS)
@settings(max_examples=30, deadline=None)
def test_the_distance_is_that_of_the_features_stage(seed: int) -> None:
    x, y = points_of(seed, 20, 8), points_of(seed + 1, 20, 8)
    np.testing.assert_allclose(distance(x, y), ball.distance(x.numpy(), y.numpy()), rtol=1e-7, atol=1e-7)
    torch.testing.assert_close(distance(x, y), distance(y, x))
    nearest = math.acosh(1 + 1e-7)  # no distance is said to be smaller
    expected = (2 * log0(x).norm(dim=-1)).clamp(min=nearest)
    np.testing.assert_allclose(distance(torch.zeros_like(x), x), expected, rtol=1e-7)


@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("length", [0.0, 1e-12, 1e-3, 20.0, 1e4])
def test_gradients_are_finite_at_the_origin_and_beyond_the_rim(dtype: torch.dtype, length: float) -> None:
    v = torch.tensor([length, 0.0, 0.0], dtype=dtype, requires_grad=True)
    y = proj(exp0(v))
    found = log0(y).sum() + distance(y, torch.zeros_like(y)) + distance(y, y.detach() * 0.5)
    (gradient,) = torch.autograd.grad(found, v)
    assert torch.isfinite(y).all()
    assert torch.isfinite(found)
    assert torch.isfinite(gradient).all()


def test_the_maps_are_the_identity_at_the_origin() -> None:
    zero = torch.zeros(4, dtype=torch.float64)
    for way in (exp0, log0):
        assert not way(zero).any()
        torch.testing.assert_close(torch.autograd.functional.jacobian(way, zero), torch.eye(4, dtype=torch.float64))


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_projected_points_are_inside_and_points_that_were_inside_stay(dtype: torch.dtype) -> None:
    far = proj(exp0(torch.eye(3, dtype=dtype) * 50))
    torch.testing.assert_close(far.norm(dim=-1), torch.full((3,), rim(dtype), dtype=dtype))
    inside = points_of(1, 10, 3).to(dtype) * 0.9
    torch.testing.assert_close(proj(inside), inside)
