"""LightGCN for items alone, in sparse products: item vectors that rank what a customer takes next.

Paper: e^(l+1) = D^-1/2 A D^-1/2 e^(l) on the graph of customers and items, final = mean over layers 0..L, trained by
BPR with L2 on e^(0) only (He et al. 2020, LightGCN, SIGIR, equations 3, 4 and 15).

How ours differs, because production meets customers whom train never saw and they must be answered by the same formula:

- A customer's layer 0 is 0; only items have parameters. With X = D_u^-1/2 W D_i^-1/2 [R, I] and G = X'X [I, I], item
  layers are then E, 0, G E, 0, ... and customer layers 0, X E, 0, X G E, ...: the final vectors are
  Y = (E + G E + ...) / (L + 1) and Z = X (E + G E + ...) / (L + 1), polynomials of G. No customer has a parameter.
- The edge to the positive item is taken out of the customer's own row, weight and degree, before it is scored. With it,
  the item is known by itself, and what is learnt is to repeat the row rather than to extend it.
- Negatives are of the positive's kind: products compete with products, categories with categories.

The polynomials are symmetric, so the gradient of E is the same polynomial of the gradient of Y or Z: exact.
Source: teacher.md 5.2, features.md 8.1.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array, csr_array, diags_array
from scipy.special import expit

from pipeline_lib.features.columns import Floats
from pipeline_lib.settings.feature_groups.graph import LightGcn

log = logging.getLogger(__name__)
Ints = npt.NDArray[np.int64]
_DECAY, _SQUARE_DECAY, _FLOOR = 0.9, 0.999, 1e-8
"""Adam's constants. Source: Kingma and Ba 2015."""
_REPORTS = 5


@dataclass(frozen=True)
class Items:
    """Item vectors after training."""

    towards: Floats
    """What a customer's row X is multiplied with [I, d]."""
    places: Floats
    """What the product is compared with by a dot product [I, d]."""


@dataclass(frozen=True)
class Triples:
    """Some customers with an item that each has and one that each has not."""

    rows: csr_array
    """Rows of X without the edge to the positive item [B, I]."""
    contrast: csr_array
    """+1 at the positive item, -1 at the negative one [B, I]."""

    def __len__(self) -> int:
        return int(self.rows.shape[0])


@dataclass(frozen=True)
class Sampler:
    """Draws triples from the edges of a graph."""

    weights: csr_array
    """W [R, I], sorted indices."""
    normal: csr_array
    """X [R, I], the same pattern."""
    kinds: tuple[Ints, ...]
    """Items by kind, those with an edge."""
    kind: Ints
    """Kind of every item [I]."""
    chance: Floats
    """Running sum of the edges' probabilities as positives [edges]; ends at 1."""

    @classmethod
    def of(cls, weights: csr_array, normal: csr_array, kind: Ints, emphasis: Floats, shares: Floats) -> Sampler | None:
        """None where no edge can be a positive.

        Args:
            kind: of every item [I].
            emphasis: how much more often an edge is drawn than others of its kind [edges], row-major.
            shares: of the positives, by kind; those of the kinds without an edge go to the others.
        """
        used = np.bincount(weights.indices, minlength=len(kind)) > 0
        kinds = tuple(np.flatnonzero(used & (kind == k)) for k in range(len(shares)))
        of_edge = kind[weights.indices]
        mass = np.where(_rest(weights, np.arange(weights.nnz)) > 0, emphasis, 0.0)
        total = np.bincount(of_edge, weights=mass, minlength=len(shares))
        mass = mass * np.divide(shares, total, out=np.zeros(len(shares)), where=total > 0)[of_edge]
        if not mass.sum() or max(len(k) for k in kinds) < 2:
            return None
        chance = mass.cumsum()
        return cls(weights, normal, kinds, kind, chance / chance[-1])

    def draw(self, size: int, rng: np.random.Generator) -> Triples:
        """At most ``size`` triples; a negative that turns out to be an edge is thrown away."""
        edge = np.searchsorted(self.chance, rng.random(size), side="right")
        row, positive = row_of(self.weights)[edge], self.weights.indices[edge].astype(np.int64)
        where, negative = rng.random(size), np.empty(size, dtype=np.int64)
        for k, items in enumerate(self.kinds):
            own = self.kind[positive] == k
            negative[own] = items[(where[own] * len(items)).astype(np.int64)] if own.any() else 0
        free = ~_has(self.weights, row, negative)
        return self.triples(edge[free], negative[free])

    def triples(self, edge: Ints, negative: Ints) -> Triples:
        """The triples of these edges [B] and negative items [B]."""
        row, positive = row_of(self.weights)[edge], self.weights.indices[edge]
        n, at, items = len(edge), np.arange(len(edge)), self.weights.shape[1]
        own = coo_array((self.normal.data[edge], (at, positive)), shape=(n, items)).tocsr()
        rest = _rest(self.weights, edge)
        degree = rest + self.weights.data[edge]
        rows = diags_array(np.sqrt(degree / rest)) @ (self.normal[row] - own)
        signs = np.concatenate([np.ones(n), -np.ones(n)])
        contrast = coo_array((signs, (np.tile(at, 2), np.concatenate([positive, negative]))), shape=(n, items))
        return Triples(csr_array(rows), contrast.tocsr())


