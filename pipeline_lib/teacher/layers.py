"""Layers that hold one weight per task: thirteen small products become one batched product.

``B`` batch, ``T`` tasks, ``G`` encoders shared by tasks, ``D`` widths.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class TaskLinear(nn.Module):
    """y_t = x_t W_g(t) + b_g(t), where g maps tasks to weights (by default each task has its own).

    Shapes: (B, T, D_in) or (B, D_in) -> (B, T, D_out). Initialised like ``nn.Linear``.
    """

    owner: Tensor

    def __init__(self, in_dim: int, out_dim: int, owner: Sequence[int]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(max(owner) + 1, in_dim, out_dim))
        self.bias = nn.Parameter(torch.empty(max(owner) + 1, out_dim))
        self.register_buffer("owner", torch.tensor(owner), persistent=False)
        self._own = list(owner) == list(range(len(owner)))
        bound = 1 / math.sqrt(in_dim)
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, x: Tensor, only: Sequence[int] | None = None) -> Tensor:
        """``only`` are the tasks that x holds; all of them by default."""
        weight, bias = self._of_tasks(only)  # (T, D_in, D_out), (T, D_out)
        if x.dim() == 2:  # one input for all tasks: their weights side by side are one wide product
            wide = weight.transpose(0, 1).flatten(1)  # (D_in, T * D_out)
            rows: Tensor = torch.addmm(bias.flatten(), x, wide).unflatten(1, bias.shape)
            return rows
        return torch.baddbmm(bias[:, None], x.transpose(0, 1), weight).transpose(0, 1)  # (B, T, D_out)

    def _of_tasks(self, only: Sequence[int] | None) -> tuple[Tensor, Tensor]:
        """Weight and bias of each task; where every task owns its own, no copy is made."""
        if self._own and (only is None or len(only) == len(self.owner)):
            return self.weight, self.bias
        owner = self.owner if only is None else self.owner[list(only)]
        return self.weight[owner], self.bias[owner]


class TaskNorm(nn.Module):
    """LayerNorm over the last axis with a scale and shift per weight owner. Shape (B, T, D) -> (B, T, D)."""

    owner: Tensor

    def __init__(self, dim: int, owner: Sequence[int]) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(max(owner) + 1, dim))
        self.shift = nn.Parameter(torch.zeros(max(owner) + 1, dim))
        self.register_buffer("owner", torch.tensor(owner), persistent=False)

    def forward(self, x: Tensor, only: Sequence[int] | None = None) -> Tensor:
        owner = self.owner if only is None else self.owner[list(only)]
        return F.layer_norm(x, x.shape[-1:]) * self.scale[owner] + self.shift[owner]


class TaskMLP(nn.Module):
    """Linear, LayerNorm, SiLU, Dropout per hidden width, then Linear, LayerNorm. (B, T, D_in) -> (B, T, D_out)."""

    def __init__(self, in_dim: int, hidden: Sequence[int], out_dim: int, dropout: float, owner: Sequence[int]) -> None:
        super().__init__()
        parts: list[nn.Module] = []
        for width in hidden:
            parts += [TaskLinear(in_dim, width, owner), TaskNorm(width, owner), nn.SiLU(), nn.Dropout(dropout)]
            in_dim = width
        self.stack = nn.Sequential(*parts, TaskLinear(in_dim, out_dim, owner), TaskNorm(out_dim, owner))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.stack(x)
        return out


def mlp(in_dim: int, hidden: Sequence[int], dropout: float) -> nn.Sequential:
    """Linear, LayerNorm, SiLU, Dropout per width. (B, D_in) -> (B, hidden[-1])."""
    parts: list[nn.Module] = []
    for width in hidden:
        parts += [nn.Linear(in_dim, width), nn.LayerNorm(width), nn.SiLU(), nn.Dropout(dropout)]
        in_dim = width
    return nn.Sequential(*parts)


@contextmanager
def in_float32(device: torch.device) -> Iterator[None]:
    """Autocast off and, on CUDA, no TF32 products: for sums that cancel, scans, matrix exponentials, all losses."""
    with torch.autocast(device_type=device.type, enabled=False):
        if device.type != "cuda":
            yield
            return
        products = torch.backends.cuda.matmul
        before = products.fp32_precision
        products.fp32_precision = "ieee"
        try:
            yield
        finally:
            products.fp32_precision = before
