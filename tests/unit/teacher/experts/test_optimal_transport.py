"""Optimal transport: a divergence, against its plan, another library and an unrolled iteration."""

from __future__ import annotations

import ot
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pipeline_lib.teacher.experts.optimal_transport import OptimalTransport
from pipeline_lib.teacher.ot.sinkhorn import divergence, ground_cost, potentials, transport

pytestmark = pytest.mark.rule("R18")
EPSILON, ENOUGH = 0.1, 200


def pair(seed: int, points: int = 12, rows: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    """mu (rows, S), nu (rows, S) and the cost of learned support points, float64."""
    g = torch.Generator().manual_seed(seed)
    mu, nu = (torch.randn(rows, points, generator=g, dtype=torch.float64).softmax(-1) for _ in range(2))
    return mu, nu, ground_cost(torch.randn(points, 3, generator=g, dtype=torch.float64))


@given(st.integers(0, 2**31))
@settings(max_examples=30, deadline=None)
def test_the_cost_is_symmetric_between_0_and_1_and_staying_is_free(seed: int) -> None:
    cost = pair(seed)[2]
    assert not cost.diagonal().any()
    torch.testing.assert_close(cost, cost.T)
    assert cost.min() == 0
    assert cost.max() == pytest.approx(1)


def test_the_shipped_ten_steps_meet_both_marginals() -> None:
    mu, nu, cost = pair(0, points=32, rows=8)
    u, v = potentials(mu.log(), nu.log(), torch.exp(-cost / EPSILON), 10)
    plan = torch.exp(u[:, :, None] + v[:, None] - cost / EPSILON)  # (rows, S, S)
    torch.testing.assert_close(plan.sum(1), nu, atol=1e-4, rtol=0)
    torch.testing.assert_close(plan.sum(2), mu, atol=1e-4, rtol=0)


@given(st.integers(0, 2**31))
@settings(max_examples=10, deadline=None)
def test_the_divergence_is_zero_at_equality_alone_never_negative_and_symmetric(seed: int) -> None:
    mu, nu, cost = pair(seed)
    found = divergence(mu, nu, cost, EPSILON, ENOUGH)
    assert divergence(mu, mu, cost, EPSILON, ENOUGH).diagonal().abs().max() < 1e-5
    assert (found > 0).all()
    torch.testing.assert_close(found, divergence(nu, mu, cost, EPSILON, ENOUGH).T, atol=1e-6, rtol=1e-6)
    shipped = divergence(mu.float(), mu.float(), cost.float(), EPSILON, 10).diagonal()
    assert shipped.abs().max() < 1e-5


@pytest.mark.parametrize("seed", range(20))
def test_value_and_plan_are_those_of_another_library(seed: int) -> None:
    """The dual form <f, mu> + <g, nu> is the regularised optimum <P, C> + eps KL(P | mu x nu), here of POT's plan."""
    (mu,), (nu,), cost = pair(seed, rows=1)
    plan = torch.as_tensor(ot.sinkhorn(mu, nu, cost, EPSILON, method="sinkhorn_log", numItermax=5000, stopThr=1e-13))
    expected = (plan * cost).sum() + EPSILON * (plan * (plan / (mu[:, None] * nu)).log()).sum()
    found = transport(mu, nu, cost, EPSILON, ENOUGH)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=0)
    u, v = potentials(mu.log(), nu.log(), torch.exp(-cost / EPSILON), ENOUGH)
    torch.testing.assert_close(torch.exp(u[:, None] + v - cost / EPSILON), plan, rtol=1e-4, atol=1e-9)


def test_the_envelope_gradient_is_that_of_the_unrolled_iteration() -> None:
    """Along the simplex, since f is known up to a constant; and in the cost, through the support points."""
    g = torch.Generator().manual_seed(0)
    logits, others = (torch.randn(2, 8, generator=g, dtype=torch.float64) for _ in range(2))
    points = torch.randn(8, 3, generator=g, dtype=torch.float64)

    def gradients(value: object) -> list[Tensor]:
        leaves = [t.clone().requires_grad_() for t in (logits, others, points)]
        mu, nu, cost = leaves[0].softmax(-1), leaves[1].softmax(-1), ground_cost(leaves[2])
        return list(torch.autograd.grad(value(mu, nu, cost).sum(), leaves))  # type: ignore[operator]

    for envelope, oracle in zip(gradients(debiased), gradients(debiased_unrolled), strict=True):
        torch.testing.assert_close(envelope, oracle, atol=1e-6, rtol=1e-5)


def debiased(mu: Tensor, nu: Tensor, cost: Tensor) -> Tensor:
    return divergence(mu, nu, cost, EPSILON, ENOUGH)


def debiased_unrolled(mu: Tensor, nu: Tensor, cost: Tensor) -> Tensor:
    pairs = unrolled(mu[:, None], nu[None], cost)
    return pairs - 0.5 * unrolled(mu[:, None], mu[:, None], cost) - 0.5 * unrolled(nu[None], nu[None], cost)


def unrolled(mu: Tensor, nu: Tensor, cost: Tensor) -> Tensor:
    """The dual value with gradients through every step. (..., S) -> (...)."""
    u, v = potentials(mu.log(), nu.log(), torch.exp(-cost / EPSILON), ENOUGH)
    mass = torch.exp(u[..., :, None] + v[..., None, :] - cost / EPSILON).sum((-1, -2))
    return EPSILON * ((u - mu.log()) * mu + (v - nu.log()) * nu).sum(-1) - EPSILON * (mass - 1)


def test_prototypes_that_say_the_same_have_no_diversity() -> None:
    torch.manual_seed(0)
    expert = OptimalTransport(range(4), (8, 3, 4), 8, 8, EPSILON, 10, 0.0)
    assert expert.diversity() > 1e-3
    expert.prototypes.data.copy_(expert.prototypes[0].expand(4, 8))
    assert abs(expert.diversity()) < 1e-5
