"""Patterns of daily spend, of the days between purchases and of the hour. Source: features.md 10.

x is daily spend [R, 90] in the source's currency, oldest day first, zero days included; a window holds purchases.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline_lib.features.columns import Floats, nan_where, ratio
from pipeline_lib.features.series.blocks import per_row
from pipeline_lib.features.stream import NO_TIME, Window

DAY_SECONDS = 86_400
LAGS = (7, 14, 21, 28, 30)
MIN_AUTOCORRELATION = 0.1
MAX_SATURATION = 5.0
WEEKS = 13
"""Of 7 days counted back from the cutoff; the oldest one has 6."""
Z_SHIFT = 3.0


def gaps(w: Window) -> tuple[npt.NDArray[np.int64], Floats]:
    """Days between consecutive purchases: row of each gap, and the gap, ascending within a row [G]."""
    row = w.row
    same = row[1:] == row[:-1]
    of_row, days = row[1:][same], (w.age[:-1] - w.age[1:])[same]
    order = np.lexsort((days, of_row))
    return of_row[order], days[order].astype(np.float64)


def median(row: npt.NDArray[np.int64], values: Floats, rows: int) -> Floats:
    """Median per row of values that ascend within a row; NaN without any [R]."""
    count = np.bincount(row, minlength=rows)
    first = np.cumsum(count) - count
    padded = np.append(values, 0.0)  # rows without a value point at the end
    both = (padded[first + np.maximum(count - 1, 0) // 2], padded[np.minimum(first + count // 2, len(values))])
    return nan_where(count == 0, (both[0] + both[1]) / 2)


def burstiness(row: npt.NDArray[np.int64], values: Floats, rows: int) -> Floats:
    """(sd - mean) / (sd + mean) with the population sd [R]: -1 regular, 0 Poisson, 1 bursts. Source: Goh, 2008."""
    count = np.bincount(row, minlength=rows).astype(np.float64)
    mean = ratio(per_row(row, rows, values), count)
    sd = np.sqrt(ratio(per_row(row, rows, (values - mean[row]) ** 2), count))
    return ratio(sd - mean, sd + mean)


def acceleration(x: Floats) -> Floats:
    """Second difference of the mean daily spend of three 30-day windows over (mean daily spend + 1) [R]."""
    thirds = x.reshape(len(x), 3, -1).mean(axis=2)
    return np.asarray((thirds[:, 2] - 2 * thirds[:, 1] + thirds[:, 0]) / (x.mean(axis=1) + 1))


def payday(x: Floats, cutoff: npt.NDArray[np.int32]) -> Floats:
    """ln((mean spend on days 1-10 of a month + 1) / (on days 21-31 + 1)) [R]."""
    cutoffs, which = np.unique(cutoff, return_inverse=True)
    days = (cutoffs[:, None] - np.arange(x.shape[1])[::-1]).astype("datetime64[D]")
    of_month = (days - days.astype("datetime64[M]")).astype(np.int64)[which] + 1
    early, late = of_month <= 10, of_month >= 21
    means = (np.where(part, x, 0.0).sum(axis=1) / part.sum(axis=1) for part in (early, late))
    first, last = means
    return np.asarray(np.log((first + 1) / (last + 1)))


def saturation(x: Floats) -> Floats:
    """Largest day over (mean + sample sd) of the active days, clipped [R]; NaN with fewer than two."""
    active = x > 0
    count = active.sum(axis=1).astype(np.float64)
    mean = ratio(x.sum(axis=1), count)
    squares = np.where(active, (x - mean[:, None]) ** 2, 0.0).sum(axis=1)
    sd = np.sqrt(ratio(squares, np.maximum(count - 1, 0.0)))
    return np.asarray(np.minimum(ratio(x.max(axis=1), mean + sd), MAX_SATURATION))


def recurrence(x: Floats) -> Floats:
    """Lag of the largest autocorrelation among a week, two, three, four and 30 days; 0 when it is at most 0.1 [R]."""
    centred = x - x.mean(axis=1, keepdims=True)
    power = (centred**2).sum(axis=1)
    each = [ratio((centred[:, :-lag] * centred[:, lag:]).sum(axis=1), power) for lag in LAGS]
    found = np.round(np.stack(each, axis=1), 9)
    best = np.array(LAGS, dtype=np.float64)[found.argmax(axis=1)]
    return nan_where(power <= 0, np.where(found.max(axis=1) > MIN_AUTOCORRELATION, best, 0.0))


def breakpoints(cents: Floats) -> Floats:
    """Changes of sign of (weekly total - mean weekly total), over 12 [R]. The oldest week counts 6 days as 7."""
    newest_first = cents[:, ::-1]
    whole = newest_first[:, : (WEEKS - 1) * 7].reshape(len(cents), WEEKS - 1, 7).sum(axis=2)
    oldest = newest_first[:, (WEEKS - 1) * 7 :]
    # In whole numbers, so that a week exactly at the mean is at the mean.
    weeks = np.concatenate([whole * oldest.shape[1], oldest.sum(axis=1, keepdims=True) * 7], axis=1)
    above = weeks * WEEKS > weeks.sum(axis=1, keepdims=True)
    return np.asarray((above[:, 1:] != above[:, :-1]).sum(axis=1) / (WEEKS - 1))


def circular_variance(w: Window, least: int) -> Floats:
    """1 - length of the mean of (cos, sin) of the time of day [R]; NaN with fewer than ``least`` timed purchases."""
    timed = w.where(w.events.second != NO_TIME)
    angle = 2 * np.pi * timed.events.second / DAY_SECONDS
    count = timed.counts.astype(np.float64)
    parts = [ratio(per_row(timed.row, len(w), values), count) for values in (np.cos(angle), np.sin(angle))]
    return nan_where(count < least, 1 - np.hypot(*parts))


def largest_amount(w: Window) -> Floats:
    """Sigmoid(z - 3) of the largest amount, z in sample sds of ln amount [R]."""
    logs, row, count = np.log(w.events.amount), w.row, w.counts.astype(np.float64)
    mean = ratio(per_row(row, len(w), logs), count)
    squares = per_row(row, len(w), (logs - mean[row]) ** 2)
    sd = np.sqrt(ratio(squares, np.maximum(count - 1, 0.0)))
    top = np.full(len(w), -np.inf)
    np.maximum.at(top, row, logs)
    z = ratio(np.where(np.isfinite(top), top, np.nan) - mean, np.where(sd > 1e-9, sd, 0.0))
    return np.asarray(1 / (1 + np.exp(Z_SHIFT - z)))
