"""Shape of what a customer's purchases scatter around: moments of amounts and of the days between them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline_lib.features.columns import Floats, Values, nan_where, ratio
from pipeline_lib.features.series.blocks import per_row
from pipeline_lib.features.stream import Window

MIN_SPREAD = 1e-12
"""Variance below this share of the squared mean is rounding: such values are all the same."""


def distribution(purchases: Window, min_values: int) -> Values:
    """Skewness m3 / m2^1.5 and excess kurtosis m4 / m2^2 - 3 of amounts and of gaps in days [R]."""
    row = purchases.row
    same, rows = row[1:] == row[:-1], len(purchases)
    gap_row, gaps = row[1:][same], -np.diff(purchases.age.astype(np.float64))[same]
    amount_skew, amount_kurtosis = _shape(row, purchases.events.amount, rows, min_values)
    gap_skew, gap_kurtosis = _shape(gap_row, gaps, rows, min_values)
    return {
        "ts_dist_amount_skew": amount_skew,
        "ts_dist_amount_kurtosis": amount_kurtosis,
        "ts_dist_gap_skew": gap_skew,
        "ts_dist_gap_kurtosis": gap_kurtosis,
    }


def _shape(row: npt.NDArray[np.int64], values: Floats, rows: int, min_values: int) -> tuple[Floats, Floats]:
    """NaN for fewer than ``min_values`` values or when all are the same."""
    count = per_row(row, rows)
    mean = ratio(per_row(row, rows, values), count)
    centred = values - mean[row]
    squared = centred * centred
    m2, m3, m4 = (ratio(per_row(row, rows, x), count) for x in (squared, squared * centred, squared * squared))
    none = (count < min_values) | (m2 <= MIN_SPREAD * mean**2)
    return nan_where(none, ratio(m3, m2**1.5)), nan_where(none, ratio(m4, m2**2) - 3.0)
