"""Accuracy against hard labels, and its interval. Plain arrays in, one number out; NaN where it is not defined.

Legend: n rows, K classes. ``w`` (n,) are row weights, so that a bootstrap resample is a weighting. Sums are
``np.sum`` and not ``@``: a threaded BLAS adds in another order, and the last digit would depend on the machine.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from pipeline_lib.settings.tasks import Kind

Reals = NDArray[np.float64]
Ints = NDArray[np.int64]

NAME = {"binary": "auc", "multiclass": "macro_f1", "regression": "r2"}
"""Primary metric of each kind of task."""


def auc(y: Ints, score: Reals, w: Reals | None = None) -> float:
    """Area under the ROC curve; tied scores count one half. NaN without both classes."""
    weight = np.ones(len(y)) if w is None else w
    groups = np.unique(score, return_inverse=True)[1]
    positive = np.bincount(groups, weight * (y == 1))
    negative = np.bincount(groups, weight * (y == 0))
    below = np.cumsum(negative) - negative / 2
    pairs = positive.sum() * negative.sum()
    return float(np.sum(positive * below) / pairs) if pairs > 0 else float("nan")


def macro_f1(y: Ints, predicted: Ints, classes: int, w: Reals | None = None) -> float:
    """Mean F1 over all K classes; a class that is absent counts 0."""
    weight = np.ones(len(y)) if w is None else w
    hits = np.bincount(y, weight * (y == predicted), classes)
    both = np.bincount(y, weight, classes) + np.bincount(predicted, weight, classes)
    return float(np.mean(np.divide(2 * hits, both, out=np.zeros(classes), where=both > 0)))


def r2(y: Reals, predicted: Reals, w: Reals | None = None) -> float:
    """Share of the label's variance explained; NaN for a constant label."""
    weight = np.ones(len(y)) if w is None else w
    centre = np.sum(weight * y) / np.sum(weight)
    total = float(np.sum(weight * (y - centre) ** 2))
    return 1 - float(np.sum(weight * (y - predicted) ** 2)) / total if total > 0 else float("nan")


def rank_correlation(a: Reals, b: Reals) -> float:
    """Spearman's correlation with average ranks; NaN if one of them is constant."""
    ranks_a, ranks_b = rankdata(a), rankdata(b)
    spread = ranks_a.std() * ranks_b.std()
    if spread == 0:
        return float("nan")
    return float(np.mean((ranks_a - ranks_a.mean()) * (ranks_b - ranks_b.mean())) / spread)


def log_loss(y: Ints, p: Reals, floor: float = 1e-7) -> float:
    """Mean -ln p of the observed class; ``p`` (n, K)."""
    return float(-np.mean(np.log(np.clip(p[np.arange(len(y)), y], floor, 1))))


def mae(y: Reals, predicted: Reals) -> float:
    return float(np.mean(np.abs(y - predicted)))


def rmse(y: Reals, predicted: Reals) -> float:
    return float(np.sqrt(np.mean((y - predicted) ** 2)))


def primary(kind: Kind, y: NDArray[np.generic], output: Reals, w: Reals | None = None) -> float:
    """AUC of probabilities (n,), macro-F1 of probabilities (n, K), or R2 of values (n,)."""
    if kind == "binary":
        return auc(y.astype(np.int64), output, w)
    if kind == "multiclass":
        return macro_f1(y.astype(np.int64), output.argmax(axis=1), output.shape[1], w)
    return r2(y.astype(np.float64), output, w)


def customer_interval(
    metric: Callable[[Reals], float], customer: Ints, *, resamples: int, seed: int
) -> tuple[float, float] | None:
    """95% interval over resamples of whole customers; None when a resample has no defined metric.

    Args:
        metric: of row weights (n,).
        customer: (n,) key of each row's customer.
    """
    groups = np.unique(customer, return_inverse=True)[1]
    count = int(groups.max()) + 1
    rng = np.random.default_rng(seed)
    draws = (rng.multinomial(count, np.full(count, 1 / count))[groups].astype(np.float64) for _ in range(resamples))
    values = np.array([metric(w) for w in draws])
    if not np.isfinite(values).all():
        return None
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def seed_of(name: str, seed: int) -> int:
    """A seed of its own for each task, the same in every process."""
    return zlib.crc32(f"{seed}|{name}".encode())
