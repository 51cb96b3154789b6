"""Group ``product_lag``: the lags and rolling sums of every product at the row's cutoff; off unless asked for.

The same kernel as ``cube_features``, run over the months a row may know (``history_months``), so that ``running`` is
at most that many months. Products held now are ``num_products`` already and are not made twice (FX1). Off by
default: order in time reaches the teacher as sequences. Source: features.md F13.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline_lib.contracts.tables import product_column
from pipeline_lib.features.columns import SNAPSHOT, Column, Kind, Values
from pipeline_lib.features.generator import Generator, Shape
from pipeline_lib.features.history import UNKNOWN, month_number
from pipeline_lib.features.material import Material
from pipeline_lib.features.product_lags import BLOCK_CUSTOMERS, PER_PRODUCT, Past, advance, feature_names
from pipeline_lib.settings.features import Features

MONTH_DAYS = 31
_FLAGS = ("lag1", "acquired")


def generator(shape: Shape, policy: Features) -> Generator:
    """The group ``product_lag``; it learns nothing."""
    columns = tuple(_column(short, kind, policy.history_months) for kind in PER_PRODUCT for short in shape.products)
    return Generator(columns, lambda m, learnt, made: _make(m, policy.history_months))


def _column(short: str, feature: str, months: int) -> Column:
    kind: Kind = "bin" if feature in _FLAGS else "num"
    lineage = (f"{SNAPSHOT}.{product_column(short)}", f"{SNAPSHOT}.snapshot_date")
    return Column(f"lag_{short}_{feature}", kind, lineage, lookback_days=months * MONTH_DAYS)


def _make(m: Material, months: int) -> Values:
    names = feature_names(m.products)[:-1]
    cutoffs = np.array([month_number(day) for day in m.rows["cutoff_date"]])
    found = np.empty((len(names), len(m)), dtype=np.int8)
    for cutoff in np.unique(cutoffs):
        rows = np.flatnonzero(cutoffs == cutoff)
        for first in range(0, len(rows), BLOCK_CUSTOMERS):
            block = rows[first : first + BLOCK_CUSTOMERS]
            found[:, block] = _at_cutoff(m, block, int(cutoff), months)[:-1]
    return {
        name: np.where(own == UNKNOWN, np.nan, own.astype(np.float64)) for name, own in zip(names, found, strict=True)
    }


def _at_cutoff(m: Material, rows: npt.NDArray[np.int64], cutoff: int, months: int) -> npt.NDArray[np.int8]:
    """Features of some rows of one cutoff month [5 P + 1, n]."""
    assert m.holdings is not None  # without products there is no column to make
    who = m.holdings.position(m.rows["customer_key"].to_numpy()[rows].astype(np.int64))
    last = cutoff - m.holdings.first_month
    past = Past.none(len(m.products), len(rows))
    out = np.empty((len(PER_PRODUCT) * len(m.products) + 1, len(rows)), dtype=np.int8)
    for month in range(max(0, last - months + 1), last + 1):
        advance(past, np.ascontiguousarray(m.holdings.held[who, month].T), out)
    return out
