"""Towers: the per-task heads. All towers have the same widths, so those of a level run as one batched network.

Shapes: (B, t, H) -> {task: (B,) or (B, K)}. They return logits only; no activation, ever: cross-entropy on values
that already passed a sigmoid has a floor of ln(1 + (C - 1)/e). Source: teacher.md section 10.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pipeline_lib.teacher.layers import TaskLinear, TaskNorm


class Towers(nn.Module):
    def __init__(
        self, names: Sequence[str], outs: Sequence[int], in_dim: int, hidden: Sequence[int], dropout: float
    ) -> None:
        super().__init__()
        self.names = tuple(names)
        own = range(len(names))
        parts: list[nn.Module] = []
        for width in hidden:
            parts += [TaskLinear(in_dim, width, own), TaskNorm(width, own), nn.SiLU(), nn.Dropout(dropout)]
            in_dim = width
        self.body = nn.ModuleList(parts)
        self.heads = nn.ModuleList(nn.Linear(in_dim, out) for out in outs)

    def forward(self, h: Tensor, which: Sequence[int]) -> list[Tensor]:
        """Logits of the tasks ``which``, whose states are h (B, len(which), H)."""
        for part in self.body:
            h = part(h, which) if isinstance(part, (TaskLinear, TaskNorm)) else part(h)
        logits = [self.heads[task](h[:, k]).float() for k, task in enumerate(which)]  # t x (B, out)
        return [z if z.shape[1] > 1 else z[:, 0] for z in logits]


def activated(logit: Tensor, kind: str, mean: float, std: float) -> Tensor:
    """Probability, class probabilities, or the value in label units. Same shape as the logit."""
    if kind == "binary":
        return torch.sigmoid(logit)
    if kind == "multiclass":
        return torch.softmax(logit, dim=-1)
    return logit * std + mean
