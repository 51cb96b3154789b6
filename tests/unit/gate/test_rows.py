"""From rows to a verdict: whatever a score is not, nothing is promoted on it. Source: promotion.md section 16."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.gate_law import SHAPES, Law, draw, verdict
from pipeline_lib.gate.evidence import Tables
from tests.unit.gate.test_compare import LIMITS

LAW = Law(rows=1500, lift=0.9)
SIDES = ("champion", "challenger")
SEED = 4


@cache
def week() -> Tables:
    return draw(LAW, np.random.default_rng(SEED))


def cell(value: float | None) -> Callable[[pl.DataFrame, str, int], pl.DataFrame]:
    """One score of one customer is something else."""

    def broken(table: pl.DataFrame, column: str, row: int) -> pl.DataFrame:
        values = table[column].to_list()
        values[row] = value
        return table.with_columns(pl.Series(column, values, dtype=pl.Float64))

    return broken


def gone(table: pl.DataFrame, column: str, _: int) -> pl.DataFrame:
    return table.drop(column)


def empty(table: pl.DataFrame, column: str, _: int) -> pl.DataFrame:
    return table.with_columns(pl.lit(None, dtype=pl.Float64).alias(column))


FAULTS = {"nan": cell(float("nan")), "inf": cell(float("inf")), "-inf": cell(float("-inf")), "null": cell(None)}
FAULTS |= {"gone": gone, "empty": empty}
COLUMNS = [column for column in week().challenger.columns if column != "customer_key"]


def test_these_rows_are_promoted_as_they_are() -> None:
    """The property below can fail: this is the pass it guards."""
    assert verdict(week(), LAW, LIMITS).code == "PASSED"


@settings(max_examples=80, deadline=None)
@given(
    faults=st.lists(
        st.tuples(
            st.sampled_from(SIDES), st.sampled_from(COLUMNS), st.sampled_from(sorted(FAULTS)), st.integers(0, 1499)
        ),
        min_size=1,
        max_size=3,
        unique_by=lambda fault: (fault[0], fault[1]),
    )
)
def test_no_score_that_is_none_is_promoted(faults: list[tuple[str, str, str, int]]) -> None:
    tables = week()
    for side, column, fault, row in faults:
        tables = replace(tables, **{side: FAULTS[fault](getattr(tables, side), column, row)})
    found = verdict(tables, LAW, LIMITS)
    assert found.code == "METRIC_INVALID"
    sides = {side for side, *_ in faults}
    assert any(f"{side} {task} " in found.reason for side in sides for task in SHAPES)


@settings(max_examples=30, deadline=None)
@given(task=st.sampled_from(sorted(SHAPES)), share=st.sampled_from([0.0, 0.01, 0.5]))
def test_labels_that_are_not_known_are_left_out_for_both(task: str, share: float) -> None:
    """Masked rows change the numbers of their task alone; where none is known nothing is promoted."""
    known = np.arange(LAW.rows) < share * LAW.rows
    labels = week().labels.with_columns(pl.when(pl.Series(known)).then(pl.col(task)).alias(task))
    found = verdict(replace(week(), labels=labels), LAW, LIMITS)
    before = {row.metric: row for row in verdict(week(), LAW, LIMITS).comparison}
    changed = {row.metric.partition(":")[2] for row in found.comparison if row != before[row.metric]}
    assert changed - {""} == {task}
    assert share > 0 or found.code == "METRIC_INVALID"
