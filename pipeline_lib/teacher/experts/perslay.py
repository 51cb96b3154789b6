"""PersLay: the shape of spending, read off persistence diagrams.

Paper: Carriere et al., "PersLay: A Neural Network Layer for Persistence Diagrams", AISTATS 2020.

    F_k = rho( w(b, d) phi_k(b, d) : points of block k ),   a block per window and homology dimension
    out = LN(Linear(MLP([F_1 .. F_K, MLP(stats), phase])))            rows with a point in some diagram
    out = LN(Linear(MLP([stats, phase])))                             rows with statistics alone

Input diagrams: window -> (B, P, 3) points (birth, death, dimension) with their count (B,); columns ``tda_*`` (stats)
and ``phase_transition`` of x; output (B, out_dim). ``diag["path"]`` (B,) says which line a row took: 2 diagrams, 1
statistics, 0 neither. How ours differs: the published ratio d / (b + eps) is replaced (``geometry/points.py``), and
padding is never seen, because valid points are listed first and pooled per row. Source: teacher.md section 5.5.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from pipeline_lib.settings.teacher import experts as settings
from pipeline_lib.teacher.contract import Inputs
from pipeline_lib.teacher.experts.base import Columns, Expert, ExpertOut, columns_in
from pipeline_lib.teacher.frame import Batch
from pipeline_lib.teacher.geometry.points import PointBlock, listed
from pipeline_lib.teacher.layers import in_float32, mlp

STATS, PHASE = "tda_", "phase_transition"
NEITHER, STATISTICS, DIAGRAMS = 0, 1, 2
_STATS_DIM = 32


def lacks(inputs: Inputs, options: settings.PersLay) -> str | None:
    return None if inputs.bars or columns(inputs) else "the source has no diagram and no statistics of one"


def columns(inputs: Inputs) -> tuple[int, ...]:
    stats, phase = _split(inputs)
    return stats + phase


def build(inputs: Inputs, options: settings.PersLay) -> PersLay:
    o, (stats, phase) = options, _split(inputs)
    blocks = {
        (window, dimension): PointBlock(o.point_dim, o.phi, o.weight, o.pool)
        for window, _, dimensions in inputs.bars
        for dimension in dimensions
    }
    return PersLay(blocks, stats, phase, (o.point_dim, o.hidden, o.out_dim), o.dropout)


def _split(inputs: Inputs) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Statistics of whole diagrams, and how the shape changed."""
    read = inputs.reads("perslay")
    stats = columns_in(group for group in read if group.name.startswith(STATS))
    return stats, columns_in(group for group in read if group.name == PHASE)


class PersLay(Expert):
    """``blocks`` are named by window and dimension. ``widths``: of a block, the hidden layer and the output."""

    def __init__(
        self,
        blocks: dict[tuple[str, int], PointBlock],
        stats: Sequence[int],
        phase: Sequence[int],
        widths: tuple[int, int, int],
        dropout: float,
    ) -> None:
        super().__init__()
        point_dim, hidden, self.out_dim = widths
        self._blocks = list(blocks)
        self.stats, self.phase = Columns(stats), Columns(phase)
        flat = len(stats) + len(phase)
        if blocks:
            self.blocks = nn.ModuleList(blocks.values())
            self.summary = mlp(len(stats), [_STATS_DIM] if stats else [], dropout)
            width = point_dim * len(blocks) + (_STATS_DIM if stats else 0) + len(phase)
            self.join = nn.Sequential(*mlp(width, [hidden], dropout), nn.Linear(hidden, self.out_dim))
        if flat:
            self.fallback = nn.Sequential(
                *mlp(flat, [point_dim, point_dim], dropout), nn.Linear(point_dim, self.out_dim)
            )
        self.norm = nn.LayerNorm(self.out_dim)

    def forward(self, batch: Batch) -> ExpertOut:
        stats, phase, path = self.stats(batch.x), self.phase(batch.x), self._path(batch)
        found = []
        if self._blocks:
            found.append(self.join(torch.cat([*self._summaries(batch), self.summary(stats), phase], dim=1)))
        if self.stats.width + self.phase.width:
            found.append(self.fallback(torch.cat([stats, phase], dim=1)))
        h = torch.where((path == DIAGRAMS)[:, None], found[0], found[-1])  # (B, out_dim)
        return ExpertOut(self.norm(h), diag={"path": path})

    def fed(self, batch: Batch) -> Tensor:
        return self._path(batch) != NEITHER

    def _path(self, batch: Batch) -> Tensor:
        """What each row has: points, else a statistic that is defined (an undefined one is 0). (B,) int64."""
        drawn = torch.zeros_like(batch.length, dtype=torch.bool)
        for window in {window for window, _ in self._blocks}:
            drawn = drawn | (batch.bars[window].count > 0)
        stated = (self.stats(batch.x) != 0).any(1) | (self.phase(batch.x) != 0).any(1)
        return torch.where(drawn, DIAGRAMS, torch.where(stated, STATISTICS, NEITHER))

    def _summaries(self, batch: Batch) -> Iterator[Tensor]:
        """One vector per block. -> K x (B, point_dim)."""
        with in_float32(batch.x.device):
            for (window, dimension), block in zip(self._blocks, self.blocks, strict=True):
                points, row = listed(batch.bars[window], dimension)
                yield block(points, row, len(batch.x)).to(batch.x.dtype)
