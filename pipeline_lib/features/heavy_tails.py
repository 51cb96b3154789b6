"""Which columns get a log copy. One definition and one function for every reader. Source: features.md 12.1.

It is a test for heavy tails and not a proof of a power law; an exponential sits on the line. So it is decided by
the train rows that everything is fitted on, and the verdict is part of the schema; a column on the line may change
sides in another week, and the schema's hash then says so.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pipeline_lib.features.columns import Column, Floats, Values
from pipeline_lib.features.generator import Arrays, Generator, GroupUnavailable, packed, unpacked
from pipeline_lib.settings.feature_groups.assembly import HeavyTails

LOG_COPIES = "log_copies"
SUFFIX = "__log"


def generator(declared: Mapping[str, Mapping[str, Column]], limits: HeavyTails) -> Generator:
    """The group of the copies, ln1p(x) in a block of its own, in the order of the columns they are made of.

    Args:
        declared: the other groups and the columns they can have at most.
    """
    copies = {name: _copy(column) for own in declared.values() for name, column in own.items() if column.kind == "num"}

    def fit(m: object, made: Values) -> Arrays:
        heavy = [name for name in copies if name in made and heavy_tailed(made[name], limits)]
        if not heavy:
            raise GroupUnavailable("no column has a heavy tail on train")
        return {"columns": packed(heavy)}

    return Generator(
        tuple(copies.values()),
        lambda m, learnt, made: {name + SUFFIX: np.log1p(made[name]) for name in unpacked(learnt["columns"])},
        fit,
        after=tuple(declared),
        block="x_raw",
        columns_of=lambda learnt, known: tuple(_copy(known[name]) for name in unpacked(learnt["columns"])),
    )


def _copy(column: Column) -> Column:
    return Column(column.name + SUFFIX, "log", column.lineage, column.needs, lookback_days=column.lookback_days)


def heavy_tailed(values: Floats, limits: HeavyTails) -> bool:
    """Whether the defined values [n] are never negative, many, skewed, peaked, and fall like a power of their rank."""
    known = np.sort(values[~np.isnan(values)])
    if len(known) < limits.min_values or known[0] < 0 or len(np.unique(known)) <= limits.min_distinct:
        return False
    skew, excess = sample_moments(known)
    return abs(skew) > limits.skew and excess > limits.excess_kurtosis and rank_fit(known) >= limits.rank_fit


def sample_moments(x: Floats) -> tuple[float, float]:
    """Skewness and excess kurtosis with the sample corrections G1 and G2 (Joanes and Gill, 1998)."""
    n, d = len(x), x - x.mean()
    m2, m3, m4 = (float(np.mean(d**k)) for k in (2, 3, 4))
    g1, g2 = m3 / m2**1.5, m4 / m2**2 - 3
    return g1 * np.sqrt(n * (n - 1)) / (n - 2), (n - 1) / ((n - 2) * (n - 3)) * ((n + 1) * g2 + 6)


def rank_fit(ascending: Floats) -> float:
    """R2 of ln(rank) against ln(value) on the upper half of the positive values, rank 1 = the largest; 0 if it has no
    spread.
    """
    positive = ascending[ascending > 0]
    upper = np.log(positive[len(positive) // 2 :][::-1])
    if len(upper) < 2 or upper[0] == upper[-1]:
        return 0.0
    ranks = np.log(np.arange(1, len(upper) + 1))
    return float(np.corrcoef(ranks, upper)[0, 1] ** 2)
