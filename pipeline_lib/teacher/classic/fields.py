"""A table's row as one vector: all ids in one gather, numbers beside their bins.

    x = [concat_f table[id_f], z, piecewise(z)]          (B, F) int, (B, V) -> (B, F d + V + P)

One table for all fields: ids carry their field's offset (``bins.Fields.encode``), so F small gathers are one. Each
field's rows start as ``nn.Embedding`` of that field alone would with the standard deviation ``std``.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class FieldLayer(nn.Module):
    """(B, F) and (B, V) -> (B, width). ``width`` = F d + V."""

    def __init__(self, sizes: Sequence[int], numbers: int, dim: int, std: float, dropout: float = 0.0) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(sum(sizes), dim) * std)
        self.drop = nn.Dropout(dropout)
        self.width = len(sizes) * dim + numbers

    def forward(self, ids: Tensor, numbers: Tensor) -> Tensor:
        embedded = F.embedding(ids, self.table).flatten(1)  # (B, F d)
        out: Tensor = self.drop(torch.cat([embedded, numbers], dim=1))
        return out
