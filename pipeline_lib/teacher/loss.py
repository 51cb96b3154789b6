"""Task losses on raw logits: one number per task that has a label in the batch.

All in float32 with autocast off. A batch without positives still has a loss (skipping it would bias the
calibration); a task without any label in the batch is absent. Source: teacher.md section 10.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline_lib.teacher.contract import TaskSpec
from pipeline_lib.teacher.layers import in_float32


@dataclass(frozen=True)
class LossShape:
    """Numbers the losses share. ``huber_delta`` is in standard deviations of the label."""

    focal_gamma: float
    huber_delta: float
    label_smoothing: float


def focal(logit: Tensor, label: Tensor, alpha: float, gamma: float) -> Tensor:
    """-alpha_t (1 - p_t)^gamma ln p_t in logit form: finite with finite gradient for any logit. (B,) -> (B,).

    Source: Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017.
    """
    signed = (2 * label - 1) * logit
    alpha_t = label * alpha + (1 - label) * (1 - alpha)
    return -alpha_t * torch.exp(gamma * F.logsigmoid(-signed)) * F.logsigmoid(signed)


def task_loss(task: TaskSpec, logit: Tensor, label: Tensor, shape: LossShape) -> Tensor | None:
    """Mean loss over the rows that carry the label (NaN = masked), or None. logit (B,) or (B, K), label (B,)."""
    known = ~label.isnan()
    if not known.any():
        return None
    z, y = logit[known].float(), label[known]
    if task.kind == "binary":
        assert task.focal_alpha is not None  # noqa: S101  tasks.yaml is validated
        return focal(z, y.float(), task.focal_alpha, shape.focal_gamma).mean()
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
