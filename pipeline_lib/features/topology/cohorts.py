"""What is usual among similar customers: train medians by age group, activity and holdings.

A cohort with too few train rows takes its parent's median: first without the holdings, then without the activity,
then that of all train rows. Source: features.md 7.3.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from pipeline_lib.features.columns import Floats
from pipeline_lib.features.topology.cloud import MIN_POINTS, Ints

ACTIVITY_LEVELS = 3
HOLDING_CUTS = (2, 4)
"""Products held: 0-1, 2-3, 4 and more."""


def activity_cuts(events: Ints) -> Floats:
    """Train terciles of the number of events, of rows that have a diagram [2]."""
    return np.quantile(events[events >= MIN_POINTS], np.arange(1, ACTIVITY_LEVELS) / ACTIVITY_LEVELS)


def levels(profile: pl.DataFrame, events: Ints, cuts: Floats, age_cuts: Sequence[int]) -> Ints:
    """Age group, activity and holdings of every row [R, 3]; an unknown age is a group of its own."""
    age = profile["age"].cast(pl.Float64).fill_null(np.nan).to_numpy()
    group = np.where(np.isnan(age), len(age_cuts) + 1, np.searchsorted(age_cuts, age, side="right"))
    held = np.searchsorted(HOLDING_CUTS, profile["num_products"].to_numpy(), side="right")
    return np.stack([group, np.searchsorted(cuts, events, side="right"), held], axis=1)


def medians(cohort: Ints, values: Floats, min_rows: int, age_cuts: Sequence[int]) -> Floats:
    """Median of every column in every cohort [ages, activities, holdings, C], parents already filled in.

    Args:
        cohort: levels of the train rows [R, 3].
        values: [R, C]; NaN = not defined, and not counted.
        min_rows: defined values below which the parent's median is taken.
    """
    sizes = (len(age_cuts) + 2, ACTIVITY_LEVELS, len(HOLDING_CUTS) + 1)
    out = np.full((*sizes, values.shape[1]), np.nan)
    for depth in range(len(sizes) + 1):
        for key in np.unique(cohort[:, :depth], axis=0) if depth else [()]:
            inside = values[(cohort[:, :depth] == key).all(axis=1)] if depth else values
            enough = (~np.isnan(inside)).sum(axis=0) >= (min_rows if depth else 1)
            out[tuple(key)][..., enough] = np.nanmedian(inside[:, enough], axis=0)
    return out
