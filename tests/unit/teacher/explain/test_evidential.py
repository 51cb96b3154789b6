"""Evidence as the papers define it, against torch's own distributions."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Dirichlet, StudentT, kl_divergence
from torch.nn import functional as F

from pipeline_lib.teacher.contract import TaskSpec
from pipeline_lib.teacher.explain.evidential import (
    EvidentialHeads,
    dirichlet_loss,
    nig_loss,
    normal_inverse_gamma,
    standardised,
    wrong_evidence,
)

TASKS = [
    TaskSpec("owns", "binary", "g", 1, 1.0, None),
    TaskSpec("which", "multiclass", "g", 4, 1.0, None, ("a", "b", "c", "d")),
    TaskSpec("how_much", "regression", "g", 1, 1.0, None, mean=10.0, std=2.0),
]
positive = st.floats(0.05, 20.0)


@pytest.mark.rule("R27")
@given(y=st.floats(-9, 9), m=st.floats(-9, 9), v=positive, a=st.floats(1.05, 20.0), b=positive)
@settings(max_examples=100, deadline=None)
def test_the_loss_of_a_value_is_that_of_student_t(y: float, m: float, v: float, a: float, b: float) -> None:
    ty, tm, tv, ta, tb = (torch.tensor(value, dtype=torch.float64) for value in (y, m, v, a, b))
    expected = -StudentT(2 * ta, tm, (tb * (1 + tv) / (tv * ta)).sqrt()).log_prob(ty)
    assert float(nig_loss(ty, tm, tv, ta, tb)) == pytest.approx(float(expected), abs=1e-6)


@pytest.mark.rule("R27")
def test_the_loss_of_a_value_grows_with_its_error() -> None:
    y, one = torch.linspace(0, 10, 50), torch.ones(50)
    assert (nig_loss(y, 0 * one, one, 2 * one, one).diff() > 0).all()


@pytest.mark.rule("R27")
def test_wrong_evidence_costs_and_right_evidence_does_not() -> None:
    alpha = torch.tensor([[9.0, 1.0, 1.0], [9.0, 4.0, 1.0]])
    right, wrong = torch.eye(3)[[0, 0]], torch.eye(3)[[2, 2]]
    assert float(wrong_evidence(alpha, right)[0]) == pytest.approx(0, abs=1e-6)
    assert float(wrong_evidence(alpha, right)[1]) > 0.1
    assert (wrong_evidence(alpha, wrong) > 1).all()


@pytest.mark.rule("R27")
@given(seed=st.integers(0, 1000), classes=st.integers(2, 7))
@settings(max_examples=30, deadline=None)
def test_wrong_evidence_is_the_divergence_from_the_flat_dirichlet(seed: int, classes: int) -> None:
    g = torch.Generator().manual_seed(seed)
    alpha = 1 + 10 * torch.rand(5, classes, generator=g, dtype=torch.float64)
    y = F.one_hot(torch.randint(0, classes, (5,), generator=g), classes).double()
    left = y + (1 - y) * alpha
    expected = kl_divergence(Dirichlet(left), Dirichlet(torch.ones_like(left)))
    assert torch.allclose(wrong_evidence(alpha, y), expected, atol=1e-9)


def test_the_loss_of_a_class_is_the_expected_cross_entropy() -> None:
    alpha, y = torch.tensor([[2.0, 5.0, 1.5]]), torch.tensor([[0.0, 1.0, 0.0]])
    torch.manual_seed(0)
    drawn = Dirichlet(alpha[0]).sample((100_000,))
    assert float(dirichlet_loss(alpha, y)) == pytest.approx(float(-drawn[:, 1].log().mean()), rel=0.01)


def heads() -> EvidentialHeads:
    torch.manual_seed(0)
    return EvidentialHeads(TASKS, 6, 8)


def test_a_state_that_is_not_finite_gets_the_neutral_answer() -> None:
    states = torch.randn(3, 3, 6, generator=torch.Generator().manual_seed(0))
    states[1] = float("nan")
    found = heads().evidence(states)
    assert found["owns"].value[1].tolist() == [0.5, 0.5]
    assert found["which"].value[1].tolist() == [0.25] * 4
    assert found["which"].uncertainty[1] == 1
    assert (found["which"].uncertainty[[0, 2]] < 1).all()
    assert found["how_much"].value[1] == 0
    assert math.isinf(found["how_much"].uncertainty[1])
    assert found["how_much"].uncertainty[[0, 2]].isfinite().all()


def test_a_state_that_is_not_finite_teaches_nothing() -> None:
    states = torch.randn(4, 3, 6, generator=torch.Generator().manual_seed(0))
    labels = {"owns": torch.ones(4), "which": torch.tensor([0.0, 1, 2, 3]), "how_much": torch.arange(4.0)}
    broken = states.clone()
    broken[3] = float("inf")
    trained, spared = heads(), heads()
    trained.loss(states[:3], {k: v[:3] for k, v in labels.items()}, 0.01, 1.0).backward()
    spared.loss(broken, labels, 0.01, 1.0).backward()
    for a, b in zip(trained.parameters(), spared.parameters(), strict=True):
        assert a.grad is not None
        assert b.grad is not None
        assert torch.allclose(a.grad, b.grad, atol=1e-6)


@pytest.mark.rule("R26")
def test_gradients_stop_at_the_states() -> None:
    states = torch.randn(4, 3, 6, generator=torch.Generator().manual_seed(0), requires_grad=True)
    labels = {"owns": torch.ones(4), "which": torch.zeros(4), "how_much": torch.arange(4.0)}
    head = heads()
    head.loss(states, labels, 0.01, 1.0).backward()
    assert states.grad is None
    assert all(p.grad is not None for p in head.parameters())


def test_unknown_labels_and_batches_without_any_cost_nothing() -> None:
    nothing = {task.name: torch.full((2,), float("nan")) for task in TASKS}
    assert float(heads().loss(torch.zeros(2, 3, 6), nothing, 0.01, 1.0)) == 0


def test_heads_learn_where_evidence_is() -> None:
    """States on one side carry the label, on the other side they are noise: there, uncertainty stays high."""
    g = torch.Generator().manual_seed(0)
    states = torch.randn(2000, 3, 6, generator=g)
    told = states[:, 0, 0] > 0
    label = torch.where(told, (states[:, 0, 1] > 0).float(), torch.randint(0, 2, (2000,), generator=g).float())
    head = heads()
    optimiser = torch.optim.Adam(head.parameters(), 1e-2)
    unknown = torch.full((2000,), float("nan"))
    for step in range(150):
        optimiser.zero_grad()
        head.loss(states, {"owns": label, "which": unknown, "how_much": unknown}, 1.0, min(1, step / 50)).backward()
        optimiser.step()
    doubt = head.evidence(states)["owns"].uncertainty
    assert float(doubt[told].mean()) < 0.7 * float(doubt[~told].mean())


def test_regression_is_seen_in_standard_units() -> None:
    found = standardised(TASKS, {"owns": torch.ones(1), "which": torch.ones(1), "how_much": torch.tensor([14.0])})
    assert found["how_much"].tolist() == [2.0]
    assert found["owns"].tolist() == [1.0]


def test_parameters_of_the_normal_inverse_gamma_are_in_range() -> None:
    _, v, a, b = normal_inverse_gamma(torch.full((3, 4), -50.0))
    assert (v > 0).all()
    assert (a > 1).all()
    assert (b > 0).all()
