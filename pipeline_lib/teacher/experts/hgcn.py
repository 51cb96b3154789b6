"""HGCN: where a customer's spending lies in the tree of merchant categories.

Paper: Chami et al., "Hyperbolic Graph Convolutional Neural Networks", NeurIPS 2019.

    out   = LN(Linear(t + refine(t))),   refine = Linear, GELU, Linear
    t     = columns of block hyper_emb: the tangent vector log0(gyromidpoint of the leaves) and what belongs to it

With ``in_graph`` the tree is learned here, and t begins with s log0(node) instead, s (B, leaves) the shares of spend:

    x_0   = proj(exp0(v)),   x_l = proj(exp0(A~ Linear_l(log0(x_(l-1))))),   node = mean_l log0(x_l)

A~ is the symmetric-normalised adjacency of the tree with self-loops, v a free tangent vector per node (so that plain
AdamW is valid, with no Riemannian step).

Input (B, H) columns and, in the graph, edges (B, I); output (B, out_dim). How ours differs: nothing but tangent
vectors ever meets a linear map (``Inputs`` refuses a block in another space); layers have no activation and start at
the identity. This expert is no collaborative filter: it sees one customer's own categories.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pipeline_lib.settings.teacher import experts as settings
from pipeline_lib.teacher.contract import HYPERBOLIC_BLOCK, Inputs, Item
from pipeline_lib.teacher.experts.base import Columns, Expert, ExpertOut, columns_in
from pipeline_lib.teacher.frame import Batch
from pipeline_lib.teacher.geometry.poincare import exp0, log0, proj
from pipeline_lib.teacher.layers import in_float32

_START = 0.5
"""Standard deviation of the nodes' first tangent vectors: well inside the ball, far enough apart to be told."""


def lacks(inputs: Inputs, options: settings.HGCN) -> str | None:
    if options.in_graph:
        return None if sum(item.level1 >= 0 for item in inputs.items) > 1 else "the source has no tree of categories"
    return None if columns(inputs) else f"the source has no column of block {HYPERBOLIC_BLOCK}"


def columns(inputs: Inputs) -> tuple[int, ...]:
    return columns_in(group for group in inputs.reads("hgcn") if group.block == HYPERBOLIC_BLOCK)


def build(inputs: Inputs, options: settings.HGCN) -> HGCN:
    """In the graph, the block's first ``node_dim`` columns, the same thing made offline, give way to the tree."""
    found = columns(inputs)
    if not options.in_graph:
        return HGCN(found, None, options.refine, options.out_dim, options.dropout)
    tree = CategoryTree(inputs.items, options.node_dim, options.layers)
    return HGCN(found[options.node_dim :], tree, options.refine, options.out_dim, options.dropout)


class HGCN(Expert):
    def __init__(
        self, columns: Sequence[int], tree: CategoryTree | None, refine: int, out_dim: int, dropout: float
    ) -> None:
        super().__init__()
        self.out_dim = out_dim
        self.read_x, self.tree = Columns(columns), tree
        width = len(columns) + (tree.width if tree else 0)
        self.refine = nn.Sequential(nn.Linear(width, refine), nn.GELU(), nn.Dropout(dropout), nn.Linear(refine, width))
        self.project = nn.Linear(width, out_dim)
        self.norm = nn.LayerNorm(out_dim)

    def forward(self, batch: Batch) -> ExpertOut:
        tangent = self.read_x(batch.x)  # (B, H)
        if self.tree is not None:
            tangent = torch.cat([self.tree(batch.edges), tangent], dim=1)
        return ExpertOut(self.norm(self.project(tangent + self.refine(tangent))))  # (B, out_dim)

    def fed(self, batch: Batch) -> Tensor:
        if self.tree is None:
            return super().fed(batch)
        return (batch.edges[:, self.tree.leaves] > 0).any(dim=1)


class CategoryTree(nn.Module):
    """The tree root - level 1 - level 2 - leaves as points of the ball. edges (B, I) -> (B, width)."""

    adjacency: Tensor
    leaves: Tensor
    leaf_nodes: Tensor

    def __init__(self, items: Sequence[Item], width: int, layers: int) -> None:
        super().__init__()
        parents = tree_of(items)
        places = [i for i, item in enumerate(items) if item.level1 >= 0]
        self.width = width
        self.tangent = nn.Parameter(torch.randn(len(parents), width) * _START)
        self.layers = nn.ModuleList(_identity(width) for _ in range(layers))
        self.register_buffer("adjacency", normalised_adjacency(parents), persistent=False)
        self.register_buffer("leaves", torch.tensor(places), persistent=False)
        self.register_buffer("leaf_nodes", torch.arange(len(parents) - len(places), len(parents)), persistent=False)

    def forward(self, edges: Tensor) -> Tensor:
        with in_float32(edges.device):
            spent = edges[:, self.leaves].float()
            share = spent / spent.sum(1, keepdim=True).clamp(min=1e-6)  # (B, leaves)
            return share @ self.nodes()[self.leaf_nodes]  # (B, width)

    def nodes(self) -> Tensor:
        """Tangent vectors of all nodes, root first, leaves last. (nodes, width)."""
        point = proj(exp0(self.tangent))
        seen = [log0(point)]
        for layer in self.layers:
            point = proj(exp0(self.adjacency @ layer(seen[-1])))
            seen.append(log0(point))
        return torch.stack(seen).mean(0)


def tree_of(items: Sequence[Item]) -> list[int]:
    """Parent of every node, -1 for the root: root, level 1, level 2, then the categories in the items' order."""
    categories = [item for item in items if item.level1 >= 0]
    first = sorted({item.level1 for item in categories})
    above = dict(sorted({item.level2: item.level1 for item in categories}.items()))  # level 2 -> level 1
    ones = {level: 1 + i for i, level in enumerate(first)}
    twos = {level: 1 + len(first) + i for i, level in enumerate(above)}
    return [-1, *(0 for _ in first), *(ones[one] for one in above.values()), *(twos[c.level2] for c in categories)]


def normalised_adjacency(parents: Sequence[int]) -> Tensor:
    """D^-1/2 (A + I) D^-1/2 of an undirected tree. -> (nodes, nodes)."""
    matrix = torch.eye(len(parents))
    for child, parent in enumerate(parents):
        if parent >= 0:
            matrix[child, parent] = matrix[parent, child] = 1.0
    root = matrix.sum(1).rsqrt()
    return root[:, None] * matrix * root


def _identity(width: int) -> nn.Linear:
    linear = nn.Linear(width, width, bias=False)
    nn.init.eye_(linear.weight)
    return linear
