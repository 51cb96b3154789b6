"""Distances between two distributions and differences between two rates: plain functions, no I/O.

Sources: monitoring.md 2.2, 2.3 and 3 (with their golden values, which the tests reproduce).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Z95 = 1.959963984540054


def proportions(counts: Array, floor: float) -> Array:
    """Shares of the bins (B,), floored and renormalised."""
    shares = np.maximum(counts / counts.sum(), floor)
    return np.asarray(shares / shares.sum(), dtype=np.float64)


def psi(baseline: Array, current: Array, floor: float) -> float:
    """Population stability index of two count vectors (B,): sum (c - b) ln(c / b)."""
    b, c = proportions(baseline, floor), proportions(current, floor)
    return float(np.sum((c - b) * np.log(c / b)))


def quantile_edges(baseline: Array, bins: int) -> Array:
    """Inner edges of ``bins`` baseline-quantile bins; repeated values merge bins."""
    inner = np.linspace(0, 1, bins + 1)[1:-1]
    return np.unique(np.quantile(baseline, inner))


def histogram(values: Array, edges: Array) -> Array:
    """Counts of len(edges) + 1 bins, open at both ends."""
    return np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(edges) + 1).astype(np.float64)


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
