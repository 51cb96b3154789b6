"""The causal expert alone: what it says about rows, and how that changes with its columns.

    s(x) = r . h(x)        h (B, d) the expert's block, r (d,) a fixed readout of length 1

The readout is the direction in which the block varies most over the fit rows (its first principal component).
How ours differs from the published target, which is the plain sum of h: every expert ends in a LayerNorm, and the
sum of a normalised vector is the same for every input (0 before its learned scale), so the gradient of that sum is
what the scale happened to leave over and not what the expert tells rows apart by.
Source: teacher.md 5 (common rules) and 17. ``B`` batch, ``F`` columns of the expert.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor, nn

from pipeline_lib.teacher.experts.base import Expert, ExpertOut
from pipeline_lib.teacher.frame import Batch
from pipeline_lib.teacher.layers import in_float32

LATENT = "z_raw"


class CausalView:
    """The expert with the places of its columns in x. In float32, without dropout, and without a trace on the model."""

    def __init__(self, expert: Expert, columns: Sequence[int]) -> None:
        self.expert = expert
        self.columns = tuple(columns)

    def look(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Block (B, d) and latent before its normalisation (B, m), which still knows how far out a row is."""
        with torch.no_grad():
            out = self._run(batch)
        return out.h.float(), out.diag[LATENT].float()

    def block(self, batch: Batch) -> Tensor:
        return self.look(batch)[0]

    def latent(self, batch: Batch) -> Tensor:
        return self.look(batch)[1]

    def own(self, x: Tensor) -> Tensor:
        """The expert's columns. (B, all columns) -> (B, F)."""
        return x[:, self._at(x.device)]

    def with_own(self, batch: Batch, values: Tensor) -> Batch:
        """The batch with other values (B, F) in the expert's columns."""
        x = batch.x.clone()
        x[:, self._at(x.device)] = values
        return replace(batch, x=x)

    def gradient_times_input(self, batch: Batch, readout: Tensor) -> Tensor:
        """(ds/dx) * x of the expert's columns, (B, F)."""
        leaf = batch.x.detach().float().requires_grad_()
        with torch.enable_grad():
            value = self._run(replace(batch, x=leaf)).h.float() @ readout  # (B,)
            (slope,) = torch.autograd.grad(value.sum(), leaf)  # rows do not mix: one pass serves them all
        return self.own(slope * leaf.detach())

    def _run(self, batch: Batch) -> ExpertOut:
        with evaluating(self.expert), in_float32(batch.x.device):
            out: ExpertOut = self.expert(batch)
        return out

    def _at(self, device: torch.device) -> Tensor:
        return torch.tensor(self.columns, device=device)


def main_direction(blocks: Tensor) -> Tensor:
    """The unit vector along which blocks (n, d) vary most; its largest entry is positive. (d,) float32."""
    centred = blocks.double() - blocks.double().mean(0)
    direction: Tensor = torch.linalg.eigh(centred.T @ centred).eigenvectors[:, -1]
    return (direction * direction[direction.abs().argmax()].sign()).float()


def chunks(rows: Tensor, size: int) -> tuple[Tensor, ...]:
    """Row numbers in pieces of at most ``size``; no piece where there is no row."""
    return rows.split(size) if len(rows) else ()


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode inside, and afterwards each submodule in the mode it was in."""
    before = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, mode in before.items():
            part.training = mode
