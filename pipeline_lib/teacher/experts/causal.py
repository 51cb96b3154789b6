"""Causal: directed, acyclic dependencies between latent variables, learned beside the tasks.

Paper: Zheng et al., "DAGs with NO TEARS: Continuous Optimization for Structure Learning", NeurIPS 2018.

    z     = LN(MLP(x)) in R^d                     d latent variables
    z_hat = z + z W                               W[i, j] is the edge i -> j: column j receives its parents
    out   = LN(MLP(z_hat))
    aux   = a * h(W) + b * ||W*W||_1 + c * mean (sg(z) - sg(z) W)^2,   h(W) = tr(exp(W*W)) - d, zero iff acyclic

Input (B, F), output (B, out_dim). How ours differs: edges are signed and live between learned latents, so this is
a dependency structure and no causal claim by itself. Two cures keep W from collapsing to zero, where the residual
path would let it: a start at 0.1 (not 0.01) and the reconstruction term, with the gradient to z stopped so that the
compressor cannot shrink z instead. The diagonal is held at 0. Source: teacher.md section 5.6.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pipeline_lib.settings.teacher import experts as settings
from pipeline_lib.teacher.contract import Inputs
from pipeline_lib.teacher.experts.base import Columns, Expert, ExpertOut
from pipeline_lib.teacher.frame import Batch
from pipeline_lib.teacher.layers import in_float32, mlp


def lacks(inputs: Inputs, options: settings.Causal) -> str | None:
    return None if inputs.columns_of("causal") else "no feature group is routed to it"


def build(inputs: Inputs, options: settings.Causal) -> Causal:
    weights = (options.acyclicity, options.sparsity, options.reconstruction)
    return Causal(
        inputs.columns_of("causal"),
        options.latent,
        options.hidden,
        options.out_dim,
        options.dropout,
        options.edge_init,
        weights,
    )


class Causal(Expert):
    off_diagonal: Tensor

    def __init__(
        self,
        columns: Sequence[int],
        latent: int,
        hidden: int,
        out_dim: int,
        dropout: float,
        edge_init: float,
        weights: tuple[float, float, float],
    ) -> None:
        super().__init__()
        self.out_dim = out_dim
        self.read_x = Columns(columns)
        self._weights = weights
        self.compress = nn.Sequential(*mlp(self.read_x.width, [hidden], dropout), nn.Linear(hidden, latent))
        self.edges_raw = nn.Parameter(torch.randn(latent, latent) * edge_init)
        self.register_buffer("off_diagonal", 1 - torch.eye(latent), persistent=False)
        self.level = nn.LayerNorm(latent)
        self.encode = nn.Sequential(nn.Linear(latent, hidden), nn.SiLU(), nn.Linear(hidden, out_dim))
        self.norm = nn.LayerNorm(out_dim)

    @property
    def edges(self) -> Tensor:
        """W, (d, d), with a zero diagonal."""
        return self.edges_raw * self.off_diagonal

    def forward(self, batch: Batch) -> ExpertOut:
        z = self.level(self.compress(self.read_x(batch.x)))  # (B, d)
        with in_float32(batch.x.device):
            level, w = z.float(), self.edges
            aux = structure_loss(level.detach(), w, *self._weights)
            moved = level + level @ w  # (B, d)
        return ExpertOut(self.norm(self.encode(moved.to(z.dtype))), {"structure": aux})


def structure_loss(z: Tensor, w: Tensor, acyclicity: float, sparsity: float, reconstruction: float) -> Tensor:
    """The expert's own loss. z (B, d) without gradient, w (d, d) -> scalar."""
    rebuilt = (z - z @ w).square().mean()
    return acyclicity * cyclicity(w) + sparsity * w.square().sum() + reconstruction * rebuilt


def cyclicity(w: Tensor) -> Tensor:
    """h(W) = tr(exp(W*W)) - d >= 0, zero iff the graph of W has no cycle. (d, d) -> scalar."""
    excess: Tensor = torch.linalg.matrix_exp(w * w).trace() - len(w)
    return excess