def polynomials(gram: Floats, hops: int) -> tuple[Floats, Floats]:
    """What layer 0 of the items is multiplied with [I, I]: (for customers, before X; for items). Both symmetric."""
    towards, places, power = np.zeros_like(gram), np.zeros_like(gram), np.eye(len(gram))
    for layer in range(0, hops + 1, 2):
        places += power
        if layer < hops:
            towards += power
        power = gram @ power
    return towards / (hops + 1), places / (hops + 1)


def loss_and_gradient(first: Floats, some: Triples, towards: Floats, places: Floats, l2: float) -> tuple[float, Floats]:
    """Mean of -ln sigmoid(y_pos - y_neg) plus ``l2`` |E|^2, and its gradient by layer 0, E [I, d]."""
    own, apart = some.rows @ (towards @ first), some.contrast @ (places @ first)  # [B, d]
    margin = (own * apart).sum(axis=1)
    slope = (-expit(-margin) / len(some))[:, None]
    gradient = towards @ (some.rows.T @ (slope * apart)) + places @ (some.contrast.T @ (slope * own))
    loss = float(np.logaddexp(0.0, -margin).mean() + l2 * (first**2).sum())
    return loss, gradient + 2.0 * l2 * first


def train(sampler: Sampler, policy: LightGcn, width: int, seed: int) -> Items:
    """Adam, its rate falling to 0 in a line over ``policy.steps``; equal inputs and seed give equal bytes."""
    gram = (sampler.normal.T @ sampler.normal).toarray()
    towards, places = polynomials(gram, policy.hops)
    rng = np.random.default_rng(seed)
    size, items = min(policy.batch, sampler.weights.nnz), len(gram)
    first = rng.normal(0.0, policy.init, (items, width)) * (np.diag(gram) > 0)[:, None]
    mean, square, losses = np.zeros_like(first), np.zeros_like(first), []
    for step in range(1, policy.steps + 1):
        some = sampler.draw(size, rng)
        if not len(some):
            continue
        loss, gradient = loss_and_gradient(first, some, towards, places, policy.l2)
        mean += (1 - _DECAY) * (gradient - mean)
        square += (1 - _SQUARE_DECAY) * (gradient**2 - square)
        rate = policy.learning_rate * (1 - (step - 1) / policy.steps) / (1 - _DECAY**step)
        first -= rate * mean / (np.sqrt(square / (1 - _SQUARE_DECAY**step)) + _FLOOR)
        losses.append(loss)
        if step % max(policy.steps // _REPORTS, 1) == 0:
            log.info("lightgcn: step %d of %d, loss %.4f", step, policy.steps, np.mean(losses[-_REPORTS:]))
    return Items(towards @ first, places @ first)


def row_of(edges: csr_array) -> Ints:
    """Row of every edge [edges]."""
    return np.repeat(np.arange(edges.shape[0]), np.diff(edges.indptr))


def _rest(weights: csr_array, edge: Ints) -> Floats:
    """Weight of the row's other edges, of every edge asked for; exactly 0 where there is no other [n]."""
    row, count = row_of(weights)[edge], np.diff(weights.indptr)
    left = np.asarray(weights.sum(axis=1))[row] - weights.data[edge]
    return np.where(count[row] > 1, left, 0.0)


def _has(edges: csr_array, row: Ints, item: Ints) -> npt.NDArray[np.bool_]:
    """Whether the graph has the edge, for every pair [n]."""
    places = row_of(edges) * edges.shape[1] + edges.indices
    wanted = row * edges.shape[1] + item
    found = np.minimum(np.searchsorted(places, wanted), len(places) - 1)
    return np.asarray(places[found] == wanted)
