"""Causal: edges live, cycles die, directions hold; and what an intervention reads off the graph."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pipeline_lib.teacher.experts.causal import Causal, build, rising
from pipeline_lib.teacher.geometry.dag import ACTIVE, acyclic_part, cyclicity, health, intervene
from tests.unit.teacher.experts.fabricated import architecture, batch_of, inputs_of

TRUE = torch.zeros(5, 5)
for parent, child, weight in [(0, 1, 1.0), (0, 2, -0.8), (1, 3, 0.9), (2, 3, 0.7), (3, 4, -1.1)]:
    TRUE[parent, child] = weight
END = 1000.0
"""With it a few hundred steps suffice; 10 leaves h above 1e-3 even after thousands."""


def causal(**options: Any) -> Causal:
    torch.manual_seed(0)
    return build(inputs_of(narrow=True), architecture(causal={"acyclicity_end": END, **options}).causal)


def linear_model(w: Tensor, rows: int) -> Tensor:
    """Rows of z = z W + noise of unit spread, in the order of the nodes. (B, d)."""
    z = torch.randn(rows, len(w), generator=torch.Generator().manual_seed(1))
    for node in range(len(w)):
        z[:, node] += z @ w[:, node] - z[:, node] * w[node, node]
    return z


def fit(expert: Causal, z: Tensor, steps: int, rate: float) -> None:
    optimiser = torch.optim.AdamW([expert.edges_raw], lr=rate, weight_decay=0.0)
    for step in range(steps):
        expert.set_progress(step / steps)
        optimiser.zero_grad()
        expert.structure_loss(z).backward()
        optimiser.step()


def latents(rows: int = 500) -> Tensor:
    """Dependent latents of unit norm, as LayerNorm makes them. (B, 32)."""
    g = torch.Generator().manual_seed(2)
    mixed = torch.randn(rows, 32, generator=g) @ torch.randn(32, 32, generator=g)
    return torch.nn.functional.layer_norm(mixed, (32,))


@pytest.mark.rule("R16")
@pytest.mark.parametrize("edge_sign", ["signed", "nonneg"])
def test_edges_stay_away_from_zero_and_cycles_are_gone_at_the_end(edge_sign: str) -> None:
    expert = causal(edge_sign=edge_sign)
    fit(expert, latents(), steps=300, rate=1e-2)
    edges = expert.edges.detach()
    assert edges.norm() > 0.1
    assert cyclicity(edges) < 1e-3
    assert (edges.abs() > ACTIVE).double().mean() <= 496 / 1024


@pytest.mark.rule("R16")
def test_a_small_start_without_reconstruction_lets_the_edges_collapse() -> None:
    """The defect that the two cures are for; every inspected checkpoint of the published system had it."""
    expert = causal(edge_init=0.01, reconstruction=0.0, acyclicity_end=0.01)
    fit(expert, latents(), steps=300, rate=1e-3)
    assert expert.edges.norm() < 0.01


@pytest.mark.rule("R16")
def test_a_known_graph_of_five_nodes_is_found() -> None:
    expert = causal(latent=5)
    fit(expert, linear_model(TRUE, 2000), steps=400, rate=1e-2)
    w_dag, _ = acyclic_part(expert.edges.detach())
    wrong = ((w_dag.abs() > 0.3) != (TRUE != 0)).sum()
    assert wrong <= 2
    assert w_dag[0, 2] < -0.3 < 0.3 < w_dag[0, 1]


@pytest.mark.rule("R17")
def test_h_is_zero_for_a_graph_without_cycles_and_positive_for_one_with_a_cycle_of_two() -> None:
    assert cyclicity(TRUE.double()).abs() < 1e-9
    loop = torch.zeros(3, 3)
    loop[0, 1] = loop[1, 0] = 0.5
    assert cyclicity(loop) == pytest.approx(2 * math.cosh(0.25) - 2, rel=1e-4)


@pytest.mark.rule("R17")
def test_the_gradient_of_h_is_the_stated_one() -> None:
    w = (torch.randn(6, 6, generator=torch.Generator().manual_seed(3)) * 0.3).double().requires_grad_()
    (found,) = torch.autograd.grad(cyclicity(w), w)
    torch.testing.assert_close(found, 2 * w * torch.linalg.matrix_exp(w * w).T)


@pytest.mark.rule("R17")
def test_the_diagonal_stays_zero_whatever_is_learned() -> None:
    expert = causal()
    expert.edges_raw.data.fill_diagonal_(5.0)
    fit(expert, latents(100), steps=3, rate=1e-2)
    assert not expert.edges.diagonal().any()


@pytest.mark.rule("R17")
@given(st.integers(0, 2**31), st.integers(2, 12))
@settings(max_examples=40, deadline=None)
def test_the_acyclic_part_has_no_cycle_and_says_what_it_lacks(seed: int, nodes: int) -> None:
    w = torch.randn(nodes, nodes, generator=torch.Generator().manual_seed(seed))
    w_dag, removed = acyclic_part(w)
    assert not torch.linalg.matrix_power((w_dag != 0).double(), nodes).any()  # no path as long as the graph
    assert float((w_dag != 0).double().mean()) <= (nodes - 1) / (2 * nodes) + 1e-9
    assert removed == pytest.approx(float((w - w_dag).abs().sum() / w.abs().sum()), rel=1e-4)


@pytest.mark.rule("R17")
def test_of_a_cycle_the_weakest_edge_goes_and_an_acyclic_graph_stays_whole() -> None:
    cycle = torch.tensor([[0.0, 0.9, 0.0], [0.0, 0.0, -0.8], [0.1, 0.0, 0.0]])
    w_dag, removed = acyclic_part(cycle)
    assert w_dag.tolist() == [[0.0, pytest.approx(0.9), 0.0], [0.0, 0.0, pytest.approx(-0.8)], [0.0, 0.0, 0.0]]
    assert removed == pytest.approx(0.1 / 1.8)
    assert torch.equal(acyclic_part(TRUE)[0], TRUE)
    assert math.isnan(acyclic_part(torch.zeros(3, 3))[1])


@pytest.mark.rule("R17")
def test_an_edge_i_to_j_carries_what_i_does_to_j_and_not_back() -> None:
    """do(z_0) moves its child 2 by the edge's weight; do(z_2) moves 0 not at all."""
    z, three = linear_model(TRUE, 4), torch.full((4,), 3.0)
    down = intervene(z, 0, three, TRUE, lambda moved: moved)
    torch.testing.assert_close((down.full - down.direct)[:, 2], -0.8 * (three - z[:, 0]))
    up = intervene(z, 2, three, TRUE, lambda moved: moved)
    assert torch.equal(up.full[:, 0], up.factual[:, 0])


