"""Optimal transport: how far a customer's distribution lies from each of a few learned prototypes.

Papers: Cuturi, "Sinkhorn Distances", NeurIPS 2013; Feydy et al., "Interpolating between Optimal Transport and MMD
using Sinkhorn Divergences", AISTATS 2019.

    mu    = softmax(MLP(x)) on S points,   nu_r = softmax(l_r), r = 1 .. R
    C_ij  = ||e_i - e_j||^2 / max,         e_i learned: zero on the diagonal, symmetric, in [0, 1]
    OT    = <f, mu> + <g, nu>              entropic, f and g the dual potentials after some Sinkhorn steps
    S_r   = OT(mu, nu_r) - 0.5 OT(mu, mu) - 0.5 OT(nu_r, nu_r) >= 0, zero only at equality
    out   = LN(MLP([S_1 .. S_R] / eps))

Input (B, F), output (B, out_dim). How ours differs: the cost comes from learned support points, because a free
positive matrix is no transport cost (staying would cost more than moving). Distances are read in units of eps: they
are of its order, and would drown in the next layer's bias. Source: teacher.md section 5.7.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from pipeline_lib.settings.teacher import experts as settings
from pipeline_lib.teacher.contract import Inputs
from pipeline_lib.teacher.experts.base import Columns, Expert, ExpertOut
from pipeline_lib.teacher.frame import Batch
from pipeline_lib.teacher.layers import in_float32, mlp
from pipeline_lib.teacher.ot.sinkhorn import divergence, ground_cost

_LOGIT_BOUND = 10.0


def lacks(inputs: Inputs, options: settings.OptimalTransport) -> str | None:
    return None if columns(inputs) else "no feature group is routed to it"


def columns(inputs: Inputs) -> tuple[int, ...]:
    return inputs.columns_of("optimal_transport")


def build(inputs: Inputs, options: settings.OptimalTransport) -> OptimalTransport:
    o, points = options, (options.support, options.support_dim, options.prototypes)
    return OptimalTransport(columns(inputs), points, o.hidden, o.out_dim, o.epsilon, o.iterations, o.dropout)


class OptimalTransport(Expert):
    """``points`` are the number of support points, their dimension, and the number of prototypes."""

    def __init__(
        self,
        columns: Sequence[int],
        points: tuple[int, int, int],
        hidden: int,
        out_dim: int,
        epsilon: float,
        iterations: int,
        dropout: float,
    ) -> None:
        super().__init__()
        support, support_dim, prototypes = points
        self.out_dim = out_dim
        self.read_x = Columns(columns)
        self._epsilon, self._iterations = epsilon, iterations
        self.place = nn.Sequential(*mlp(self.read_x.width, [hidden], dropout), nn.Linear(hidden, support))
        self.support = nn.Parameter(torch.randn(support, support_dim))
        self.prototypes = nn.Parameter(torch.randn(prototypes, support))
        self.read = nn.Sequential(*mlp(prototypes, [hidden], 0.0), nn.Linear(hidden, out_dim))
        self.norm = nn.LayerNorm(out_dim)

    def forward(self, batch: Batch) -> ExpertOut:
        logits = self.place(self.read_x(batch.x))  # (B, S)
        with in_float32(batch.x.device):
            mu = logits.float().clamp(-_LOGIT_BOUND, _LOGIT_BOUND).softmax(-1)  # (B, S)
            nu = self.prototypes.softmax(-1)  # (R, S)
            distances = divergence(mu, nu, ground_cost(self.support), self._epsilon, self._iterations)  # (B, R)
        return ExpertOut(self.norm(self.read((distances / self._epsilon).to(logits.dtype))))  # (B, out_dim)

    @torch.no_grad()
    def diversity(self) -> float:
        """Mean S between two different prototypes; below 1e-3 they say the same thing. Source: section 5.7."""
        nu, count = self.prototypes.softmax(-1), len(self.prototypes)
        apart = divergence(nu, nu, ground_cost(self.support), self._epsilon, self._iterations)  # (R, R)
        return float(apart.fill_diagonal_(0).sum() / (count * (count - 1)))
