"""Change points of daily spend by a two-sided cumulative sum. Source: Page, 1954; features.md 11.2."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline_lib.features.columns import Floats, Values, ratio
from pipeline_lib.features.series.blocks import per_row

Bools = npt.NDArray[np.bool_]


def change_points(x: Floats, allowance: float, alarm: float) -> Values:
    """Three statistics of x [R, D] in its own standard deviations.

    ``count``: alarms / D. ``max_shift``: largest difference of the means of two neighbouring segments, NaN with one
    segment. ``segment``: mean length of the segment a day lies in / D, sum L^2 / D^2. The plain mean length would be
    1 / (alarms + 1), the first column once more (F11).
    """
    days = x.shape[1]
    spread = x.std(axis=1)
    z = ratio(x - x.mean(axis=1, keepdims=True), np.broadcast_to(spread[:, None], x.shape))
    alarms = cusum(z, allowance, alarm)
    length, mean = _segments(z, alarms)
    shift = np.abs(np.diff(mean, axis=1))
    known = ~np.isnan(shift)
    largest = np.where(known, shift, -np.inf).max(axis=1)
    undefined = np.isnan(z[:, 0])
    made = {
        "ts_cp_count": alarms.sum(axis=1) / days,
        "ts_cp_max_shift": np.where(known.any(axis=1), largest, np.nan),
        "ts_cp_segment": (length**2).sum(axis=1) / days**2,
    }
    return {name: np.where(undefined, np.nan, values) for name, values in made.items()}


def cusum(z: Floats, allowance: float, alarm: float) -> Bools:
    """Days on which S+ = max(0, S+ + z - k) or its mirror reaches ``alarm`` [R, D]; both start again after it."""
    high, low = np.zeros(len(z)), np.zeros(len(z))
    out = np.zeros(z.shape, dtype=np.bool_)
    by_day = np.ascontiguousarray(z.T)
    for day in range(z.shape[1]):
        high = np.maximum(0.0, high + by_day[day] - allowance)
        low = np.maximum(0.0, low - by_day[day] - allowance)
        hit = (high >= alarm) | (low >= alarm)
        high[hit] = low[hit] = 0.0
        out[:, day] = hit
    return out


def _segments(z: Floats, alarms: Bools) -> tuple[Floats, Floats]:
    """Length and mean of the segments [R, D], each ending with an alarm or with the series; NaN mean: no segment."""
    rows, days = z.shape
    number: npt.NDArray[np.int64] = np.cumsum(alarms, axis=1) - alarms
    place = (np.arange(rows)[:, None] * days + number).ravel()
    length = per_row(place, rows * days).reshape(rows, days)
    total = per_row(place, rows * days, z.ravel()).reshape(rows, days)
    return length, ratio(total, length)
