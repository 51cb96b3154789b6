"""Is the difference more than chance? One pre-declared test of gain, one guard per task against harm.

All tests work on row influences: d_i is what row i adds to the difference of a metric, so SE = sqrt(sum d_i^2) / N
and one number per row carries every correlation between tasks and between models. Rows are one per customer.
Source: promotion.md 6.4.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline_lib.gate.metrics import Floats

POWER_Z = 1.6448536269514722 + 0.8416212335729143
"""z of a one-sided 5 % test plus z of 80 % power: times SE, the difference such a test would find."""


@dataclass(frozen=True)
class OneSided:
    """One-sided test of ``delta > 0``. ``p`` is None when the data admit no test."""

    delta: float
    se: float
    z: float | None
    p: float | None
    rows: int

    @property
    def detectable(self) -> float:
        """Smallest difference found with 80 % power at 5 % [metric units]."""
        return POWER_Z * self.se


def gain(delta: float, influences: Sequence[Floats]) -> OneSided:
    """Primary test on an average of metrics.

    Args:
        delta: challenger minus champion of the averaged metric.
        influences: per task, challenger's minus champion's row influences, (N,) each.

    Returns:
        p = 1 for identical outputs; p None (METRIC_INVALID) for a difference without any spread, or not finite.
    """
    per_row = np.mean(np.stack(list(influences)), axis=0)  # (T, N) -> (N,): summed over tasks before squaring
    return _test(delta, per_row, certain=None)


def harm(worsening: float, influence: Floats) -> OneSided:
    """Guard of one task: ``worsening`` > 0 means the challenger is worse. A loss without spread is certain."""
    return _test(worsening, influence, certain=0.0)


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


def _test(delta: float, per_row: Floats, certain: float | None) -> OneSided:
    rows = len(per_row)
    se = float(np.sqrt(np.sum(per_row**2)) / rows)
    if not (math.isfinite(delta) and math.isfinite(se)):
        return OneSided(delta, se, None, None, rows)
    if se == 0:
        return OneSided(delta, se, None, 1.0 if delta <= 0 and (delta == 0 or certain is not None) else certain, rows)
    z = delta / se
    return OneSided(delta, se, z, upper_tail(z), rows)
