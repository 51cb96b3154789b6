"""Causal: directed, acyclic dependencies between latent variables, learned beside the tasks.

Paper: Zheng et al., "DAGs with NO TEARS: Continuous Optimization for Structure Learning", NeurIPS 2018.

    z_raw = MLP(x) in R^d,  z = LN(z_raw)         d latent variables
    z_hat = z + z G                               G = W, or W*W as published; G[i, j] is the edge i -> j
    out   = LN(MLP(z_hat))
    aux   = a * h(W) + b * ||W*W||_1 + c * mean (sg(z) - sg(z) G)^2,   h(W) = tr(exp(W*W)) - d, zero iff acyclic

Input (B, F) columns, output (B, out_dim); ``diag["z_raw"]`` (B, d) is the latent of the out-of-distribution guardrail:
a LayerNorm would erase how far out it lies. How ours differs: edges are signed and live between learned latents, so
this is a dependency structure and no causal claim by itself (``geometry/dag.py`` judges it). Two cures keep W from
collapsing to zero, where the residual path would let it: a start at 0.1 (not 0.01) and the reconstruction term, with
the gradient to z stopped so that the compressor cannot shrink z instead. The diagonal is held at 0. The weight a
rises geometrically over phase 1: edges form first and drop their cycles later. Source: teacher.md section 5.6.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pipeline_lib.settings.teacher import experts as settings
from pipeline_lib.teacher.contract import Inputs
from pipeline_lib.teacher.experts.base import Columns, Expert, ExpertOut
from pipeline_lib.teacher.frame import Batch
from pipeline_lib.teacher.geometry.dag import GraphHealth, acyclic_part, cyclicity, health
from pipeline_lib.teacher.layers import in_float32, mlp


def lacks(inputs: Inputs, options: settings.Causal) -> str | None:
    return None if columns(inputs) else "no feature group is routed to it"


def columns(inputs: Inputs) -> tuple[int, ...]:
    return inputs.columns_of("causal")


def build(inputs: Inputs, options: settings.Causal) -> Causal:
    o, widths = options, (options.latent, options.hidden, options.out_dim)
    weights = (o.sparsity, o.reconstruction)
    expert = Causal(columns(inputs), widths, o.dropout, o.edge_init, weights, o.edge_sign == "signed")
    expert.ramp = (o.acyclicity, o.acyclicity_end)
    return expert


class Causal(Expert):
    """``widths``: latents, hidden layer, output. ``weights``: of sparsity and of reconstruction."""

    off_diagonal: Tensor
    ramp: tuple[float, float] = (0.0, 0.0)
    """Weight of h(W) at the start and from half of phase 1 on."""

    def __init__(
        self,
        columns: Sequence[int],
        widths: tuple[int, int, int],
        dropout: float,
        edge_init: float,
        weights: tuple[float, float],
        signed: bool,
    ) -> None:
        super().__init__()
        latent, hidden, self.out_dim = widths
        self._weights, self._signed, self._progress = weights, signed, 0.0
        self.read_x = Columns(columns)
        self.compress = nn.Sequential(*mlp(self.read_x.width, [hidden], dropout), nn.Linear(hidden, latent))
        self.edges_raw = nn.Parameter(torch.randn(latent, latent) * edge_init)
        self.register_buffer("off_diagonal", 1 - torch.eye(latent), persistent=False)
        self.level = nn.LayerNorm(latent)
        self.encode = nn.Sequential(nn.Linear(latent, hidden), nn.SiLU(), nn.Linear(hidden, self.out_dim))
        self.norm = nn.LayerNorm(self.out_dim)

    @property
    def edges(self) -> Tensor:
        """W, (d, d), with a zero diagonal."""
        return self.edges_raw * self.off_diagonal

    @property
    def graph(self) -> Tensor:
        """G, what the latents send one another. (d, d)."""
        return self.edges if self._signed else self.edges.square()

    def set_progress(self, share: float) -> None:
        self._progress = min(1.0, 2 * share)  # done half way, so that the best epoch can be one without cycles

    def forward(self, batch: Batch) -> ExpertOut:
        z_raw = self.compress(self.read_x(batch.x))  # (B, d)
        with in_float32(batch.x.device):
            z = self.level(z_raw.float())
            aux = self.structure_loss(z.detach())
            moved = z + z @ self.graph  # (B, d)
        h = self.norm(self.encode(moved.to(z_raw.dtype)))  # (B, out_dim)
        return ExpertOut(h, {"structure": aux}, {"z_raw": z_raw.detach()})

    def structure_loss(self, z: Tensor) -> Tensor:
        """The expert's own loss. z (B, d) without gradient -> scalar."""
        sparsity, reconstruction = self._weights
        rebuilt = (z - z @ self.graph).square().mean()
        acyclic = rising(*self.ramp, self._progress) * cyclicity(self.edges)
        return acyclic + sparsity * self.edges.square().sum() + reconstruction * rebuilt

    @torch.no_grad()
    def judge(self, batch: Batch) -> GraphHealth:
        """May the learned graph be called causal? On some rows, in evaluation mode."""
        z = self.level(self.compress(self.read_x(batch.x)))
        return health(self.edges, self.graph, z, self._read)

    @torch.no_grad()
    def acyclic_graph(self) -> tuple[Tensor, float]:
        """The graph that interventions read, and the share of mass it lacks. (d, d), [0..1]."""
        return acyclic_part(self.graph)

    def _read(self, moved: Tensor) -> Tensor:
        out: Tensor = self.norm(self.encode(moved))
        return out


def rising(start: float, end: float, share: float) -> float:
    """From start to end by equal factors; in equal steps where one of them is 0."""
    if start <= 0 or end <= 0:
        return start + (end - start) * share
    return float(start * (end / start) ** share)
