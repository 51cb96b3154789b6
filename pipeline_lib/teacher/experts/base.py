"""What every expert has in common.

Each ends in a LayerNorm with nothing after it, so that E||h||^2 is about its width for all and the gates compare
like with like. Source: teacher.md section 5, common rules.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from pipeline_lib.teacher.frame import Batch, Frame


@dataclass(frozen=True)
class ExpertOut:
    """``h`` (B, d); ``aux`` scalar losses of the expert's own structure; ``diag`` tensors (B, ...) for explanation."""

    h: Tensor
    aux: dict[str, Tensor] = field(default_factory=dict)
    diag: dict[str, Tensor] = field(default_factory=dict)


class Expert(nn.Module, ABC):
    """A feature extractor with a name. ``out_dim`` is the width d of what it returns."""

    out_dim: int

    @abstractmethod
    def forward(self, batch: Batch) -> ExpertOut:
        """(B, ...) -> (B, d); finite for every row, also for rows without this expert's input."""

    def available(self, batch: Batch) -> Tensor:
        """Rows that have this expert's input. (B,) bool; the tables of x are never missing."""
        return torch.ones(len(batch.x), dtype=torch.bool, device=batch.x.device)

    def fit_structure(self, frame: Frame, rows: Tensor) -> None:
        """Learn what stays fixed (a graph, say) from the train ``rows``, before training. Most experts have nothing."""

    def set_progress(self, share: float) -> None:
        """Told before every step how much of phase 1 is done [0..1]; for weights that rise over training."""


class Columns(nn.Module):
    """The columns of x that an expert reads, as one tensor. (B, F) -> (B, width); a view where they are contiguous."""

    at: Tensor

    def __init__(self, columns: Sequence[int]) -> None:
        super().__init__()
        self.width = len(columns)
        whole = list(columns) == list(range(columns[0], columns[0] + len(columns)))
        self._range = (columns[0], columns[0] + len(columns)) if whole else None
        self.register_buffer("at", torch.tensor(list(columns)), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return x[:, slice(*self._range)] if self._range else x[:, self.at]
