"""LightGCN: the collaborative signal, by pure neighbourhood averaging on the customer-item graph.

Paper: He et al., "LightGCN: Simplifying and Powering Graph Convolution Network for Recommendation", SIGIR 2020.

    e^(l+1) = D^-1/2 A D^-1/2 e^(l),   e = mean_l e^(l)

With R~ = D_u^-1/2 R D_i^-1/2 a customer with normalised row r_u sees, over the odd hops 1, 3, 5, ...

    u_1 = r_u E0,  u_3 = r_u S E0,  u_5 = r_u S^2 E0,  S = R~^T R~  (items two hops apart, train rows only)
    out = LN(MLP(c) + skip(c)),   c = [collab, u],   u = mean of the hops

Input collab (B, C), the columns of block collab_emb (a LightGCN trained offline, and the product tree), and edges
(B, I); output (B, out_dim). A source may lack either half. How ours differs: the half over edges is inductive. The
paper learns an embedding per customer, so that a customer unseen in training has none and the table grows with the
bank; we keep only the items' embeddings E0, for which the customer's even hops (which start from customer embeddings)
vanish. A customer is whatever its row says, whenever it arrives. Rows are centred on the mean train row and scaled to
unit spread: what all customers share tells no two apart, and an entry of r_u is of the order 1 / sqrt(train rows), too
small for a layer with a bias. E0 is trained by the teacher's tasks and not by BPR; edge weights may differ from 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pipeline_lib.errors import SchemaError
from pipeline_lib.settings.teacher import experts as settings
from pipeline_lib.teacher.contract import Inputs
from pipeline_lib.teacher.experts.base import Columns, Expert, ExpertOut, columns_in
from pipeline_lib.teacher.frame import Batch, Frame
from pipeline_lib.teacher.layers import in_float32

BLOCK = "collab_emb"


def lacks(inputs: Inputs, options: settings.LightGCN) -> str | None:
    return None if inputs.items or columns(inputs) else f"the source has no items and no column of block {BLOCK}"


def columns(inputs: Inputs) -> tuple[int, ...]:
    return columns_in(group for group in inputs.reads("lightgcn") if group.block == BLOCK)


def build(inputs: Inputs, options: settings.LightGCN) -> LightGCN:
    o = options
    return LightGCN(columns(inputs), len(inputs.items), o.item_dim, o.hops, o.hidden, o.out_dim, o.dropout)


class LightGCN(Expert):
    item_scale: Tensor
    two_hop: Tensor
    usual: Tensor
    spread: Tensor

    def __init__(
        self, columns: Sequence[int], items: int, item_dim: int, hops: int, hidden: int, out_dim: int, dropout: float
    ) -> None:
        super().__init__()
        self.out_dim = out_dim
        self._hops = hops
        self.read_x = Columns(columns)
        width = len(columns) + (item_dim if items else 0)
        self.items = nn.Parameter(torch.randn(items, item_dim))  # E0
        self.register_buffer("item_scale", torch.zeros(items))  # D_i^-1/2
        self.register_buffer("two_hop", torch.zeros(items, items))  # S
        self.register_buffer("usual", torch.zeros(items))  # mean train row
        self.register_buffer("spread", torch.ones(()))  # root mean square distance of train rows from it
        self.skip = nn.Linear(width, out_dim)
        self.mlp = nn.Sequential(
            nn.Linear(width, hidden),
            nn.LayerNorm(hidden),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, out_dim),
        )
        self.norm = nn.LayerNorm(out_dim)

    def fit_structure(self, frame: Frame, rows: Tensor) -> None:
        if len(self.items):
            self.fit_graph(frame.edges[rows])

    def fit_graph(self, train_edges: Tensor) -> None:
        """Item degrees and S from the train rows: the only thing this expert learns from other customers' edges.

        Raises:
            SchemaError: an edge weight is negative.
        """
        if (train_edges < 0).any():
            raise SchemaError("edges.parquet: an edge weight is negative")
        self.item_scale.copy_(_inverse_root(train_edges.double().sum(0)))
        rows = self._row(train_edges.double())  # R~ (N, I)
        self.two_hop.copy_(rows.T @ rows)
        self.usual.copy_(rows.mean(0))
        self.spread.copy_((rows - rows.mean(0)).square().sum(1).mean().sqrt().clamp(min=1e-6))

    def forward(self, batch: Batch) -> ExpertOut:
        parts = [self.read_x(batch.x)]  # (B, C)
        if len(self.items):
            parts.append(self.walk(batch.edges).to(batch.x.dtype))
        c = torch.cat(parts, dim=1)
        return ExpertOut(self.norm(self.skip(c) + self.mlp(c)))  # (B, out_dim)

    def walk(self, edges: Tensor) -> Tensor:
        """u, what a customer's edges lead to. (B, I) -> (B, item_dim)."""
        with in_float32(edges.device):
            hop: Tensor = self.items  # (I, d)
            table = hop
            for _ in range(self._hops - 1):
                hop = self.two_hop @ hop
                table = table + hop
            row = (self._row(edges) - self.usual) / self.spread  # (B, I)
            u: Tensor = row @ (table / self._hops)  # (B, I) @ (I, d) -> (B, d)
            return u

    def fed(self, batch: Batch) -> Tensor:
        collab: Tensor = self.read_x(batch.x)
        return (batch.edges * self.item_scale > 0).any(dim=1) | (collab != 0).any(dim=1)

    def _row(self, edges: Tensor) -> Tensor:
        """r_u = d_u^-1/2 R_u D_i^-1/2. (B, I) -> (B, I)."""
        return _inverse_root(edges.sum(1))[:, None] * edges * self.item_scale.to(edges.dtype)


def _inverse_root(degree: Tensor) -> Tensor:
    return torch.where(degree > 0, degree, torch.ones_like(degree)).rsqrt() * (degree > 0)
