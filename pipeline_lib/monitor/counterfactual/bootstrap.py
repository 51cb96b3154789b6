"""Customers drawn with replacement, all their answers together: what every interval here comes from.

Both models are recomputed on the same customers, so what makes a sample easy cancels. All estimates are ratios of sums,
so a resample is one product of counts and per-customer sums. Source: promotion.md 10; Efron, 1979.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline_lib.monitor.counterfactual.estimate import Ratio
from pipeline_lib.monitor.counterfactual.rewards import Codes
from pipeline_lib.monitor.counterfactual.weights import Array


@dataclass(frozen=True)
class Interval:
    low: float
    high: float


class Bootstrap:
    """``resamples`` draws of the customers behind n answers, the same ones for every question."""

    def __init__(self, customers: Codes, resamples: int, seed: int) -> None:
        self._customers, self._resamples, self._seed = customers, resamples, seed
        self._count = int(customers.max()) + 1 if len(customers) else 0

    def values(self, ratios: Sequence[Ratio]) -> Array:
        """Every ratio in every resample (B, m); NaN where a denominator is 0."""
        columns = [column for ratio in ratios for column in (ratio.numerator, ratio.denominator)]
        own = np.column_stack([np.bincount(self._customers, c, self._count) for c in columns])  # (C, 2 m)
        rng = np.random.default_rng(self._seed)
        totals = np.empty((self._resamples, own.shape[1]))
        for b in range(self._resamples):
            drawn = np.bincount(rng.integers(self._count, size=self._count), minlength=self._count)
            totals[b] = drawn @ own
        above, below = totals[:, ::2], totals[:, 1::2]
        return np.divide(above, below, out=np.full_like(above, np.nan), where=below != 0)

    def difference(self, a: Ratio, b: Ratio, alpha: float) -> Interval | None:
        """Percentile interval of a - b."""
        found = self.values([a, b])
        return interval(found[:, 0] - found[:, 1], alpha)


def interval(values: Array, alpha: float) -> Interval | None:
    """Percentile interval of (B,) values; None when one is undefined."""
    if not np.isfinite(values).all():
        return None
    low, high = np.quantile(values, [alpha / 2, 1 - alpha / 2])
    return Interval(float(low), float(high))
