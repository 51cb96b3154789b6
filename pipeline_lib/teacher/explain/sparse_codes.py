"""A sparse dictionary of what the experts say together, for study; trained after the teacher on dumped activations.

Paper: Cunningham et al., "Sparse Autoencoders Find Highly Interpretable Features in Language Models", ICLR 2024.

    z = ReLU((x - b) W^T + c)          codes, few of them on
    x' = z W + b                       W (width, D): tied, each row of length 1
    L = mean ||x - x'||^2 + sparsity * mean |z|_1

x (B, D) is the concatenation of all experts' blocks. Rows of W are brought back to length 1 after each step, or the
penalty on z would be paid by longer rows. A code is dead when it never fires on the rows that are measured; its bias
says nothing about that. Source: teacher.md 14.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline_lib.teacher.explain.view import chunks, evaluating
from pipeline_lib.teacher.frame import Frame
from pipeline_lib.teacher.model import Teacher


class SparseCodes(nn.Module):
    """D -> width codes -> D."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.rows = nn.Parameter(F.normalize(torch.randn(width, inputs), dim=1))
        self.centre = nn.Parameter(torch.zeros(inputs))
        self.bias = nn.Parameter(torch.zeros(width))

    def encode(self, x: Tensor) -> Tensor:
        """(B, D) -> (B, width), not negative."""
        return torch.relu((x - self.centre) @ self.rows.T + self.bias)

    def decode(self, codes: Tensor) -> Tensor:
        return codes @ self.rows + self.centre

    @torch.no_grad()
    def project(self) -> None:
        """Rows back to length 1."""
        self.rows.copy_(F.normalize(self.rows, dim=1))

    def loss(self, x: Tensor, sparsity: float) -> Tensor:
        codes = self.encode(x)
        return (x - self.decode(codes)).square().sum(1).mean() + sparsity * codes.abs().sum(1).mean()


@dataclass(frozen=True)
class Firing:
    """How the dictionary is used: share of variance explained, mean codes on per row, share of codes never on."""

    explained: float | None
    mean_active: float
    dead: float

    def to_dict(self) -> dict[str, Any]:
        return dict(self.__dict__)


@torch.no_grad()
def activations(model: Teacher, frame: Frame, rows: Tensor, batch_rows: int, device: torch.device) -> Tensor:
    """The experts' blocks side by side. (n, D) on the CPU."""
    with evaluating(model):
        seen = [model.perceive(frame.batch(chunk).to(device)).blocks for chunk in chunks(rows, batch_rows)]
    return torch.cat([torch.cat(blocks, dim=1).cpu() for blocks in seen])


def fit_codes(
    x: Tensor, *, width: int, sparsity: float, epochs: int, rate: float, batch_rows: int, seed: int
) -> SparseCodes:
    """Train on dumped activations (n, D)."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        codes = SparseCodes(x.shape[1], width)
    with torch.no_grad():
        codes.centre.copy_(x.mean(0))
    optimiser, shuffle = torch.optim.Adam(codes.parameters(), rate), torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        for chunk in torch.randperm(len(x), generator=shuffle).split(batch_rows):
            optimiser.zero_grad()
            codes.loss(x[chunk], sparsity).backward()
            optimiser.step()
            codes.project()
    return codes


@torch.no_grad()
def firing(codes: SparseCodes, x: Tensor) -> Firing:
    """Measured on ``x`` (n, D)."""
    z = codes.encode(x)
    total = float((x - x.mean(0)).square().sum())
    left = float((x - codes.decode(z)).square().sum())
    on = z > 0
    return Firing(
        1 - left / total if total > 0 else None, float(on.sum(1).float().mean()), float((~on.any(0)).float().mean())
    )
