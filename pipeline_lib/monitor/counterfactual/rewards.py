"""Expected reward of every candidate, learnt from the logged ones: ridge regression, cross-fitted by customer.

q(x, a) = b_x x + b_s score(x, a) + b_a, clipped to [0, 1]. An answer's q never comes from rows of its own customer. A
poor q widens the doubly robust interval; it does not bias it while the propensities are true. Shapes: n answers,
A candidates, D columns of x, K items.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.monitor.counterfactual.weights import Array

Codes = NDArray[np.int64]


def folds_of(customers: Codes, folds: int, seed: int) -> Codes:
    """Fold of every answer (n,): all answers of a customer are in one."""
    count = int(customers.max()) + 1 if len(customers) else 0
    return (np.random.default_rng(seed).permutation(count) % folds)[customers]


def cross_fitted(
    x: Array, scores: Array, items: Codes, logged: Codes, reward: Array, fold: Codes, ridge: float
) -> Array:
    """The expected rewards q (n, A).

    Args:
        x: (n, D), finite. scores: (n, A). items: (n, A) item codes, -1 where there is no candidate.
        logged: (n,) place of the shown item among the candidates. fold: (n,).
    """
    at = np.arange(len(reward))
    k = int(items.max()) + 1
    shown = np.column_stack([_scaled(x), scores[at, logged], np.eye(k)[items[at, logged]]])  # (n, D + 1 + K)
    q = np.zeros_like(scores)
    for f in np.unique(fold):
        own = fold == f
        b = _ridge(shown[~own], reward[~own], ridge)
        by_item = np.append(b[-k:], 0.0)  # code -1, no candidate, is the last place
        q[own] = (_scaled(x)[own] @ b[: x.shape[1]])[:, None] + b[x.shape[1]] * scores[own] + by_item[items[own]]
    return np.where(items >= 0, np.clip(q, 0.0, 1.0), 0.0)


def _scaled(x: Array) -> Array:
    spread = x.std(axis=0)
    return np.asarray((x - x.mean(axis=0)) / np.where(spread > 0, spread, 1.0), dtype=np.float64)


def _ridge(design: Array, y: Array, ridge: float) -> Array:
    penalty = ridge * np.eye(design.shape[1])
    return np.asarray(np.linalg.solve(design.T @ design + penalty, design.T @ y), dtype=np.float64)
