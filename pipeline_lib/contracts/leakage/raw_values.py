"""Raw columns whose values give away what they are: states written on a later day, sample weights (R04, R08)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import polars as pl

from pipeline_lib.contracts.leakage.raw import RawSet, RawTable
from pipeline_lib.contracts.leakage.statistics import Floats, auc, ranks
from pipeline_lib.contracts.leakage.text import finding
from pipeline_lib.records import Finding
from pipeline_lib.settings.leakage import Leakage

TERMS = {"days": 1.0, "months": 365.25 / 12}
"""Units in which a whole number may state how long something runs [d]."""
LONGEST_TERM = 600
Flags = npt.NDArray[np.bool_]


def states_of_a_later_day(raw: RawSet, limits: Leakage) -> Iterator[Finding]:
    """R04: date + term of a row parts the classes of a column: it says what had ended by one later day.

    Neither the date nor the term does so alone, as a change of vocabulary or a kind of contract would.
    """
    for table in raw.tables:
        for time in _times(table):
            for name in table.states:
                yield from _parted(table, time, name, limits)


def sample_weights(raw: RawSet, limits: Leakage) -> Iterator[Finding]:
    """R08: real positive values, nearly unique, whose rare ties are rows of one stratum: the design of the sample."""
    own = limits.raw
    for table in raw.tables:
        for name in table.features:
            tied = _tied(table.rows, name, limits)
            if tied is None:
                continue
            lifts = _lifts(table.rows, name, tied)
            share = float((lifts >= own.weight_lift).mean()) if len(lifts) else 0.0
            if share >= own.weight_columns:
                message = f"{len(tied)} rows share their value with rows alike in other columns: a sample weight"
                column = f"{table.name}.{name}"
                yield finding("R08", column, "share of columns that ties agree in", share, own.weight_columns, message)


def _parted(table: RawTable, time: str, name: str, limits: Leakage) -> Iterator[Finding]:
    own, rows = limits.raw, table.rows.drop_nulls([time, name])
    if len(rows) < limits.min_rows or not 2 <= rows[name].n_unique() <= own.max_classes or name == time:
        return
    day = rows[time].cast(pl.Date).cast(pl.Int32).cast(pl.Float64).to_numpy()
    code = rows[name].rank("dense").cast(pl.Int64).to_numpy() - 1
    for term in _terms(table, name):
        length = rows[term].cast(pl.Float64).fill_null(0).to_numpy()
        for unit, days in TERMS.items():
            sides = _two_sides(day + length * days, code, limits.min_class_rows)
            if sides is None:
                continue
            ends = auc(ranks(np.stack([day + length * days, day, length], axis=1)), sides)[:, 0]
            if ends[0] >= own.separated_auc and max(ends[1:]) < own.one_part_auc:
                message = f"{time} + {term} [{unit}] parts the classes: the value was written on one later day"
                column = f"{table.name}.{name}"
                yield finding("R04", column, "AUC of the end date", float(ends[0]), own.separated_auc, message)
                return


def _two_sides(end: Floats, code: npt.NDArray[np.int64], min_rows: int) -> Floats | None:
    """Classes in the order of their mean end, cut where early and late classes overlap least [n, 1]."""
    counts = np.bincount(code)
    order = np.argsort(np.bincount(code, weights=end) / np.maximum(counts, 1), kind="stable")
    best, found = 0.0, None
    ranked = ranks(end[:, None])
    for cut in range(1, len(order)):
        late = np.isin(code, order[cut:]).astype(np.float64)[:, None]
        if min(late.sum(), len(late) - late.sum()) < min_rows:
            continue
        area = float(auc(ranked, late)[0, 0])
        if area > best:
            best, found = area, late
    return found


def _times(table: RawTable) -> list[str]:
    return [name for name in table.of_role("time") if table.rows[name].dtype.is_temporal()]


def _terms(table: RawTable, name: str) -> list[str]:
    """Whole numbers that may be a term."""
    out = []
    for other in table.features:
        values = table.rows[other]
        if other != name and values.dtype.is_integer() and values.len() > values.null_count():
            low, high = values.min(), values.max()
            if isinstance(low, int) and isinstance(high, int) and 0 <= low < high <= LONGEST_TERM:
                out.append(other)
    return out


def _tied(rows: pl.DataFrame, name: str, limits: Leakage) -> pl.DataFrame | None:
    """Rows whose value of a real-valued, positive, nearly unique column stands in another row too, by value."""
    own, values = limits.raw, rows[name]
    if not values.dtype.is_float() or values.null_count() or values.is_nan().any() or float((values > 0).mean()) < 1:  # type: ignore[arg-type]
        return None
    if float((values == values.round()).mean()) > 0.5:  # type: ignore[arg-type]
        return None
    counts = values.value_counts()["count"]
    distinct, top = len(counts) / len(values), float(counts.max()) / len(values)  # type: ignore[arg-type]
    low, high = own.weight_distinct
    if not low <= distinct < high or top > own.weight_top_share:
        return None
    tied = rows.filter(values.is_duplicated()).sort(name, maintain_order=True)
    return tied if len(tied) >= own.weight_tied_rows else None


def _lifts(rows: pl.DataFrame, name: str, tied: pl.DataFrame) -> Floats:
    """Per other column: agreement of neighbours with equal value beyond that of any two rows, 1 = always."""
    first, second = tied[:-1], tied[1:]
    pair: Flags = (first[name] == second[name]).to_numpy()
    out = []
    for other in rows.columns:
        shares = rows[other].value_counts()["count"].to_numpy() / len(rows)
        chance = float((shares**2).sum())
        if other == name or chance > 0.98:
            continue
        agree = first[other].eq_missing(second[other]).to_numpy()[pair].mean()
        out.append((float(agree) - chance) / (1 - chance))
    return np.array(out)
