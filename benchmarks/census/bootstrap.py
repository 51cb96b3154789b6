"""AUC under resampled test rows, the same resamples for every model, so that differences are paired.

    AUC(w) = sum over ties g of P_g (N_<g + N_g / 2) / (P N),  P_g, N_g: resampled positives and negatives of tie g

A model is sorted once; a resample is how often each row was drawn. Source: Efron and Tibshirani, 1993 (percentile).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Reals = NDArray[np.float64]
CHUNK = 50


def draws(rows: int, times: int, seed: int) -> NDArray[np.uint8]:
    """How often each row is in each resample (times, rows)."""
    rng = np.random.default_rng(seed)
    return np.stack([np.bincount(rng.integers(0, rows, rows), minlength=rows).astype(np.uint8) for _ in range(times)])


def aucs(y: Reals, score: Reals, weights: NDArray[np.uint8]) -> Reals:
    """AUC of each resample (times,)."""
    order = np.argsort(score, kind="stable")
    starts = np.flatnonzero(np.append(True, np.diff(score[order]) != 0))
    yes = y[order]
    found = []
    for part in np.array_split(weights, max(len(weights) // CHUNK, 1)):
        w = part[:, order].astype(np.float64)
        positive = np.add.reduceat(w * yes, starts, axis=1)
        negative = np.add.reduceat(w * (1 - yes), starts, axis=1)
        below = negative.cumsum(1) - negative / 2
        found.append((positive * below).sum(1) / (positive.sum(1) * negative.sum(1)))
    return np.concatenate(found)


def interval(sample: Reals) -> tuple[float, float]:
    """The middle 95 %."""
    low, high = np.quantile(sample, [0.025, 0.975])
    return float(low), float(high)


def mean_over_seeds(y: Reals, scores: Sequence[Reals], weights: NDArray[np.uint8]) -> Reals:
    """Mean AUC of a model's seeds under each resample (times,)."""
    mean: Reals = np.mean([aucs(y, score, weights) for score in scores], axis=0)
    return mean
