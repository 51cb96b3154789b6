"""Task losses: focal in logit form, cross-entropy on raw logits, Huber on standardised labels, masks."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from pipeline_lib.teacher.contract import TaskSpec
from pipeline_lib.teacher.loss import LossShape, focal, task_loss, task_losses

SHAPE = LossShape(focal_gamma=2.0, huber_delta=1.0, label_smoothing=0.0)
NAN = float("nan")


def binary(alpha: float = 0.85) -> TaskSpec:
    return TaskSpec("b", "binary", "g", 1, 1.0, alpha)


def multiclass(classes: int) -> TaskSpec:
    return TaskSpec("m", "multiclass", "g", classes, 1.0, None, class_weights=(1.0,) * classes)


@given(z=st.floats(-8, 8), y=st.sampled_from([0.0, 1.0]), alpha=st.floats(0.05, 0.95), gamma=st.floats(0, 4))
def test_focal_equals_its_probability_form(z: float, y: float, alpha: float, gamma: float) -> None:
    signed = z if y else -z
    right, wrong = 1 / (1 + math.exp(-signed)), 1 / (1 + math.exp(signed))
    expected = -(alpha if y else 1 - alpha) * wrong**gamma * math.log(right)
    found = focal(torch.tensor([z], dtype=torch.float64), torch.tensor([y], dtype=torch.float64), alpha, gamma)
    assert float(found) == pytest.approx(expected, rel=1e-8, abs=1e-12)


def test_focal_without_focus_is_half_the_cross_entropy() -> None:
    z, y = torch.randn(50), torch.randint(0, 2, (50,)).float()
    expected = 0.5 * nn.functional.binary_cross_entropy_with_logits(z, y, reduction="none")
    torch.testing.assert_close(focal(z, y, 0.5, 0.0), expected)


@pytest.mark.parametrize("extreme", [1e4, -1e4])
def test_focal_and_its_gradient_are_finite_at_extreme_logits(extreme: float) -> None:
    z = torch.full((2,), extreme, requires_grad=True)
    loss = focal(z, torch.tensor([0.0, 1.0]), 0.85, 2.0)
    loss.sum().backward()
    assert torch.isfinite(loss).all()
    assert torch.isfinite(z.grad).all()


@pytest.mark.parametrize("classes", [3, 7, 50])
def test_cross_entropy_on_raw_logits_can_be_overfitted(classes: int) -> None:
    """On values squashed by a sigmoid the loss has a floor of ln(1 + (C - 1) / e): 0.55, 1.17 and 2.95 here."""
    torch.manual_seed(0)
    x, y = torch.randn(64, 16), torch.randint(0, classes, (64,)).double()
    net = nn.Sequential(nn.Linear(16, 64), nn.SiLU(), nn.Linear(64, classes))
    optimiser = torch.optim.Adam(net.parameters(), 2e-2)
    for _ in range(400):
        optimiser.zero_grad()
        loss = task_loss(multiclass(classes), net(x), y, SHAPE)
        loss.backward()
        optimiser.step()
    assert float(loss.detach()) < 0.05


def test_class_weights_weigh_rows_by_their_true_class() -> None:
    task = TaskSpec("m", "multiclass", "g", 2, 1.0, None, class_weights=(1.0, 3.0))
    z = torch.zeros(2, 2)
    assert float(task_loss(task, z, torch.tensor([0.0, 1.0]).double(), SHAPE)) == pytest.approx(2 * math.log(2))


def test_a_batch_without_positives_has_a_loss() -> None:
    loss = task_loss(binary(), torch.zeros(4), torch.zeros(4).double(), SHAPE)
    assert float(loss) == pytest.approx(0.15 * 0.25 * math.log(2), rel=1e-6)


def test_masked_rows_do_not_count() -> None:
    z, y = torch.tensor([0.3, 9.0, -1.0]), torch.tensor([1.0, NAN, 0.0]).double()
    expected = task_loss(binary(), z[[0, 2]], y[[0, 2]], SHAPE)
    torch.testing.assert_close(task_loss(binary(), z, y, SHAPE), expected)


def test_masked_rows_get_no_gradient() -> None:
    z = torch.zeros(3, requires_grad=True)
    task_loss(binary(), z, torch.tensor([1.0, NAN, 0.0]).double(), SHAPE).backward()
    assert z.grad[1] == 0
    assert z.grad[0] != 0


def test_a_task_without_any_label_is_absent() -> None:
    logits = {"b": torch.zeros(2), "m": torch.zeros(2, 3)}
    labels = {"b": torch.tensor([NAN, NAN]).double(), "m": torch.tensor([0.0, 2.0]).double()}
    assert list(task_losses([binary(), multiclass(3)], logits, labels, SHAPE)) == ["m"]


def test_regression_is_judged_in_standard_deviations() -> None:
    task = TaskSpec("r", "regression", "g", 1, 1.0, None, mean=10.0, std=4.0)
    loss = task_loss(task, torch.zeros(1), torch.tensor([12.0]).double(), SHAPE)
    assert float(loss) == pytest.approx(0.5 * 0.5**2)
