"""Twin: a plain network of an expert's size on what the expert reads. Does the expert's structure do anything?

    out = LN(Linear(MLP(flat)))

``flat`` (B, W) is the expert's columns of x; for LightGCN and the learned category tree also the edges; for the
sequence and the diagrams, whose structure is the very question, what is left without it: the mean of the valid steps
with their number and the last silence, and per window and dimension the mean of the valid points with their number.
Two hidden layers of one width, found so that the parameters are as many as the expert's. Output (B, out_dim).
Source: teacher.md section 5, common rules.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from pipeline_lib.teacher.contract import Inputs
from pipeline_lib.teacher.experts.base import Columns, Expert, ExpertOut
from pipeline_lib.teacher.experts.hgcn import HGCN
from pipeline_lib.teacher.experts.lightgcn import LightGCN
from pipeline_lib.teacher.frame import Batch
from pipeline_lib.teacher.geometry.points import listed
from pipeline_lib.teacher.layers import mlp

_POINT = 3
"""Numbers of a block: mean birth, mean death, ln(1 + points)."""


def twin_of(name: str, expert: Expert, inputs: Inputs, columns: Sequence[int], dropout: float) -> Twin:
    """A twin of a built expert, with the same rows available."""
    walks = isinstance(expert, LightGCN) or (isinstance(expert, HGCN) and expert.tree is not None)
    edges = len(inputs.items) if walks else 0
    channels = inputs.channels if name == "temporal" else 0
    blocks = [(w, d) for w, _, dimensions in inputs.bars for d in dimensions] if name == "perslay" else []
    size = sum(parameter.numel() for parameter in expert.parameters())
    twin = Twin(columns, edges, channels, blocks, size, expert.out_dim, dropout)
    twin.bit = expert.bit
    return twin


class Twin(Expert):
    """``edges``, ``channels`` and ``blocks`` are what is read beside the columns; ``size`` the parameters to match."""

    def __init__(
        self,
        columns: Sequence[int],
        edges: int,
        channels: int,
        blocks: Sequence[tuple[str, int]],
        size: int,
        out_dim: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.out_dim = out_dim
        self.read_x = Columns(columns)
        self._edges, self._channels, self._blocks = edges > 0, channels > 0, list(blocks)
        width = len(columns) + edges + (channels + 3 if channels else 0) + _POINT * len(blocks)
        hidden = matching_width(width, out_dim, size)
        self.stack = nn.Sequential(*mlp(width, [hidden, hidden], dropout), nn.Linear(hidden, out_dim))
        self.norm = nn.LayerNorm(out_dim)

    def forward(self, batch: Batch) -> ExpertOut:
        return ExpertOut(self.norm(self.stack(self.flat(batch))))  # (B, out_dim)

    def fed(self, batch: Batch) -> Tensor:
        return (self.flat(batch) != 0).any(dim=1)

    def flat(self, batch: Batch) -> Tensor:
        """(B, W)."""
        return torch.cat(list(self._parts(batch)), dim=1)

    def _parts(self, batch: Batch) -> Iterator[Tensor]:
        yield self.read_x(batch.x)
        if self._edges:
            yield batch.edges
        if self._channels:
            yield from _steps(batch)
        for window, dimension in self._blocks:
            points, row = listed(batch.bars[window], dimension)
            count = torch.bincount(row, minlength=len(batch.x))[:, None].to(points)  # (B, 1)
            total = torch.zeros(len(batch.x), 2, dtype=points.dtype, device=points.device).index_add(0, row, points)
            yield torch.cat([total / count.clamp(min=1), count.log1p()], dim=1)


def _steps(batch: Batch) -> Iterator[Tensor]:
    """Mean step, mean ln(1 + days between), ln(1 + steps), ln(1 + silence): all 0 in a row without any."""
    valid = torch.arange(batch.steps.shape[1], device=batch.x.device) < batch.length[:, None]  # (B, L)
    count = batch.length[:, None].to(batch.x.dtype)  # (B, 1)
    yield (batch.steps * valid[..., None]).sum(1) / count.clamp(min=1)
    yield (batch.days.log1p() * valid).sum(1, keepdim=True) / count.clamp(min=1)
    yield count.log1p()
    yield batch.gap.log1p()[:, None] * (count > 0)


def matching_width(in_dim: int, out_dim: int, size: int) -> int:
    """Hidden width h with h^2 + h (in + out + 6) + 3 out = size: two layers with norms, the output and its norm."""
    slope = in_dim + out_dim + 6
    room = slope**2 + 4 * max(0, size - 3 * out_dim)
    return max(2, round((math.sqrt(room) - slope) / 2))
