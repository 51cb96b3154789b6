"""Metrics, one definition each, as plain functions of truth and prediction. None = not defined on these rows.

Shapes: n rows, K classes; y (n,), probabilities (n,) or (n, K). Source: teacher.md section 18.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
_EPS = 1e-12


def auc(y: Array, score: Array) -> float | None:
    """Probability that a positive outranks a negative, ties half. None without both classes."""
    positives = float(y.sum())
    negatives = len(y) - positives
    if not positives or not negatives:
        return None
    _, inverse, counts = np.unique(score, return_inverse=True, return_counts=True)
    mid_ranks = np.cumsum(counts) - (counts - 1) / 2
    rank_sum = float(mid_ranks[inverse][y == 1].sum())
    return (rank_sum - positives * (positives + 1) / 2) / (positives * negatives)


def average_precision(y: Array, score: Array) -> float | None:
    """Area under precision-recall as a step sum over distinct scores. None without positives."""
    if not y.sum():
        return None
    order = np.argsort(-score, kind="stable")
    hits, ranked = np.cumsum(y[order]), score[order]
    ends = np.flatnonzero(np.append(np.diff(ranked) != 0, True))  # last row of each tie
    precision, recall = hits[ends] / (ends + 1), hits[ends] / hits[-1]
    return float((np.diff(recall, prepend=0.0) * precision).sum())


def binary_log_loss(y: Array, p: Array) -> float:
    """[nats]"""
    p = p.clip(_EPS, 1 - _EPS)
    return float(-(y * np.log(p) + (1 - y) * np.log1p(-p)).mean())


def class_log_loss(y: Array, p: Array) -> float:
    """[nats]"""
    return float(-np.log(p[np.arange(len(y)), y.astype(int)].clip(_EPS)).mean())


def expected_calibration_error(y: Array, p: Array, bins: int = 15) -> float:
    """Mean |share of positives - mean probability| over bins of equal mass [0..1]."""
    order = np.argsort(p, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    return float(sum(abs(float(y[part].mean()) - float(p[part].mean())) * len(part) for part in parts) / len(y))


def macro_f1(y: Array, chosen: Array, classes: int) -> float:
    """Mean F1 over all classes; a class without rows and without predictions counts 0."""
    true, picked = y.astype(int), chosen.astype(int)
    hits = np.bincount(true[true == picked], minlength=classes)
    total = np.bincount(true, minlength=classes) + np.bincount(picked, minlength=classes)
    return float((2 * hits / np.maximum(total, 1)).mean())


def ndcg(y: Array, score: Array, k: int) -> float:
    """Mean 1[rank <= k] / log2(rank + 1) of the true class; the expected value over the orders of a tie. (n, K)."""
    own = score[np.arange(len(y)), y.astype(int)][:, None]
    above, tied = (score > own).sum(1), (score == own).sum(1)  # tied counts the class itself
    gain = np.zeros(score.shape[1])
    gain[:k] = 1 / np.log2(np.arange(min(k, len(gain))) + 2)
    cumulative = np.append(0.0, np.cumsum(gain))
    return float(((cumulative[above + tied] - cumulative[above]) / tied).mean())


def mean_absolute_error(y: Array, value: Array) -> float:
    """[label units]"""
    return float(np.abs(y - value).mean())


def r_squared(y: Array, value: Array) -> float | None:
    """Share of variance explained; None when the label does not vary."""
    spread = float(((y - y.mean()) ** 2).sum())
    return None if spread == 0 else 1 - float(((y - value) ** 2).sum()) / spread
