"""Do two samples of one column come from one population? Source: features.md 13.3 (FX4); Siddiqi, 2006 (the index)."""

from __future__ import annotations

from math import sqrt

import numpy as np
import numpy.typing as npt

Single = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]
HALF = 0.5


def shares_of(before: Single, now: Single, bins: int) -> tuple[Floats, Floats]:
    """Shares of two samples in bins of the first: its quantiles, or its values when there are few of them.

    What is undefined is a bin of its own, and so is what lies between few values or beyond them. Half a row is
    added to every bin, so that an empty one does not make the index infinite.
    """
    known = before[~np.isnan(before)]
    values = np.unique(known)
    few = len(values) <= bins
    cuts = values if few else np.unique(np.quantile(known, np.arange(1, bins) / bins))
    counted = [_counts(x, cuts, exact=few) for x in (before, now)]
    used = (counted[0] + counted[1]) > 0
    smooth = [counts[used] + HALF for counts in counted]
    return smooth[0] / smooth[0].sum(), smooth[1] / smooth[1].sum()


def stability_index(before: Floats, now: Floats) -> float:
    """Sum of (q - p) ln(q / p) over bins: 0 = the same."""
    return float(((now - before) * np.log(now / before)).sum())


def chance_psi(bins: int, before: int, now: int, z: float) -> float:
    """What the index reaches by chance, z standard deviations up: it is chi2(bins - 1) (1/n + 1/m) then.

    Source: Yurdakul and Naranjo, 2020.
    """
    free = max(bins - 1, 1)
    return (free + z * sqrt(2 * free)) * (1 / before + 1 / now)


def _counts(x: Single, cuts: npt.NDArray[np.floating], exact: bool) -> Floats:
    known = x[~np.isnan(x)]
    place = np.searchsorted(cuts, known, side="right")
    width = len(cuts) + 1
    if exact:  # 2 k + 1 for the k-th value itself, even numbers for what lies between the values
        place, width = place + np.searchsorted(cuts, known, side="left"), 2 * len(cuts) + 1
    counts = np.bincount(place, minlength=width)
    return np.append(counts, len(x) - len(known)).astype(np.float64)
