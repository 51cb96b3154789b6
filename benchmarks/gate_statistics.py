"""The gate as a statistical test: how often it is wrong when nothing differs, how often it finds what does.

Every number comes from the gate's own competition, drawn again and again from a known law.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from benchmarks.gate_law import Law, draw, verdict
from pipeline_lib.gate import significance
from pipeline_lib.gate.compare import Competition
from pipeline_lib.gate.evidence import Tables
from pipeline_lib.gate.limits import Limits
from pipeline_lib.gate.metrics import Ints

CALIBRATION_ROWS, CALIBRATION_DRAWS = 100_000, 5


@dataclass(frozen=True)
class Rates:
    """Shares of weeks."""

    weeks: int
    rejected: float
    """Primary test below the level."""
    improved: float
    """Primary metric improved by enough."""
    promoted: float
    """The whole competition passed."""
    detectable: float
    """Median smallest difference the verdicts said they would find [relative]."""
    se: float
    """Median standard error of the primary difference."""

    def __str__(self) -> str:
        half = 1.96 * np.sqrt(self.rejected * (1 - self.rejected) / self.weeks)
        return (
            f"{self.weeks:>6} {self.rejected:>9.1%} ±{half:<6.1%}"
            f" {self.improved:>9.1%} {self.promoted:>9.1%} {self.se:>9.5f} {self.detectable:>10.2%}"
        )


HEAD = f"{'weeks':>6} {'p < 0.05':>9} {'±95 %':<7} {'gain ok':>9} {'promoted':>9} {'SE':>9} {'detectable':>10}"


def rates(law: Law, limits: Limits, weeks: int, seed: int) -> Rates:
    """What the gate says about so many weeks of a law."""
    random = np.random.default_rng(seed)
    found = [verdict(draw(law, random), law, limits) for _ in range(weeks)]
    return _rates(found, limits)


def counted_as_rows(law: Law, limits: Limits, weeks: int, seed: int) -> float:
    """Share of weeks below the level when a customer's rows are taken for customers: what clustering prevents."""
    random = np.random.default_rng(seed)
    own = pl.int_range(pl.len(), dtype=pl.Int32).alias("customer_key")
    wrong = 0
    for _ in range(weeks):
        one = draw(law, random)
        loose = Tables(*(table.with_columns(own) for table in (one.challenger, one.champion, one.labels)))
        wrong += float(verdict(loose, law, limits).significance["p"]) < limits.significance_level
    return wrong / weeks


def lift_of(gain: float, law: Law, limits: Limits) -> float:
    """The ``lift`` under which the expected primary metric rises by ``gain`` [relative]; bisected on many rows."""
    low, high = 0.0, 1.0
    for _ in range(9):
        middle = (low + high) / 2
        low, high = (middle, high) if _expected_gain(replace(law, lift=middle), limits) < gain else (low, middle)
    return (low + high) / 2


def standard_errors(rows: int, per_customer: int, resamples: int, limits: Limits, seed: int) -> Iterator[str]:
    """SE from influences beside SE from a customer bootstrap, metric by metric."""
    law = Law(rows, per_customer)
    tables, random = draw(law, np.random.default_rng(seed)), np.random.default_rng(seed + 1)
    drawn = [_delta(_resampled(tables, random), law, limits) for _ in range(resamples)]
    half = significance.NormalDist().inv_cdf((1 + significance.COVERAGE) / 2)
    for row in verdict(tables, law, limits).comparison:
        assert row.low is not None
        assert row.high is not None
        influence, bootstrap = (row.high - row.low) / 2 / half, float(np.std([d[row.metric] for d in drawn]))
        yield f"{row.metric:<22} {influence:>10.6f} {bootstrap:>10.6f} {influence / bootstrap:>7.3f}"


def _rates(found: list[Competition], limits: Limits) -> Rates:
    p = np.array([float(one.significance["p"]) for one in found])
    return Rates(
        weeks=len(found),
        rejected=float(np.mean(p < limits.significance_level)),
        improved=float(np.mean([one.comparison[0].passed for one in found])),
        promoted=float(np.mean([one.passed for one in found])),
        detectable=float(np.median([one.significance["detectable_relative"] for one in found])),
        se=float(np.median([one.significance["se"] for one in found])),
    )


def _expected_gain(law: Law, limits: Limits) -> float:
    big = replace(law, rows=CALIBRATION_ROWS)
    rows = [
        verdict(draw(big, np.random.default_rng(seed)), big, limits).comparison[0] for seed in range(CALIBRATION_DRAWS)
    ]
    return float(np.mean([row.relative for row in rows if row.relative is not None]))


def _resampled(tables: Tables, random: np.random.Generator) -> Tables:
    """Customers drawn with replacement, each with all its rows."""
    of: Ints = tables.customers
    starts = np.flatnonzero(np.r_[True, of[1:] != of[:-1]])
    sizes = np.diff(np.r_[starts, len(of)])
    drawn = random.integers(0, len(starts), len(starts))
    rows = np.concatenate([np.arange(starts[c], starts[c] + sizes[c]) for c in drawn])
    return Tables(tables.challenger[rows], tables.champion[rows], tables.labels[rows])


def _delta(tables: Tables, law: Law, limits: Limits) -> dict[str, float]:
    return {row.metric: float(row.delta or 0.0) for row in verdict(tables, law, limits).comparison}