@pytest.mark.rule("R17")
def test_what_the_graph_hands_on_is_the_mediated_share() -> None:
    z, one = torch.zeros(2, 5), torch.ones(2)
    found = intervene(z, 3, one, TRUE, lambda moved: moved)  # 1 in itself, -1.1 through node 4
    np.testing.assert_allclose(found.mediation, 1.1 / math.hypot(1, 1.1), rtol=1e-6)
    assert intervene(z, 3, z[:, 3], TRUE, lambda moved: moved).mediation.isnan().all()


@pytest.mark.rule("R17")
def test_only_a_graph_within_all_limits_is_called_causal() -> None:
    sound = torch.triu(torch.full((8, 8), 0.2), diagonal=1)
    z = latents(50)[:, :8]
    verdicts = {
        "sound": sound,
        "dead": sound * 1e-6,
        "loud": sound * 100,
        "cyclic": sound + torch.tril(torch.full((8, 8), 0.2), diagonal=-1),
    }
    found = {name: health(w, w, z, lambda moved: moved) for name, w in verdicts.items()}
    assert {name for name, one in found.items() if one.causal} == {"sound"}
    assert found["sound"].removed_share == 0
    assert found["cyclic"].removed_share == pytest.approx(0.5)
    assert 0 < found["sound"].mediation_median <= found["sound"].mediation_p95
    assert found["sound"].active_share == pytest.approx(28 / 64)


def test_a_trained_expert_is_judged_on_its_own_graph() -> None:
    expert = causal().eval()
    found = expert.judge(batch_of(inputs_of(narrow=True), 20))
    assert not found.causal  # a random start is full of cycles
    assert found.cyclicity > 1e-3
    assert set(found.to_dict()) >= {"frobenius", "active_share", "cyclicity", "mediation_median", "causal"}


def test_the_latent_for_the_guardrail_keeps_how_far_out_it_lies() -> None:
    expert, batch = causal().eval(), batch_of(inputs_of(narrow=True), 20)
    z_raw = expert(batch).diag["z_raw"]
    assert z_raw.shape == (20, 32)
    assert not z_raw.requires_grad
    assert z_raw.norm(dim=1).std() > 1e-2


def test_the_weight_of_cycles_rises_by_equal_factors() -> None:
    assert [rising(0.01, 100.0, share) for share in (0.0, 0.5, 1.0)] == pytest.approx([0.01, 1.0, 100.0])
    assert rising(0.0, 10.0, 0.5) == 5.0
    expert, z = causal(), latents(50)
    early = expert.structure_loss(z)
    expert.set_progress(1.0)
    assert expert.structure_loss(z) > early + 1.0
