"""Approximate and sample entropy of a customer's newest amounts.

Both count how often two stretches of m = 2 (and 3) values agree within r = ``tolerance`` standard deviations
(largest difference, ``<=``). Stretches are compared pairwise, so cost is the square of the number of amounts;
customers of similar length are compared together, padded with NaN, which agrees with nothing. Counts are integers
and the padded length is a function of the customer's own, so no value depends on the batch.
Source: Pincus, 1991; Richman and Moorman, 2000.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline_lib.features.columns import Floats, Values, ratio
from pipeline_lib.features.stream import Window

CLASS = 16
"""Lengths are padded to a multiple of this."""
CELLS = 300_000
"""Pairs compared at once: the flags of a batch stay in the processor's cache."""


def newest_amounts(purchases: Window, most: int) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Newest ``most`` amounts of every row, oldest first, the rest NaN [R, most], and how many they are [R]."""
    counts = np.minimum(purchases.counts, most)
    age = np.repeat(purchases.offsets[1:], purchases.counts) - np.arange(len(purchases.events))
    keep = age <= most
    row = purchases.row[keep]
    out = np.full((len(purchases), most), np.nan)
    out[row, counts[row] - age[keep]] = purchases.events.amount[keep]
    return out, counts


def complexity(amounts: Floats, counts: npt.NDArray[np.int64], min_values: int, tolerance: float) -> Values:
    """Two columns from ``amounts`` [R, most]; NaN with fewer than ``min_values``, or (sample) without a match."""
    approximate, sample = np.full(len(counts), np.nan), np.full(len(counts), np.nan)
    classes = -(-counts // CLASS) * CLASS
    for padded in np.unique(classes[counts >= min_values]):
        rows = np.flatnonzero((classes == padded) & (counts >= min_values))
        width, step = min(int(padded), amounts.shape[1]), max(1, CELLS // int(padded) ** 2)
        for first in range(0, len(rows), step):
            some = rows[first : first + step]
            approximate[some], sample[some] = _entropies(amounts[some, :width], counts[some], tolerance)
    return {"ts_complex_approximate_entropy": approximate, "ts_complex_sample_entropy": sample}


def _entropies(x: Floats, n: npt.NDArray[np.int64], tolerance: float) -> tuple[Floats, Floats]:
    """Of one length class: x [B, L], the first n values of each row are its own."""
    mean = np.nansum(x, axis=1) / n
    reach = tolerance * np.sqrt(np.nansum((x - mean[:, None]) ** 2, axis=1) / n)
    near = np.abs(x[:, :, None] - x[:, None, :]) <= reach[:, None, None]
    pairs = near[:, :-1, :-1] & near[:, 1:, 1:]
    triples = pairs[:, :-1, :-1] & near[:, 2:, 2:]
    two, three = _matches(pairs), _matches(triples)
    approximate = _mean_log(two, n - 1) - _mean_log(three, n - 2)
    # Sample entropy leaves out the last pair, which has no third value, and every stretch's match with itself.
    last = np.arange(len(n)), n - 2
    agree_two = two.sum(axis=1) - 2 * two[last] + 1 - (n - 2)
    agree_three = three.sum(axis=1) - (n - 2)
    share = ratio(agree_three.astype(np.float64), agree_two.astype(np.float64))
    return approximate, -np.log(np.where(share > 0, share, np.nan))


def _matches(agree: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Stretches that agree with each one, itself included [B, L]; 0 for padding."""
    matches: npt.NDArray[np.int64] = np.bitwise_count(np.packbits(agree, axis=2)).sum(axis=2, dtype=np.int64)
    return matches


def _mean_log(matches: npt.NDArray[np.int64], stretches: npt.NDArray[np.int64]) -> Floats:
    """Mean of ln(matches / stretches) over the own stretches of each row [B]."""
    logs: Floats = np.log(np.maximum(matches, 1)).sum(axis=1)
    return logs / stretches - np.log(stretches)
