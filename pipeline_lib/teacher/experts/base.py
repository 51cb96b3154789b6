"""What every expert has in common.

Each ends in a LayerNorm with nothing after it, so that E||h||^2 is about its width for all and the gates compare
like with like. Source: teacher.md section 5, common rules.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from pipeline_lib.teacher.contract import Group
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
    bit: int | None = None
    """Column of x that says which rows have this expert's input; None: the schema has none, the data say it."""

    @abstractmethod
    def forward(self, batch: Batch) -> ExpertOut:
        """(B, ...) -> (B, d); finite for every row, also for rows without this expert's input."""

    def available(self, batch: Batch) -> Tensor:
        """Rows that have this expert's input, by the features stage's own bit where it gives one. (B,) bool."""
        return self.fed(batch) if self.bit is None else batch.x[:, self.bit] > 0.5

    def fed(self, batch: Batch) -> Tensor:
        """The same from the data alone. (B,) bool; the tables of x are never missing."""
        return torch.ones(len(batch.x), dtype=torch.bool, device=batch.x.device)

    def fit_structure(self, frame: Frame, rows: Tensor) -> None:
        """Learn what stays fixed (a graph, say) from the train ``rows``, before training. Most experts have nothing."""

    def set_progress(self, share: float) -> None:
        """Told before every step how much of phase 1 is done [0..1]; for weights that rise over training."""


def columns_in(groups: Iterable[Group]) -> tuple[int, ...]:
    """Columns of some groups, in their order."""
    return tuple(i for group in groups for i in range(group.start, group.end))


class Columns(nn.Module):
    """The columns of x that an expert reads, as one tensor. (B, F) -> (B, width); a view where they are contiguous."""

    at: Tensor

    def __init__(self, columns: Sequence[int]) -> None:
        super().__init__()
        self.width = len(columns)
        first = columns[0] if columns else 0
        whole = list(columns) == list(range(first, first + len(columns)))
        self._range = (first, first + len(columns)) if whole else None
        self.register_buffer("at", torch.tensor(list(columns), dtype=torch.long), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return x[:, slice(*self._range)] if self._range else x[:, self.at]
