"""What the bank can see of its customers up to the month before, kept as it happens and scaled to [0, 1].

Source: data.md 8.5. The upper end of the scale is the 99th percentile rather than the maximum [C]: one very rich
customer must not change the propensities of all others.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline_lib.ingest.synthetic.laws import Bools, Floats, Ints

YEAR = 12
QUARTER = 3
DAYS_PER_MONTH = 30.0
CEILING = 0.99
MIN_VARIATION = 0.05


@dataclass(frozen=True)
class History:
    """The last twelve months, newest last; fewer at the start of the world."""

    products: Floats
    """Number of products, (N, months)."""
    events: Floats
    spend: Floats
    silence: Floats
    """Days since the last event, (N,)."""
    drops: Floats
    """Products given up so far, (N,)."""

    @classmethod
    def empty(cls, size: int) -> History:
        none = np.zeros((size, 0))
        return cls(none, none, none, np.zeros(size), np.zeros(size))

    def then(self, products: Ints, events: Ints, spend: Floats, drops: Ints) -> History:
        """The history one month later."""
        gap = DAYS_PER_MONTH / (events + 1.0)
        return History(
            _append(self.products, products),
            _append(self.events, events),
            _append(self.spend, spend),
            np.where(events > 0, gap, self.silence + DAYS_PER_MONTH),
            self.drops + drops,
        )

    def mean_products(self) -> Floats:
        """Mean number of products over the last twelve months, (N,); zero before the first."""
        return self.products.mean(axis=1) if self.products.shape[1] else np.zeros(len(self.silence))


def observed(history: History, active: Bools, tenure: Ints, income_rank: Floats) -> dict[str, Floats]:
    """The ten observables, each scaled to [0, 1], (N,)."""
    spend = history.spend
    mean = spend.mean(axis=1)
    variation = spend.std(axis=1) / np.maximum(mean, 1.0)
    raw = {
        "np": history.products[:, -1],
        "frq": history.events[:, -QUARTER:].sum(axis=1),
        "rec": history.silence,
        "chn": history.drops,
        "ten": tenure.astype(np.float64),
        "spd": spend[:, -1],
        "mon": spend.sum(axis=1),
        "stb": 1.0 / np.maximum(variation, MIN_VARIATION),
    }
    scaled = {name: _scaled(values) for name, values in raw.items()}
    return scaled | {"act": active.astype(np.float64), "inc": income_rank}


def income_rank(income: Floats, known: Bools) -> Floats:
    """Rank of the known incomes scaled to [0, 1]; a customer whose income the bank does not know is in the middle."""
    out = np.full(len(income), 0.5)
    order = np.argsort(np.argsort(income[known], kind="stable"), kind="stable")
    out[known] = order / max(known.sum() - 1, 1)
    return out


def _scaled(values: Floats) -> Floats:
    low, high = values.min(), np.quantile(values, CEILING)
    return np.asarray(np.clip((values - low) / max(high - low, 1e-12), 0.0, 1.0))


def _append(window: Floats, newest: Floats | Ints) -> Floats:
    return np.column_stack([window, newest.astype(np.float64)])[:, -YEAR:]
