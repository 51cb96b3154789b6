"""A number as how far it has come through each of its bins, then one linear map per number.

Paper: Gorishniy, Rubachev, Babenko, "On Embeddings for Numerical Features in Tabular Deep Learning", NeurIPS 2022.

    e_p = clip((z - lo_p) / (hi_p - lo_p), 0, 1) for bins p = 1..P;   out = relu(W e + b)

Within a bin the code still grows, which an id of the bin cannot say. Bins are ``bins.Fields.knots`` of train rows.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline_lib.teacher.layers import TaskLinear


class PiecewiseLinear(nn.Module):
    """Numbers (B, V) -> (B, V * dim). Columns with fewer bins than the longest have bins that no value reaches."""

    low: Tensor
    step: Tensor

    def __init__(self, knots: Sequence[NDArray[np.float64]], dim: int) -> None:
        super().__init__()
        longest = max(len(own) for own in knots) - 1
        low, step = torch.full((len(knots), longest), 1e9), torch.ones(len(knots), longest)
        for k, own in enumerate(torch.from_numpy(one).float() for one in knots):
            low[k, : len(own) - 1], step[k, : len(own) - 1] = own[:-1], own.diff()
        self.register_buffer("low", low, persistent=False)
        self.register_buffer("step", step, persistent=False)
        self.width = len(knots) * dim
        self.linear = TaskLinear(longest, dim, range(len(knots)))

    def code(self, z: Tensor) -> Tensor:
        """(B, V) -> (B, V, P) in [0, 1]."""
        return ((z[..., None] - self.low) / self.step).clamp(0, 1)

    def forward(self, z: Tensor) -> Tensor:
        out: Tensor = self.linear(self.code(z)).relu().flatten(1)
        return out
