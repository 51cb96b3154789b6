"""Reconciling gradients of task kinds: each method by the property that defines it."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from pipeline_lib.errors import SettingsError
from pipeline_lib.settings.teacher.training import GradientMethod
from pipeline_lib.teacher.gradients import cagrad_weights, combined, nash_weights, pcgrad, reconciled, upgrad_weights
from tests.unit.teacher.parts import MANY, shipped

METHODS = ("pcgrad", "upgrad", "cagrad", "nash_mtl")
jacobians = st.builds(
    lambda seed, ways, clash: jacobian_of(seed, ways, clash), st.integers(0, 10_000), st.integers(2, 3), st.floats(0, 1)
)


def jacobian_of(seed: int, ways: int, clash: float) -> Tensor:
    """Rows of different sizes; the second is turned towards the opposite of the first by ``clash``."""
    random = torch.Generator().manual_seed(seed)
    rows = torch.randn(ways, 12, generator=random, dtype=torch.float64)
    rows[1] = rows[1] * (1 - 0.9 * clash) - rows[0] * clash
    return rows * (0.3 + 3 * torch.rand(ways, 1, generator=random, dtype=torch.float64))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def gram_of(jacobian: Tensor) -> Tensor:
    return jacobian @ jacobian.T


@pytest.mark.rule("R24")
def test_a_constructed_conflict_changes_the_gradient_of_what_is_shared_and_nothing_else() -> None:
    """Binary pulls right, regression left and up: each loses what the other would undo."""
    shared = torch.zeros(1, 2, requires_grad=True)
    tower = torch.ones(2, requires_grad=True)
    groups = {
        "binary": shared[0] @ torch.tensor([1.0, 0.0]) + tower[0],
        "regression": shared[0] @ torch.tensor([-1.0, 1.0]) + tower[1],
    }
    found = reconciled(groups, shared, "pcgrad", seeded())
    torch.testing.assert_close(found, torch.tensor([[0.5, 1.5]]))  # (0.5, 0.5) + (0, 1)
    assert shared.grad is None
    assert tower.grad is None
    sum(groups.values()).backward()  # graphs are kept: towers and auxiliary losses go on as usual
    torch.testing.assert_close(shared.grad, torch.tensor([[0.0, 1.0]]))  # what it would have been
    torch.testing.assert_close(tower.grad, torch.ones(2))


@pytest.mark.rule("R24")
@pytest.mark.parametrize("method", METHODS)
@MANY
@given(seed=st.integers(0, 10_000), factor=st.floats(0.1, 10))
def test_gradients_that_agree_are_added_with_the_weights_they_have(method: str, seed: int, factor: float) -> None:
    """The weights of the losses stay: unweighted group means once replaced the whole gradient."""
    shared = torch.zeros(3, 4, requires_grad=True)
    rows = torch.rand(12, generator=seeded(seed)) + 0.1
    groups = {"binary": shared.flatten() @ rows, "regression": factor * (shared.flatten() @ rows)}
    found = reconciled(groups, shared, method, seeded())
    cosine = torch.nn.functional.cosine_similarity(found.flatten(), rows, dim=0)
    assert float(cosine) == pytest.approx(1, abs=1e-5)
    if method in ("pcgrad", "upgrad"):
        torch.testing.assert_close(found.flatten(), (1 + factor) * rows, rtol=1e-4, atol=1e-5)


@MANY
@given(jacobian=jacobians, seed=st.integers(0, 100))
def test_pcgrad_of_two_never_works_against_either(jacobian: Tensor, seed: int) -> None:
    pair = jacobian[:2]
    assert (pair @ pcgrad(pair, seeded(seed)) >= -1e-9).all()


@MANY
@given(jacobian=jacobians)
def test_pcgrad_of_two_is_the_sum_of_what_is_left_of_each(jacobian: Tensor) -> None:
    a, b = jacobian[:2]
    expected = a + b if a @ b >= 0 else a - (a @ b) / (b @ b) * b + b - (a @ b) / (a @ a) * a
    torch.testing.assert_close(pcgrad(jacobian[:2], seeded()), expected)


@MANY
@given(jacobian=jacobians, seed=st.integers(0, 100))
def test_pcgrad_takes_the_others_in_the_generators_order_against_originals(jacobian: Tensor, seed: int) -> None:
    order, total = seeded(seed), torch.zeros_like(jacobian[0])
    for i in range(len(jacobian)):
        mine = jacobian[i]
        for j in (k for k in torch.randperm(len(jacobian), generator=order).tolist() if k != i):
            overlap = torch.dot(mine, jacobian[j]).clamp_max(0) / torch.dot(jacobian[j], jacobian[j])
            mine = mine - overlap * jacobian[j]
        total = total + mine
    torch.testing.assert_close(pcgrad(jacobian, seeded(seed)), total)


@MANY
@given(jacobian=jacobians)
def test_upgrad_works_against_nobody_and_each_part_is_a_projection(jacobian: Tensor) -> None:
    """Weights are at least 1 (each row's own gradient and what the dual cone adds), and no product is negative."""
    weights = upgrad_weights(gram_of(jacobian))
    assert (weights >= 1 - 1e-9).all()
    products = jacobian @ (weights @ jacobian)
    assert (products >= -1e-8 * gram_of(jacobian).diagonal().sum()).all()


@MANY
@given(jacobian=jacobians)
def test_cagrad_is_the_best_of_the_worst_within_its_ball(jacobian: Tensor) -> None:
    """Dual against primal: no point of the ball around the mean gradient has a better worst product."""
    ways, mean = len(jacobian), jacobian.mean(dim=0)
    found = cagrad_weights(gram_of(jacobian)) @ jacobian / ways
    radius = 0.4 * mean.norm()
    assert float((found - mean).norm()) == pytest.approx(float(radius), rel=1e-5)
    steps = torch.randn(2000, ways, generator=seeded(1), dtype=torch.float64) @ jacobian
    others = mean + radius * steps / steps.norm(dim=1, keepdim=True)
    assert (jacobian @ found).min() >= (others @ jacobian.T).min(dim=1).values.max() - 1e-6


@MANY
@given(jacobian=jacobians)
def test_nash_weights_solve_the_bargaining_equation(jacobian: Tensor) -> None:
    """(G a)_k a_k is the same for all: at equal weight of all gains in the product of gains."""
    gram = gram_of(jacobian)
    weights = nash_weights(gram)
    gains = (gram @ weights) * weights
    assert (weights > 0).all()
    assert float(weights.sum()) == pytest.approx(len(gram))
    torch.testing.assert_close(gains / gains.mean(), torch.ones_like(gains), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "rows", [[[1.0, 2.0]], [[1.0, 2.0], [0.0, 0.0]], [[1.0, 2.0], [1.0, 2.0]], [[1.0, 2.0], [-1.0, -2.0]]]
)
def test_degenerate_groups_have_a_finite_answer(method: str, rows: list[list[float]]) -> None:
    shared = torch.zeros(1, 2, requires_grad=True)
    groups = {f"k{i}": shared[0] @ torch.tensor(row) for i, row in enumerate(rows)}
    found = reconciled(groups, shared, method, seeded())
    assert found.shape == shared.shape
    assert found.isfinite().all()
    if not any(rows[-1]) or len(rows) == 1:
        torch.testing.assert_close(found, torch.tensor([[1.0, 2.0]]))


def test_a_group_that_does_not_reach_the_experts_is_no_conflict() -> None:
    shared, other = torch.zeros(1, 2, requires_grad=True), torch.ones(1, requires_grad=True)
    found = reconciled({"a": shared.sum(), "b": other.sum()}, shared, "upgrad", seeded())
    torch.testing.assert_close(found, torch.ones(1, 2))


def test_without_any_group_nothing_goes_back() -> None:
    shared = torch.ones(2, 3, requires_grad=True)
    assert torch.equal(reconciled({}, shared, "upgrad", seeded()), torch.zeros(2, 3))


def test_every_configurable_method_exists_and_others_are_refused() -> None:
    known = GradientMethod.model_fields["method"].annotation.__args__
    assert set(known) == {"none", *METHODS}
    assert shipped("gradients")["method"] == "none"
    with pytest.raises(SettingsError, match="imtl"):
        combined(torch.eye(2), "imtl", seeded())
