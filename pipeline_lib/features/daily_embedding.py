"""The group ``mamba_temporal``: half a year of daily rows as a few dozen numbers.

A row of a day has ln1p spend in each level-1 category, ln1p purchases, cash's share of the outflow, ln1p inflow and
sine and cosine of the weekday; an idle day is a row of zeros. The flattened days are projected on the leading right
singular vectors of train rows (truncated decomposition, not centred). The matrix is sparse and the projection adds
a row's own non-zeros in their order, so a value does not depend on the batch. A row without any event is not
defined: an unknown customer is not an idle one. Source: features.md 11.3.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.sparse import csr_array, vstack
from sklearn.decomposition import TruncatedSVD
from threadpoolctl import threadpool_limits

from pipeline_lib.features.columns import EVENT, Column, Floats, Values, event_type, ratio
from pipeline_lib.features.generator import Generator, GroupUnavailable, Shape, seed_of
from pipeline_lib.features.inputs import UNKNOWN_CATEGORY
from pipeline_lib.features.material import Material
from pipeline_lib.features.series.blocks import in_blocks, joined, per_row, stream_of
from pipeline_lib.features.stream import KINDS, Kind, Stream, Window
from pipeline_lib.settings.feature_groups.daily_embedding import DailyEmbedding
from pipeline_lib.settings.features import Features

GROUP = "mamba_temporal"
DECIMALS = 4
THURSDAY = 3
"""Weekday of 1970-01-01, Monday = 0."""
LINEAGE = tuple(f"{EVENT}.{name}" for name in ("amount", "event_date", "event_type", "l1_id"))
OUTFLOW: tuple[Kind, ...] = ("spend", "cash", "transfer")
SMALLEST_SINGULAR = 1e-6
"""Share of the largest singular value below which a direction is rounding."""
Ints = npt.NDArray[np.int64]


def mamba_temporal(shape: Shape, policy: Features) -> Generator:
    """Columns ``mamba_00`` on; as many as train rows span, ``components`` at most."""
    own = policy.daily_embedding
    areas = level1_ids(shape.categories)
    return Generator(
        columns=_columns(own.components, own.days),
        make=lambda m, learnt, made: _make(m, learnt["components"], areas, own.days),
        fit=lambda m, made: {"components": _fit(m, areas, own)},
        columns_of=lambda learnt, known: _columns(len(learnt["components"]), own.days),
        backend=own.backend,
    )


def level1_ids(categories: pl.DataFrame) -> Ints:
    """Level-1 categories that customers choose, ascending."""
    chosen = categories.filter(pl.col("customer_made") & (pl.col("code") != UNKNOWN_CATEGORY))
    return chosen["l1_id"].unique().sort().to_numpy().astype(np.int64)


def daily_matrix(stream: Stream, areas: Ints, days: int) -> csr_array:
    """Flattened days of every row [R, days x (areas + 5)], oldest day first."""
    w = stream.window(days)
    active, place = np.unique(w.row * days + (days - 1 - w.age), return_inverse=True)
    row, day = active // days, active % days
    table = np.concatenate(
        [_amounts(w, place, len(active), areas), _weekday(stream.cutoff[row] + day - (days - 1))], axis=1
    )
    width = table.shape[1]
    at, channel = np.nonzero(table)
    starts = np.concatenate([[0], np.cumsum(np.bincount(row[at], minlength=len(w)))])
    return csr_array((table[at, channel], day[at] * width + channel, starts), shape=(len(w), days * width))


def _amounts(w: Window, place: Ints, active: int, areas: Ints) -> Floats:
    """ln1p spend by area, ln1p purchases, cash share, ln1p inflow of the active days [A, areas + 3]."""
    e = w.events
    spend, cash, inflow, out = (_is_kind(w, kinds) for kinds in (("spend",), ("cash",), ("inflow",), OUTFLOW))
    area = [per_row(place, active, e.amount * (spend & (e.l1 == one))) for one in areas]
    count = per_row(place, active, spend.astype(np.float64))
    cash_in, flow_in, flow_out = (per_row(place, active, e.amount * kind) for kind in (cash, inflow, out))
    return np.stack(
        [*np.log1p([*area, count]), np.nan_to_num(ratio(cash_in, flow_out)), np.log1p(flow_in)],
        axis=1,
    )


def _is_kind(w: Window, kinds: tuple[Kind, ...]) -> npt.NDArray[np.bool_]:
    wanted = {*kinds, *(w.also_spend if "spend" in kinds else ())}
    return np.isin(w.events.kind, [KINDS.index(kind) for kind in wanted])


def _weekday(day: Ints) -> Floats:
    """Sine and cosine of the weekday of days since 1970-01-01 [A, 2]."""
    angle = 2.0 * np.pi * ((day + THURSDAY) % 7) / 7
    return np.stack([np.sin(angle), np.cos(angle)], axis=1)


def _fit(m: Material, areas: Ints, own: DailyEmbedding) -> Floats:
    """Leading right singular vectors of some train rows [K, days x channels], K <= components.

    Raises:
        GroupUnavailable: the backend is ``none``, or no train row has an event.
    """
    if own.backend == "none":
        raise GroupUnavailable("daily_embedding.backend is none")
    rows = np.unique(np.linspace(0, max(len(m) - 1, 0), min(own.fit_rows, len(m))).astype(np.int64))
    some = replace(m, rows=m.rows[rows], stream=stream_of(m).at(rows))
    matrix = vstack([daily_matrix(stream, areas, own.days) for _, stream in in_blocks(some)], format="csr")
    matrix = matrix[np.diff(matrix.indptr) > 0]
    if not matrix.shape[0]:
        raise GroupUnavailable(f"no train row has an event in {own.days} days")
    decomposition = TruncatedSVD(min(own.components, *matrix.shape), random_state=seed_of(GROUP))
    with threadpool_limits(1):  # sums of several threads differ in their last bits
        decomposition.fit(matrix)
    size = decomposition.singular_values_
    kept: Floats = decomposition.components_[size > SMALLEST_SINGULAR * size[0]]
    return kept


def _make(m: Material, components: Floats, areas: Ints, days: int) -> Values:
    return joined([_project(daily_matrix(stream, areas, days), components) for _, stream in in_blocks(m)])


def _project(matrix: csr_array, components: Floats) -> Values:
    values = np.round(matrix @ np.ascontiguousarray(components.T), DECIMALS)
    values[np.diff(matrix.indptr) == 0] = np.nan
    return {f"mamba_{k:02d}": values[:, k] for k in range(len(components))}


def _columns(count: int, days: int) -> tuple[Column, ...]:
    needs = (event_type("spend"),)
    return tuple(Column(f"mamba_{k:02d}", "num", LINEAGE, needs, lookback_days=days) for k in range(count))
