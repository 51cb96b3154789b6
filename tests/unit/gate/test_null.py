"""The gate as a test of hypotheses: under no difference it finds one as often as stated, and wrong ways do not.

Small and seeded; ``make bench-gate`` draws thousands. Source: promotion.md sections 1 (L7), 6.4 and 16.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import polars as pl
import pytest
from scipy import stats

from benchmarks.gate_law import Law, draw, verdict
from pipeline_lib.gate.compare import Competition
from pipeline_lib.gate.evidence import Tables
from pipeline_lib.gate.table import Compared
from tests.unit.gate.test_compare import LIMITS

WEEKS, ROWS = 300, 300
STATED = (0.02, 0.07)
"""Source: promotion.md section 16."""
TASKS = ("binary_3", "binary_4", "binary_5", "binary_6")

NULL = Law(rows=ROWS, tasks=TASKS)
REPEATED = replace(NULL, per_customer=4, rows=4 * ROWS)


@dataclass(frozen=True)
class Week:
    """One draw, read in several ways."""

    tables: Tables
    law: Law
    found: Competition

    @property
    def as_it_is(self) -> float:
        return float(self.found.significance["p"])

    @property
    def every_row_a_customer(self) -> float:
        """Wrong: ignores whose row it is."""

        def loose(table: pl.DataFrame) -> pl.DataFrame:
            return table.with_columns(customer_key=pl.int_range(pl.len(), dtype=pl.Int32))

        tables = Tables(loose(self.tables.challenger), loose(self.tables.champion), loose(self.tables.labels))
        return float(verdict(tables, self.law, LIMITS).significance["p"])

    @property
    def friendlier_of_two(self) -> float:
        """Wrong, and the original's way: two-sided, the smaller of two p-values, one of them over the tasks."""
        over_tasks = float(stats.ttest_1samp([row.delta for row in self.tasks], 0).pvalue)
        return min(2 * min(self.as_it_is, 1 - self.as_it_is), over_tasks)

    @property
    def tasks(self) -> list[Compared]:
        return [row for row in self.found.comparison if row.metric.startswith("auc:")]


@cache
def weeks(law: Law) -> list[Week]:
    random = np.random.default_rng(12)
    drawn = [draw(law, random) for _ in range(WEEKS)]
    return [Week(tables, law, verdict(tables, law, LIMITS)) for tables in drawn]


def rate(law: Law, read: str) -> float:
    return float(np.mean([getattr(week, read) < LIMITS.significance_level for week in weeks(law)]))


@pytest.mark.parametrize("law", [NULL, REPEATED], ids=["once", "four times"])
def test_equal_models_are_called_different_as_often_as_stated(law: Law) -> None:
    low, high = STATED
    assert low <= rate(law, "as_it_is") <= high


@pytest.mark.parametrize(
    ("law", "read"),
    [(REPEATED, "every_row_a_customer"), (NULL, "friendlier_of_two")],
)
def test_a_wrong_test_breaks_the_bound(law: Law, read: str) -> None:
    """The bound above can fail: these are the mistakes it is there for."""
    assert rate(law, read) > STATED[1]


def test_the_same_task_again_is_no_further_evidence() -> None:
    """One customer's tasks go together: they are added up before anything is squared."""
    law = Law(rows=ROWS, tasks=("binary_3", "binary_4"))
    one = draw(law, np.random.default_rng(3))
    again = {"s_binary_4": "s_binary_3", "binary_4": "binary_3"}

    def twice(table: pl.DataFrame) -> pl.DataFrame:
        return table.with_columns(pl.col(source).alias(name) for name, source in again.items() if name in table.columns)

    doubled = verdict(Tables(twice(one.challenger), twice(one.champion), twice(one.labels)), law, LIMITS)
    alone = verdict(one, replace(law, tasks=("binary_3",)), LIMITS)
    assert doubled.significance["se"] == pytest.approx(alone.significance["se"])


def test_equal_models_are_hardly_ever_promoted() -> None:
    """The whole competition asks for a gain besides: at most the stated rate, whatever the secondary metrics do."""
    random = np.random.default_rng(19)
    law = Law(rows=ROWS)
    found = [verdict(draw(law, random), law, LIMITS) for _ in range(60)]
    assert np.mean([one.passed for one in found]) <= LIMITS.significance_level


def test_a_better_model_is_found() -> None:
    law, random = Law(rows=4000, lift=0.7), np.random.default_rng(13)
    assert np.mean([verdict(draw(law, random), law, LIMITS).passed for _ in range(10)]) >= 0.9
