"""Weighted directed graphs as matrices: how far from acyclic, the acyclic part, and what an intervention changes.

One convention throughout, because published text and code disagree: W[i, j] is the edge i -> j, so that with rows as
vectors z W hands column j what its parents send. ``d`` nodes, ``B`` rows, ``k`` width of what is read from the nodes.

    h(W) = tr(exp(W*W)) - d >= 0, zero iff acyclic; its gradient is 2 W * exp(W*W)^T
    W_dag: edges from strong to weak, each kept unless it closes a cycle with those kept before

Paper: Zheng et al., "DAGs with NO TEARS", NeurIPS 2018. Interventions read W_dag alone. Source: teacher.md 5.6.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor

ACTIVE = 0.01
"""An edge weaker than this counts as none."""
FROBENIUS, SHARE, CYCLIC = (0.1, 8.0), (0.02, 0.48), 1e-3
"""Limits of a causal claim; a graph of d nodes without cycles fills at most (d - 1) / 2d of its matrix."""
Read = Callable[[Tensor], Tensor]


def cyclicity(w: Tensor) -> Tensor:
    """h(W). (d, d) -> scalar."""
    excess: Tensor = torch.linalg.matrix_exp(w * w).trace() - len(w)
    return excess


def acyclic_part(w: Tensor) -> tuple[Tensor, float]:
    """W_dag, and the share of sum |W| that it lacks, NaN for an empty graph. (d, d) -> (d, d), [0..1]."""
    size = w.detach().abs().double().cpu().numpy()
    kept, reached = np.zeros_like(size, dtype=bool), np.eye(len(size), dtype=bool)  # reached[i, j]: a path i -> j
    for edge in np.argsort(-size, axis=None, kind="stable"):
        start, end = divmod(int(edge), len(size))
        if size[start, end] == 0 or reached[end, start]:
            continue
        kept[start, end] = True
        reached |= np.outer(reached[:, start], reached[end])
    total = size.sum()
    return w * torch.from_numpy(kept).to(w.device), float(size[~kept].sum() / total) if total else float("nan")


@dataclass(frozen=True)
class Intervention:
    """What do(z_j = v) does: ``full`` beside ``factual``, and ``direct``, where the children of j are not told.

    All (B, k); ``mediation`` (B,) is ||full - direct|| / ||full - factual||, NaN where nothing changes.
    """

    factual: Tensor
    direct: Tensor
    full: Tensor
    mediation: Tensor


def intervene(z: Tensor, node: int, value: Tensor, w_dag: Tensor, read: Read) -> Intervention:
    """Set node j of each row to a value. z (B, d), value (B,), w_dag (d, d), read (B, d) -> (B, k)."""
    moved = z.clone()
    moved[:, node] = value
    factual, direct, full = read(z + z @ w_dag), read(moved + z @ w_dag), read(moved + moved @ w_dag)
    changed = (full - factual).norm(dim=1)
    share = (full - direct).norm(dim=1) / changed
    return Intervention(factual, direct, full, share.where(changed > 0, torch.nan))


@dataclass(frozen=True)
class GraphHealth:
    """May the graph be called causal? Else what hangs on it is associative only."""

    frobenius: float
    active_share: float
    """Share of the d*d entries that are stronger than ``ACTIVE``."""
    cyclicity: float
    removed_share: float
    """Share of the mass that stands in the way of an acyclic graph."""
    mediation_median: float
    mediation_p95: float
    """Over rows and nodes, of do(z_j + 1): how much of an effect goes through the graph [0..]."""
    causal: bool

    def to_dict(self) -> dict[str, float | bool]:
        return asdict(self)


def health(edges: Tensor, graph: Tensor, z: Tensor, read: Read) -> GraphHealth:
    """Judge W and the graph made of it (W or W*W) on some rows. (d, d), (d, d), (B, d), read (B, d) -> (B, k)."""
    w_dag, removed = acyclic_part(graph)
    shares = torch.cat([intervene(z, j, z[:, j] + 1, w_dag, read).mediation for j in range(len(edges))])
    frobenius, cyclic = float(edges.norm()), float(cyclicity(edges.double()))
    active = float((edges.abs() > ACTIVE).double().mean())
    sound = FROBENIUS[0] <= frobenius <= FROBENIUS[1] and SHARE[0] <= active <= SHARE[1] and cyclic < CYCLIC
    median, high = (float(shares.nanquantile(q)) for q in (0.5, 0.95))
    return GraphHealth(frobenius, active, cyclic, removed, median, high, sound)
