"""Do two samples of one column come from one population? The one home of the population stability index.

Three callers bin and smooth in three ways, each for a reason its page gives; the index itself stands here once.
Sources: features.md 13.3 (FX4); monitoring.md 3 and distillation.md 12 (frozen bins); Siddiqi, 2006 (the index).
"""

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


def proportions(counts: Floats, floor: float) -> Floats:
    """Shares of the bins [B], floored and renormalised."""
    shares = np.maximum(counts / counts.sum(), floor)
    return np.asarray(shares / shares.sum(), dtype=np.float64)


def psi(baseline: Floats, current: Floats, floor: float) -> float:
    """Population stability index of two count vectors [B] over frozen bins."""
    return stability_index(proportions(baseline, floor), proportions(current, floor))


def jsd(baseline: Floats, current: Floats, floor: float) -> float:
    """Jensen-Shannon divergence of two count vectors [B], in bits: 0 = the same, at most 1. Not its square root."""
    p, q = proportions(baseline, floor), proportions(current, floor)
    middle = (p + q) / 2
    return float((np.sum(p * np.log2(p / middle)) + np.sum(q * np.log2(q / middle))) / 2)


def quantile_edges(baseline: Floats, bins: int) -> Floats:
    """Inner edges of ``bins`` baseline-quantile bins [at most bins - 1].

    An edge lies half-way between two values, where a tree would cut, so that a value which moves by less (a frequency
    that was counted again) stays in its bin. A value that fills more than one bin gets one of its own.
    """
    values, (low, high) = np.unique(baseline), ends_of(baseline)
    places, times = np.unique(np.quantile(baseline, np.linspace(0, 1, bins + 1)[1:-1]), return_counts=True)
    cuts = np.concatenate([[low], _between(values), [high]])  # cuts[i] is below the i-th value, cuts[i + 1] above
    below = np.searchsorted(values, places, side="left")
    return np.union1d(cuts[below], cuts[below[times > 1] + 1])


def ends_of(baseline: Floats) -> tuple[float, float]:
    """Below the first and not below the second end lies what the baseline, give or take half a step, never reached."""
    values = np.unique(baseline)
    if len(values) == 1:
        return float(values[0]), float(np.nextafter(values[0], np.inf))
    top = values[-1] + (values[-1] - values[-2]) / 2
    return float(values[0] - (values[1] - values[0]) / 2), float(max(top, np.nextafter(values[-1], np.inf)))


def histogram(values: Floats, edges: Floats) -> Floats:
    """Counts of len(edges) + 1 bins, open at both ends."""
    return np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(edges) + 1).astype(np.float64)


def frozen_edges(baseline: Floats, bins: int) -> Floats:
    """Edges for a column that later samples are counted in: those above, and the ends of what the baseline reached.

    What is not finite is left out; a column without a value has no edges.
    """
    known = baseline[np.isfinite(baseline)]
    if not len(known):
        return np.array([], dtype=np.float64)
    return np.union1d(quantile_edges(known, bins), ends_of(known))


def frozen_counts(values: Floats, edges: Floats) -> Floats:
    """Counts of the bins of ``frozen_edges``: below, between, above, and last what is not finite [len(edges) + 2]."""
    known = values[np.isfinite(values)]
    return np.append(histogram(known, edges), float(len(values) - len(known)))


def _between(values: Floats) -> Floats:
    """Half-way from each value to the next; the next itself where no number lies between."""
    middle = values[:-1] + np.diff(values) / 2
    return np.where(middle > values[:-1], middle, values[1:])


def _counts(x: Single, cuts: npt.NDArray[np.floating], exact: bool) -> Floats:
    known = x[~np.isnan(x)]
    place = np.searchsorted(cuts, known, side="right")
    width = len(cuts) + 1
    if exact:  # 2 k + 1 for the k-th value itself, even numbers for what lies between the values
        place, width = place + np.searchsorted(cuts, known, side="left"), 2 * len(cuts) + 1
    counts = np.bincount(place, minlength=width)
    return np.append(counts, len(x) - len(known)).astype(np.float64)
