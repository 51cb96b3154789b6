"""Traps of raw tables, planted into the tables of an honest source of three tables."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any

import numpy as np
import polars as pl

from pipeline_lib.contracts.leakage import RawSet, RawTable
from pipeline_lib.contracts.leakage.text import Verdict
from pipeline_lib.settings.source import RawColumn

FEATURE = RawColumn(role="feature", known="at_row_date")
STATIC = RawColumn(role="feature", known="static")
KEY = RawColumn(role="key", known="static")
TIME = RawColumn(role="time", known="at_row_date")
LABEL = RawColumn(role="label", known="after_outcome")
ROWS = 4000
Columns = dict[str, tuple[RawColumn, Any]]
FIRST = date(2020, 1, 1)


@dataclass(frozen=True)
class RawPlant:
    """``statistic`` is the one the check must name."""

    name: str
    check: str
    statistic: str
    plant: Callable[[RawSet], RawSet]
    verdict: Verdict = "FAIL"


def honest() -> RawSet:
    """Contracts with dates and terms, persons with facts that never change, answers with honest inputs."""
    rng = np.random.default_rng(21)
    day = [FIRST + timedelta(days=int(d)) for d in rng.integers(0, 1400, ROWS)]
    contracts: Columns = {
        "contract": (KEY, np.arange(ROWS)),
        "signed": (TIME, pl.Series(day, dtype=pl.Date)),
        "months": (FEATURE, rng.choice([12, 24, 36, 48], ROWS)),
        "amount": (FEATURE, np.round(np.exp(rng.normal(8, 1, ROWS)), 2)),
        "branch": (FEATURE, rng.choice(["north", "south", "west"], ROWS)),
    }
    persons: Columns = {"person": (KEY, np.arange(ROWS)), "born": (STATIC, rng.integers(1940, 2000, ROWS))}
    age, wage = rng.normal(size=ROWS), rng.normal(size=ROWS)
    said = rng.random(ROWS) < 1 / (1 + np.exp(-0.6 * age - 0.6 * wage))
    answers: Columns = {
        "asked": (TIME, pl.Series(day, dtype=pl.Date)),
        "age": (FEATURE, age),
        "wage": (FEATURE, wage),
        "answer": (LABEL, np.where(said, "yes", "no")),
    }
    tables = {"contract": contracts, "person": persons, "answer": answers}
    return RawSet("small source", tuple(_table(name, own) for name, own in tables.items()))


def state_at_the_end(raw: RawSet) -> RawSet:
    """Whether a contract is finished, as of the day the data were copied."""
    table = raw.tables[0].rows
    end = table["signed"].cast(pl.Int32) + (table["months"] * 30.4375).cast(pl.Int32)
    done = end <= (FIRST + timedelta(days=1500) - date(1970, 1, 1)).days
    return _with(raw, 0, "state", FEATURE, pl.Series(np.where(done, "finished", "running")))


def table_without_dates(raw: RawSet) -> RawSet:
    """Standing orders as of some day."""
    amounts = np.random.default_rng(22).gamma(2.0, 500.0, ROWS).round(0)
    return _with(raw, 1, "order_amount", FEATURE, pl.Series(amounts))


def later_year(raw: RawSet) -> RawSet:
    """Unemployment of a year after the first contracts, in a table of facts said to be static."""
    return _with(raw, 1, "unemployment_2023", STATIC, pl.Series(np.random.default_rng(23).random(ROWS)))


def sample_weight(raw: RawSet) -> RawSet:
    """One weight per small stratum of the sample, as a feature; the strata show in other columns."""
    stratum = np.arange(ROWS) // 3
    weight = 100.25 + 1.37 * np.random.default_rng(25).permutation(ROWS)[stratum]
    grown = raw
    for k in range(4):
        grown = _with(grown, 1, f"design_{k}", STATIC, pl.Series((stratum * (k + 3)) % (5 + k)))
    return _with(grown, 1, "weight", STATIC, pl.Series(weight))


def length_of_the_call(raw: RawSet) -> RawSet:
    said = (raw.tables[2].rows["answer"] == "yes").to_numpy()
    seconds = np.exp(5 + 1.5 * said + np.random.default_rng(26).normal(size=ROWS))
    return _with(raw, 2, "seconds", FEATURE, pl.Series(seconds.round(0)))


def days_before_the_answer(raw: RawSet) -> RawSet:
    said = (raw.tables[2].rows["answer"] == "yes").to_numpy()
    days = np.where(said, np.random.default_rng(27).gamma(2.0, 30.0, ROWS), np.nan)
    return _with(raw, 2, "days_before", FEATURE, pl.Series(days).fill_nan(None))


def column_nobody_declared(raw: RawSet) -> RawSet:
    table = raw.tables[0]
    columns = {name: column for name, column in table.columns.items() if name != "branch"}
    return replace(raw, tables=(replace(table, columns=columns), *raw.tables[1:]))


def _table(name: str, own: Columns) -> RawTable:
    rows = pl.DataFrame({column: values for column, (_, values) in own.items()})
    return RawTable(name, rows, {column: declared for column, (declared, _) in own.items()})


def _with(raw: RawSet, place: int, name: str, declared: RawColumn, values: pl.Series) -> RawSet:
    table = raw.tables[place]
    grown = replace(table, rows=table.rows.with_columns(values.alias(name)), columns={**table.columns, name: declared})
    return replace(raw, tables=tuple(grown if i == place else t for i, t in enumerate(raw.tables)))


RAW_PLANTS = (
    RawPlant("raw column without a declaration", "R01", "declaration", column_nobody_declared),
    RawPlant("table without dates", "R02", "dates in the table", table_without_dates),
    RawPlant("figures of a later year", "R03", "year in the name", later_year),
    RawPlant("state as of the copy's day", "R04", "AUC of the end date", state_at_the_end),
    RawPlant("length of the call", "R05", "AUC beyond all others", length_of_the_call),
    RawPlant("days before the answer", "R06", "AUC of being defined", days_before_the_answer),
    RawPlant("weight of the sample", "R08", "share of columns that ties agree in", sample_weight),
)
