"""The contestants of ``benchmarks/collaborative.py``: each learns from train edges and scores the items of other rows.

All use one thread, and all see the same edge weights: 1 for a product held, ln1p(events of 360 d) / its train mean for
a category.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from collaborative_window import Bank, Side, quality
from scipy.sparse import csr_matrix

from pipeline_lib.features.graph import graph_collaborative
from pipeline_lib.settings.features import Features

Floats = npt.NDArray[np.float64]
Score = Callable[[Side], Floats]
ALS_GRID = [(reg, alpha) for reg in (10.0, 30.0, 100.0, 300.0) for alpha in (1.0, 2.0, 5.0, 10.0)]
ALS_ITERATIONS = 15
PRIORS = (0.0, 0.1, 0.3, 1.0)
"""Weights of ln(popularity) added to the standardised score, chosen on validation rows."""


@dataclass(frozen=True)
class Fitted:
    score: Score
    """Rows -> scores of all items [R, items]."""
    seconds: float
    """CPU seconds of the fit that is used; those of a grid are not counted."""
    chosen: str


def popularity(bank: Bank, policy: Features) -> Fitted:
    """Train rows with an edge to the item, the same ranking for all."""
    started = time.process_time()
    count = bank.degree()
    return Fitted(lambda side: np.tile(count, (len(side.customer), 1)), time.process_time() - started, "")


def item_knn(bank: Bank, policy: Features) -> Fitted:
    """Sum over own edges of the cosine of the items' columns; an item is no neighbour of itself."""
    started = time.process_time()
    edges = bank.weights(bank.train)
    product = (edges.T @ edges).toarray()
    root = np.sqrt(np.diag(product))
    cosine = np.divide(product, root[:, None] * root[None], out=np.zeros_like(product), where=product > 0)
    np.fill_diagonal(cosine, 0.0)
    return Fitted(lambda side: bank.weights(side) @ cosine, time.process_time() - started, "")


def als(bank: Bank, policy: Features) -> Fitted:
    """``implicit``: regularisation and alpha by the mean of the four figures on validation rows; others folded in."""
    fits = [(_als(bank, policy.graph.width, *cell), cell) for cell in ALS_GRID]
    best, cell = max(fits, key=lambda one: quality(bank, bank.val, one[0].score(bank.val)))
    return Fitted(best.score, best.seconds, f"regularisation {cell[0]:g}, alpha {cell[1]:g}")


def _als(bank: Bank, width: int, regularisation: float, alpha: float) -> Fitted:
    from implicit.cpu.als import AlternatingLeastSquares

    edges = csr_matrix(bank.weights(bank.train).astype(np.float32))
    model = AlternatingLeastSquares(
        factors=min(width, edges.shape[1] - 1),
        regularization=regularisation,
        alpha=alpha,
        iterations=ALS_ITERATIONS,
        num_threads=1,
        random_state=0,
    )
    started = time.process_time()
    model.fit(edges, show_progress=False)
    seconds = time.process_time() - started

    def score(side: Side) -> Floats:
        theirs = csr_matrix(bank.weights(side).astype(np.float32))
        users = model.recalculate_user(np.arange(theirs.shape[0]), theirs)
        return np.asarray(users @ model.item_factors.T, dtype=np.float64)

    return Fitted(score, seconds, "")


def ours(backend: str) -> Callable[[Bank, Features], Fitted]:
    """The generator of the feature stage itself, with one backend."""

    def fit(bank: Bank, policy: Features) -> Fitted:
        graph = policy.graph.model_copy(update={"backend": backend})
        generator = graph_collaborative(bank.shape, policy.model_copy(update={"graph": graph}))
        started = time.process_time()
        learnt = generator.fit(bank.train.material, {})
        seconds = time.process_time() - started

        def score(side: Side) -> Floats:
            vectors = np.stack(list(generator.make(side.material, learnt, {}).values()), axis=1)
            return np.asarray(np.nan_to_num(vectors) @ learnt["places"].T)

        return Fitted(score, seconds, f"{learnt['items'].shape[1]} dimensions")

    return fit


def with_prior(bank: Bank, fitted: Fitted) -> Fitted:
    """The score of every row standardised over the items of a task, plus the popularity prior that val likes best."""
    log_count = np.log1p(bank.degree())

    def mixed(weight: float) -> Score:
        return lambda side: _standardised(bank, fitted.score(side)) + weight * log_count

    best = max(PRIORS, key=lambda weight: quality(bank, bank.val, mixed(weight)(bank.val)))
    return Fitted(mixed(best), fitted.seconds, f"prior {best:g}")


def _standardised(bank: Bank, score: Floats) -> Floats:
    out = np.empty_like(score)
    for items in bank.tasks.values():
        own = score[:, items]
        spread = own.std(axis=1, keepdims=True)
        out[:, items] = (own - own.mean(axis=1, keepdims=True)) / np.where(spread > 0, spread, 1.0)
    return out


CONTESTANTS: dict[str, Callable[[Bank, Features], Fitted]] = {
    "als": als,
    "svd": ours("svd"),
    "lightgcn": ours("lightgcn"),
    "item_knn": item_knn,
    "popularity": popularity,
}
