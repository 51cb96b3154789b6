"""The causal latent graph and optimal transport against their definitions."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_lib.teacher.experts.causal import Causal, cyclicity, structure_loss
from pipeline_lib.teacher.ot.sinkhorn import divergence, ground_cost, potentials, transport

EPS = 0.1


def test_cyclicity_is_zero_for_a_dag_and_positive_for_a_two_cycle() -> None:
    dag = torch.triu(torch.ones(5, 5, dtype=torch.float64), diagonal=1)
    assert float(cyclicity(dag)) == pytest.approx(0, abs=1e-9)
    cycle = torch.zeros(5, 5)
    cycle[0, 1] = cycle[1, 0] = 1.0
    assert float(cyclicity(cycle)) > 0.1


def test_an_edge_points_from_row_to_column() -> None:
    """A graph 0 -> 1 rebuilds variable 1 from variable 0; the transposed graph does not."""
    source = torch.randn(500, 1)
    z = torch.cat([source, 2 * source], dim=1)
    forward, backward = torch.zeros(2, 2), torch.zeros(2, 2)
    forward[0, 1], backward[1, 0] = 2.0, 2.0
    assert structure_loss(z, forward, 0, 0, 1.0) < structure_loss(z, backward, 0, 0, 1.0)


def expert(edge_init: float, reconstruction: float) -> Causal:
    torch.manual_seed(0)
    return Causal(5, 5, 8, 4, 0.0, edge_init, (0.01, 0.001, reconstruction))


def train_edges(model: Causal) -> torch.Tensor:
    """300 steps on latents that follow a chain 0 -> 1 -> 2 -> 3 -> 4."""
    g = torch.Generator().manual_seed(0)
    z = torch.randn(400, 5, generator=g)
    for j in range(1, 5):
        z[:, j] = 0.8 * z[:, j - 1] + 0.6 * z[:, j]
    optimiser = torch.optim.Adam([model.edges_raw], 1e-2)
    for _ in range(300):
        optimiser.zero_grad()
        structure_loss(z, model.edges, *model._weights).backward()
        optimiser.step()
    return model.edges.detach()


def test_edges_stay_alive_with_reconstruction_and_collapse_without() -> None:
    assert float(train_edges(expert(0.1, 0.5)).norm()) > 0.5
    assert float(train_edges(expert(0.01, 0.0)).norm()) < 0.05


def test_the_diagonal_stays_zero() -> None:
    assert train_edges(expert(0.1, 0.5)).diagonal().abs().max() == 0


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
