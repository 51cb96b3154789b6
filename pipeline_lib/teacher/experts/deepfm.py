"""DeepFM: symmetric pairwise crosses of feature fields beside a deep network on the same embeddings.

Paper: Guo et al., "DeepFM: A Factorization-Machine based Neural Network for CTR Prediction", IJCAI 2017.

    v_f   = Linear_f(x_f)                                   one embedding per field, shared by both halves
    y_FM  = 1/n * 0.5 * [ (sum_f v_f)^2 - sum_f v_f^2 ]     = 1/n * sum_{f<g} v_f * v_g
    out   = LN(Linear([y_FM, MLP([v_1 .. v_n])]))

Input (B, F), output (B, out_dim). How ours differs: fields are the groups of the feature schema (dense columns,
not one-hot ids), the pairwise half keeps its k-vector instead of summing it to one number, and there is no
first-order term, which the deep half contains.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pipeline_lib.errors import SchemaError
from pipeline_lib.settings.teacher import experts as settings
from pipeline_lib.teacher.contract import RAW_BLOCK, Group, Inputs
from pipeline_lib.teacher.experts.base import Expert, ExpertOut, columns_in
from pipeline_lib.teacher.frame import Batch
from pipeline_lib.teacher.layers import in_float32, mlp


def fields_of(inputs: Inputs) -> list[Group]:
    """The groups routed here and those of block x_raw, in the order of x."""
    read = inputs.reads("deepfm")
    return [group for group in inputs.groups if group in read or group.block == RAW_BLOCK]


def lacks(inputs: Inputs, options: settings.DeepFM) -> str | None:
    found = fields_of(inputs)
    return None if len(found) > 1 else f"crosses need two feature groups, found {[group.name for group in found]}"


def columns(inputs: Inputs) -> tuple[int, ...]:
    return columns_in(fields_of(inputs))


def build(inputs: Inputs, options: settings.DeepFM) -> DeepFM:
    ranges = [(group.start, group.end) for group in fields_of(inputs)]
    return DeepFM(ranges, options.field_dim, options.hidden, options.out_dim, options.dropout)


class DeepFM(Expert):
    """``ranges`` are the fields' columns [start, end) of x; between them may lie columns that are not read."""

    def __init__(
        self, ranges: Sequence[tuple[int, int]], field_dim: int, hidden: Sequence[int], out_dim: int, dropout: float
    ) -> None:
        super().__init__()
        if len(ranges) < 2:
            raise SchemaError(f"DeepFM crosses fields and needs two feature groups, found {len(ranges)}")
        self.out_dim = out_dim
        self._ranges = tuple(ranges)
        self.embed = nn.ModuleList(nn.Linear(end - start, field_dim) for start, end in ranges)
        self.deep = mlp(field_dim * len(ranges), hidden, dropout)
        self.join = nn.Linear(field_dim + hidden[-1], out_dim)
        self.norm = nn.LayerNorm(out_dim)

    def forward(self, batch: Batch) -> ExpertOut:
        fields = self.fields(batch.x)  # (B, n, k)
        with in_float32(batch.x.device):
            crosses = pairwise(fields.float()) / len(self._ranges)  # (B, k)
        deep = self.deep(fields.flatten(1))  # (B, n*k) -> (B, hidden[-1])
        return ExpertOut(self.norm(self.join(torch.cat([crosses.to(deep.dtype), deep], dim=1))))  # (B, out_dim)

    def fields(self, x: Tensor) -> Tensor:
        """v, one embedding per field. (B, F) -> (B, n, k)."""
        parts = [x[:, start:end] for start, end in self._ranges]
        return torch.stack([embed(part) for embed, part in zip(self.embed, parts, strict=True)], dim=1)

    @torch.no_grad()
    def interactions(self, x: Tensor) -> Tensor:
        """Mean |<v_f, v_g>| over rows, how loudly two fields are crossed; 0 on the diagonal. (B, F) -> (n, n)."""
        v = self.fields(x).float()
        return (v @ v.mT).abs().mean(0).fill_diagonal_(0)


def pairwise(fields: Tensor) -> Tensor:
    """sum_{f<g} v_f * v_g in linear time; a difference of squares, so float32 at least. (B, n, k) -> (B, k)."""
    return 0.5 * (fields.sum(1).square() - fields.square().sum(1))
