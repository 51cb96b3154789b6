"""Losses of the prediction tasks: one scalar per task that has a label in the batch.

All in float32 with autocast off. A batch without positives still has a loss (skipping it would bias the
calibration); a task without any label in the batch is absent. Rare positives have exactly one remedy: ``focal``,
``pos_weight_bce`` or ``bce_logit_adjust``. The last adds ln(p / (1 - p)) to the logit inside the loss and nowhere
else, so that logits everywhere else (metrics, soft labels) are the balanced ones; calibration, whose bias is free for
binary tasks, brings the prevalence back. Source: teacher.md section 10.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline_lib.errors import ContractError, SettingsError
from pipeline_lib.teacher.contract import TaskSpec
from pipeline_lib.teacher.layers import in_float32


@dataclass(frozen=True)
class LossShape:
    """Numbers the losses share. ``huber_delta`` is in standard deviations of the label."""

    focal_gamma: float
    huber_delta: float
    label_smoothing: float
    imbalance: str
    pos_weight_range: tuple[float, float]


def focal(logit: Tensor, label: Tensor, alpha: float, gamma: float) -> Tensor:
    """-alpha_t (1 - p_t)^gamma ln p_t in logit form: finite with finite gradient for any logit. (B,) -> (B,).

    Source: Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017.
    """
    signed = (2 * label - 1) * logit
    alpha_t = label * alpha + (1 - label) * (1 - alpha)
    return -alpha_t * torch.exp(gamma * F.logsigmoid(-signed)) * F.logsigmoid(signed)


def weighted_bce(logit: Tensor, label: Tensor, positives: float, bounds: tuple[float, float]) -> Tensor:
    """Cross-entropy whose positives weigh negatives / positives, within bounds. (B,) -> (B,)."""
    weight = min(max((1 - positives) / positives, bounds[0]), bounds[1])
    return F.binary_cross_entropy_with_logits(logit, label, pos_weight=logit.new_tensor(weight), reduction="none")


def adjusted_bce(logit: Tensor, label: Tensor, positives: float) -> Tensor:
    """Cross-entropy of logit + ln(p / (1 - p)): the logit itself is then free of the prevalence. (B,) -> (B,).

    Source: Menon et al., "Long-tail learning via logit adjustment", ICLR 2021.
    """
    return F.binary_cross_entropy_with_logits(logit + math.log(positives / (1 - positives)), label, reduction="none")


def binary_loss(task: TaskSpec, logit: Tensor, label: Tensor, shape: LossShape) -> Tensor:
    """Loss of each row under the one configured remedy. (B,) -> (B,).

    Raises:
        ContractError: the remedy needs the share of positives, and train rows have one class only.
        SettingsError: no such remedy.
    """
    if shape.imbalance == "focal":
        assert task.focal_alpha is not None  # noqa: S101  tasks.yaml is validated
        return focal(logit, label, task.focal_alpha, shape.focal_gamma)
    if not 0 < task.positives < 1:
        raise ContractError(f"task {task.name}: share of positives is {task.positives}, expected between 0 and 1")
    if shape.imbalance == "pos_weight_bce":
        return weighted_bce(logit, label, task.positives, shape.pos_weight_range)
    if shape.imbalance == "bce_logit_adjust":
        return adjusted_bce(logit, label, task.positives)
    raise SettingsError(f"teacher.yaml: loss.imbalance {shape.imbalance} is unknown")


def task_loss(task: TaskSpec, logit: Tensor, label: Tensor, shape: LossShape) -> Tensor | None:
    """Mean loss over the rows that carry the label (NaN = masked), or None. logit (B,) or (B, K), label (B,)."""
    known = ~label.isnan()
    if not known.any():
        return None
    z, y = logit[known].float(), label[known]
    if task.kind == "binary":
        return binary_loss(task, z, y.float(), shape).mean()
    if task.kind == "multiclass":
        weights = torch.tensor(task.class_weights, device=z.device)
        row = F.cross_entropy(z, y.long(), reduction="none", label_smoothing=shape.label_smoothing)  # (b,)
        return (row * weights[y.long()]).mean()
    return F.huber_loss(z, ((y - task.mean) / task.std).float(), delta=shape.huber_delta)


def task_losses(
    tasks: Sequence[TaskSpec], logits: Mapping[str, Tensor], labels: Mapping[str, Tensor], shape: LossShape
) -> dict[str, Tensor]:
    """Task -> scalar, without the tasks that no row of the batch carries."""
    some = next(iter(logits.values()))
    with in_float32(some.device):
        found = {t.name: task_loss(t, logits[t.name], labels[t.name], shape) for t in tasks}
    return {name: loss for name, loss in found.items() if loss is not None}


@torch.no_grad()
def validation_loss(
    tasks: Sequence[TaskSpec], logits: Mapping[str, Tensor], labels: Mapping[str, Tensor], shape: LossShape
) -> float:
    """Sum of the task losses with unit weights, no transfer and no regulariser; NaN where no task has a label.

    Learned weights drift for dozens of epochs: a loss that holds them falls without anything being learnt. A watched
    number, never a criterion of selection. Source: teacher.md section 11.
    """
    plain = replace(shape, label_smoothing=0.0)
    losses = task_losses(tasks, logits, labels, plain)
    return float(torch.stack(list(losses.values())).sum()) if losses else float("nan")
