"""Differences between two rates, and between two models' scores of the same rows: plain functions, no I/O.

Distances between distributions are in ``contracts/population.py``. Sources: monitoring.md 2.2 and 2.3 (with their
golden values, which the tests reproduce); distillation.md 12.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Z95 = 1.959963984540054


def average_ranks(values: Array) -> Array:
    """Ranks 1..n of a vector [n]; equal values share the mean of theirs."""
    _, place, times = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(times) - (times - 1) / 2)[place], dtype=np.float64)


def rank_correlation(a: Array, b: Array) -> float | None:
    """Spearman's correlation of two vectors [n]; None when one of them is constant."""
    x, y = average_ranks(a), average_ranks(b)
    x, y = x - x.mean(), y - y.mean()
    spread = math.sqrt(float(np.sum(x * x)) * float(np.sum(y * y)))
    return float(np.sum(x * y)) / spread if spread else None


def auc(positive: NDArray[np.bool_], scores: Array) -> float | None:
    """Area under the ROC curve of scores [n], ties count half; None without both classes. Source: Mann-Whitney U."""
    p, n = int(positive.sum()), int((~positive).sum())
    if not p or not n:
        return None
    return (float(average_ranks(scores)[positive].sum()) - p * (p + 1) / 2) / (p * n)


def mean_shift(baseline: Array, current: Array, *, in_sd: bool) -> float | None:
    """How far the mean moved, without sign [score units, or standard deviations of the baseline].

    None when the baseline is constant and its standard deviation is the unit.
    """
    moved = abs(float(current.mean()) - float(baseline.mean()))
    if not in_sd:
        return moved
    spread = float(baseline.std())
    return moved / spread if spread else None


@dataclass(frozen=True)
class Parity:
    """Rates of a group against its reference group."""

    di: float | None
    """p_g / p_r; None when p_r is 0."""
    di_low: float | None
    di_high: float | None
    spd: float
    z: float | None
    p: float | None
    """Two-sided p-value of the pooled two-proportion z-test."""


def parity(x_g: int, n_g: int, x_r: int, n_r: int) -> Parity:
    """Disparate impact with its 95 % log interval, and statistical parity difference, from counts."""
    p_g, p_r, pooled = x_g / n_g, x_r / n_r, (x_g + x_r) / (n_g + n_r)
    spread = math.sqrt(pooled * (1 - pooled) * (1 / n_g + 1 / n_r))
    z = (p_g - p_r) / spread if spread else None
    p = None if z is None else math.erfc(abs(z) / math.sqrt(2))
    low, high = _log_interval(x_g, n_g, x_r, n_r)
    return Parity(p_g / p_r if x_r else None, low, high, p_g - p_r, z, p)


def _log_interval(x_g: int, n_g: int, x_r: int, n_r: int) -> tuple[float | None, float | None]:
    cells: tuple[float, float, float, float] = (x_g, n_g, x_r, n_r)
    if x_g in (0, n_g) or x_r in (0, n_r):
        cells = (x_g + 0.5, n_g + 1.0, x_r + 0.5, n_r + 1.0)
    a, b, c, d = cells
    centre, half = math.log((a / b) / (c / d)), Z95 * math.sqrt(1 / a - 1 / b + 1 / c - 1 / d)
    return math.exp(centre - half), math.exp(centre + half)
