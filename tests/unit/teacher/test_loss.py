"""Task losses: focal in logit form, cross-entropy on raw logits, Huber on standardised labels, masks."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import nn

from pipeline_lib.errors import ContractError, SettingsError
from pipeline_lib.settings.teacher.training import Loss
from pipeline_lib.teacher.contract import TaskSpec
from pipeline_lib.teacher.loss import LossShape, focal, task_loss, task_losses, validation_loss
from tests.unit.teacher.parts import MANY, shipped

SHAPE = LossShape(
    focal_gamma=2.0, huber_delta=1.0, label_smoothing=0.0, imbalance="focal", pos_weight_range=(1.0, 50.0)
)
REMEDIES = ("focal", "pos_weight_bce", "bce_logit_adjust")
NAN = float("nan")
bce = nn.functional.binary_cross_entropy_with_logits


def binary(alpha: float = 0.85) -> TaskSpec:
    return TaskSpec("b", "binary", "g", 1, 1.0, alpha)


def multiclass(classes: int) -> TaskSpec:
    return TaskSpec("m", "multiclass", "g", classes, 1.0, None, class_weights=(1.0,) * classes)


@pytest.mark.rule("R05")
@MANY
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


@pytest.mark.rule("R05")
@pytest.mark.parametrize("extreme", [1e4, -1e4])
def test_focal_and_its_gradient_are_finite_at_extreme_logits(extreme: float) -> None:
    z = torch.full((2,), extreme, requires_grad=True)
    loss = focal(z, torch.tensor([0.0, 1.0]), 0.85, 2.0)
    loss.sum().backward()
    assert torch.isfinite(loss).all()
    assert torch.isfinite(z.grad).all()


@pytest.mark.rule("R04")
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


@pytest.mark.rule("R06")
@pytest.mark.parametrize("imbalance", REMEDIES)
def test_a_batch_without_positives_has_a_loss(imbalance: str) -> None:
    """Skipping it would bias the calibration: the model would never hear of batches without any."""
    z = torch.zeros(4, requires_grad=True)
    loss = task_loss(binary(), z, torch.zeros(4).double(), replace(SHAPE, imbalance=imbalance))
    loss.backward()
    expected = 0.15 * 0.25 * math.log(2) if imbalance == "focal" else math.log(2)
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-6)
    assert (z.grad > 0).all()  # downhill lowers every logit


def test_masked_rows_do_not_count() -> None:
    z, y = torch.tensor([0.3, 9.0, -1.0]), torch.tensor([1.0, NAN, 0.0]).double()
    expected = task_loss(binary(), z[[0, 2]], y[[0, 2]], SHAPE)
    torch.testing.assert_close(task_loss(binary(), z, y, SHAPE), expected)


def test_masked_rows_get_no_gradient() -> None:
    z = torch.zeros(3, requires_grad=True)
    task_loss(binary(), z, torch.tensor([1.0, NAN, 0.0]).double(), SHAPE).backward()
    assert z.grad[1] == 0
    assert z.grad[0] != 0


@pytest.mark.rule("R06")
def test_a_task_without_any_label_is_absent() -> None:
    logits = {"b": torch.zeros(2), "m": torch.zeros(2, 3)}
    labels = {"b": torch.tensor([NAN, NAN]).double(), "m": torch.tensor([0.0, 2.0]).double()}
    assert list(task_losses([binary(), multiclass(3)], logits, labels, SHAPE)) == ["m"]


def test_regression_is_judged_in_standard_deviations() -> None:
    task = TaskSpec("r", "regression", "g", 1, 1.0, None, mean=10.0, std=4.0)
    loss = task_loss(task, torch.zeros(1), torch.tensor([12.0]).double(), SHAPE)
    assert float(loss) == pytest.approx(0.5 * 0.5**2)


def test_a_row_that_is_masked_everywhere_changes_no_loss() -> None:
    z, y = torch.randn(6), torch.tensor([0, 1, 0, 0, 1, 1]).double()
    for imbalance in REMEDIES:
        shape = replace(SHAPE, imbalance=imbalance)
        found = task_loss(binary(), torch.cat([z, torch.tensor([1e4])]), torch.cat([y, torch.tensor([NAN])]), shape)
        torch.testing.assert_close(found, task_loss(binary(), z, y, shape))


@pytest.mark.rule("R05")
@MANY
@given(positives=st.floats(0.001, 0.999), low=st.floats(0.5, 5), high=st.floats(6, 100))
def test_focal_is_not_overridden_by_the_weight_of_positives(positives: float, low: float, high: float) -> None:
    """An automatic pos_weight once replaced focal for every binary task, so that no alpha was ever exercised."""
    z, y = torch.linspace(-2, 2, 8), torch.arange(8).remainder(2).double()
    other = replace(SHAPE, pos_weight_range=(low, high))
    assert task_loss(replace(binary(), positives=positives), z, y, other) == task_loss(binary(), z, y, SHAPE)


@pytest.mark.rule("R05")
@pytest.mark.parametrize(
    "second", [{"imbalance": ["focal", "pos_weight_bce"]}, {"imbalance": "focal", "pos_weight": "auto"}]
)
def test_two_remedies_against_imbalance_are_refused(second: dict[str, Any]) -> None:
    body = shipped("loss")
    assert Loss(**body).imbalance == "focal"
    with pytest.raises(ValidationError):
        Loss(**{**body, **second})


def test_an_unknown_remedy_is_refused() -> None:
    with pytest.raises(SettingsError, match="both"):
        task_loss(binary(), torch.zeros(2), torch.zeros(2).double(), replace(SHAPE, imbalance="both"))


@pytest.mark.parametrize("positives", [0.0, 1.0])
@pytest.mark.parametrize("imbalance", REMEDIES[1:])
def test_a_remedy_that_needs_the_prevalence_refuses_a_single_class(positives: float, imbalance: str) -> None:
    task = replace(binary(), positives=positives)
    with pytest.raises(ContractError, match="share of positives"):
        task_loss(task, torch.zeros(2), torch.zeros(2).double(), replace(SHAPE, imbalance=imbalance))


@MANY
@given(positives=st.floats(0.001, 0.999))
def test_positives_weigh_negatives_over_positives_within_bounds(positives: float) -> None:
    task, shape = replace(binary(), positives=positives), replace(SHAPE, imbalance="pos_weight_bce")
    ratio = float(task_loss(task, torch.zeros(1), torch.ones(1).double(), shape)) / math.log(2)
    assert ratio == pytest.approx(min(max((1 - positives) / positives, 1.0), 50.0), rel=1e-4)


@MANY
@given(positives=st.floats(0.01, 0.99), z=st.floats(-5, 5), y=st.sampled_from([0.0, 1.0]))
def test_logit_adjustment_is_cross_entropy_of_the_logit_plus_the_prior_log_odds(
    positives: float, z: float, y: float
) -> None:
    task, shape = replace(binary(), positives=positives), replace(SHAPE, imbalance="bce_logit_adjust")
    expected = bce(torch.tensor([z + math.log(positives / (1 - positives))]), torch.tensor([y]))
    found = task_loss(task, torch.tensor([z]), torch.tensor([y]).double(), shape)
    assert float(found) == pytest.approx(float(expected), rel=1e-4, abs=1e-6)


def test_under_logit_adjustment_a_feature_free_logit_is_zero_at_the_optimum() -> None:
    """What the model emits is free of the prevalence; calibration, not the loss, brings it back."""
    y = torch.tensor([1.0] * 5 + [0.0] * 95).double()
    z = torch.zeros(100, requires_grad=True)
    task = replace(binary(), positives=0.05)
    task_loss(task, z, y, replace(SHAPE, imbalance="bce_logit_adjust")).backward()
    assert float(z.grad.sum()) == pytest.approx(0, abs=1e-6)


@pytest.mark.rule("R30")
@MANY
@given(weights=st.tuples(st.floats(0.1, 5), st.floats(0.1, 5)), smoothing=st.floats(0, 0.05), seed=st.integers(0, 1000))
def test_validation_loss_is_the_plain_sum_whatever_weighs_or_regularises_training(
    weights: tuple[float, float], smoothing: float, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = {"b": torch.randn(12, generator=generator), "m": torch.randn(12, 3, generator=generator)}
    labels = {"b": torch.arange(12).remainder(2).double(), "m": torch.arange(12).remainder(3).double()}
    tasks = [binary(), multiclass(3)]
    weighed = [replace(task, weight=w) for task, w in zip(tasks, weights, strict=True)]
    found = validation_loss(weighed, logits, labels, replace(SHAPE, label_smoothing=smoothing))
    assert found == pytest.approx(float(sum(task_losses(tasks, logits, labels, SHAPE).values())), rel=1e-6)


def test_validation_loss_without_any_label_is_not_zero() -> None:
    assert math.isnan(validation_loss([binary()], {"b": torch.zeros(2)}, {"b": torch.tensor([NAN, NAN])}, SHAPE))
