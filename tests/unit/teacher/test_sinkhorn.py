"""Entropic optimal transport against its definition."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_lib.teacher.ot.sinkhorn import divergence, ground_cost, potentials, transport

EPS = 0.1


def simplex(seed: int, rows: int, points: int = 6) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.randn(rows, points, generator=g, dtype=torch.float64).softmax(-1)


def cost_of(seed: int, points: int = 6) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    return ground_cost(torch.randn(points, 3, generator=g, dtype=torch.float64))


def test_the_ground_cost_is_a_cost() -> None:
    cost = cost_of(0)
    assert cost.diagonal().abs().max() == 0
    assert torch.equal(cost, cost.T)
    assert float(cost.max()) == 1.0
    assert float(cost.min()) == 0.0


def test_the_plan_has_the_given_marginals() -> None:
    mu, nu, cost = simplex(1, 20), simplex(2, 20), cost_of(3)
    kernel = torch.exp(-cost / EPS)
    u, v = potentials(mu.log(), nu.log(), kernel, 300)
    plan = u.exp()[:, :, None] * kernel * v.exp()[:, None]
    torch.testing.assert_close(plan.sum(2), mu, atol=1e-4, rtol=0)
    torch.testing.assert_close(plan.sum(1), nu, atol=1e-4, rtol=0)


@given(st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_the_divergence_is_a_distance_like_thing(seed: int) -> None:
    mu, nu, cost = simplex(seed, 4), simplex(seed + 1, 3), cost_of(seed + 2)
    found = divergence(mu, nu, cost, EPS, 500)
    assert found.min() > -1e-6
    torch.testing.assert_close(found, divergence(nu, mu, cost, EPS, 500).T, atol=1e-6, rtol=1e-5)
    assert divergence(mu, mu, cost, EPS, 10).diagonal().abs().max() < 1e-9


def test_the_shared_kernel_is_the_plain_log_sum_exp() -> None:
    mu, nu, cost = simplex(4, 5), simplex(5, 5), cost_of(6)
    u, v = torch.zeros_like(mu), torch.zeros_like(nu)
    for _ in range(10):
        u = mu.log() - torch.logsumexp(v[:, None] - cost / EPS, dim=2)
        v = nu.log() - torch.logsumexp(u[:, :, None] - cost / EPS, dim=1)
    found = potentials(mu.log(), nu.log(), torch.exp(-cost / EPS), 10)
    torch.testing.assert_close(found, (u, v), rtol=1e-10, atol=1e-10)


def test_the_envelope_gradient_is_the_gradient_of_the_converged_value() -> None:
    """Against central differences of the value, along directions that keep mu a distribution."""
    mu, nu, cost = simplex(7, 1), simplex(8, 1), cost_of(9)
    mu.requires_grad_()
    cost.requires_grad_()
    transport(mu, nu, cost, EPS, 300).sum().backward()
    step = torch.zeros(1, 6, dtype=torch.float64)
    step[0, 0], step[0, 1] = 1e-5, -1e-5
    bend = torch.zeros(6, 6, dtype=torch.float64)
    bend[0, 1] = bend[1, 0] = 1e-5
    with torch.no_grad():
        by_mu = transport(mu + step, nu, cost, EPS, 300) - transport(mu - step, nu, cost, EPS, 300)
        by_cost = transport(mu, nu, cost + bend, EPS, 300) - transport(mu, nu, cost - bend, EPS, 300)
    assert float((mu.grad * step).sum() * 2) == pytest.approx(float(by_mu), rel=1e-4)
    assert float((cost.grad * bend).sum() * 2) == pytest.approx(float(by_cost), rel=1e-4)
