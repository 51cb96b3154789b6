"""Is the difference more than chance? One pre-declared test of gain, one guard per task against harm.

All of it rests on row influences: d_i is what row i adds to the difference of a metric, so SE = sqrt(sum d_i^2) / N,
and one number per row carries every correlation between tasks and between models. Rows of one customer are summed
before squaring: a customer seen twice is not two customers. Source: promotion.md 6.4.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from pipeline_lib.gate.metrics import Floats, Ints

COVERAGE = 0.95
"""Of the two-sided intervals that people are shown; no verdict rests on them."""
_NORMAL = NormalDist()


@dataclass(frozen=True)
class OneSided:
    """One-sided test of ``delta > 0``. ``p`` is None when the data admit no test."""

    delta: float
    se: float
    z: float | None
    p: float | None


def standard_error(per_row: Floats, customers: Ints) -> float:
    """Standard error of a difference from its row influences.

    Args:
        per_row: what each row adds to the difference, (N,).
        customers: which customer each row is of, 0..C-1, (N,).
    """
    per_customer = np.bincount(customers, weights=per_row)  # (N,) -> (C,)
    return float(np.sqrt(np.sum(per_customer**2)) / len(per_row))


def gain(delta: float, se: float) -> OneSided:
    """The primary test: p = 1 for identical outputs, None (METRIC_INVALID) for a difference without any spread."""
    return _test(delta, se, p_without_spread=1.0 if delta == 0 else None)


def harm(worsening: float, se: float) -> OneSided:
    """Guard of one task: ``worsening`` > 0 means the challenger is worse. A loss without spread is certain."""
    return _test(worsening, se, p_without_spread=0.0 if worsening > 0 else 1.0)


def interval(delta: float, se: float) -> tuple[float, float]:
    """Two-sided interval of a difference [metric units]."""
    half = _NORMAL.inv_cdf((1 + COVERAGE) / 2) * se
    return delta - half, delta + half


def detectable(se: float, alpha: float, power: float) -> float:
    """Smallest true difference that a one-sided test at ``alpha`` finds with probability ``power`` [metric units]."""
    return (_NORMAL.inv_cdf(1 - alpha) + _NORMAL.inv_cdf(power)) * se


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Adjusted p-values that control the family-wise error. Source: Holm 1979."""
    ordered = sorted(p_values, key=lambda name: (p_values[name], name))
    adjusted, highest = {}, 0.0
    for rank, name in enumerate(ordered):
        highest = max(highest, min(1.0, (len(ordered) - rank) * p_values[name]))
        adjusted[name] = highest
    return adjusted


def upper_tail(z: float) -> float:
    """P(Z > z) of a standard normal."""
    return 0.5 * math.erfc(z / math.sqrt(2))


def _test(delta: float, se: float, p_without_spread: float | None) -> OneSided:
    if not (math.isfinite(delta) and math.isfinite(se)):
        return OneSided(delta, se, None, None)
    if se == 0:
        return OneSided(delta, se, None, p_without_spread)
    z = delta / se
    return OneSided(delta, se, z, upper_tail(z))
