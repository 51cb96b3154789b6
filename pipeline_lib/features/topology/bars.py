"""Bars of persistence diagrams, ragged by row, and the six numbers that sum a diagram up.

Sums run over the bars of a row in their stored order (``bincount``), so a value depends neither on the other rows of
the batch nor on how wide the widest of them is. Source: features.md 7.2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline_lib.features.columns import Floats, nan_where, ratio
from pipeline_lib.features.topology.cloud import Ints

STATISTICS = ("entropy", "mean", "std", "min", "max", "median")
SHORTEST = 1e-6
"""A bar shorter than this is dropped [units of the normalised diagram]."""


@dataclass(frozen=True)
class Bars:
    """Bars of one dimension, by row, the longest first, then by birth."""

    offsets: Ints
    """Bars of row r are [offsets[r], offsets[r + 1]) [R + 1]."""
    birth: Floats
    """[K]."""
    death: Floats
    """Finite [K]."""

    def __len__(self) -> int:
        """Rows."""
        return len(self.offsets) - 1

    @property
    def counts(self) -> Ints:
        return np.diff(self.offsets)

    @property
    def row(self) -> Ints:
        return np.repeat(np.arange(len(self)), self.counts)

    @property
    def place(self) -> Ints:
        """Position of every bar among its row's [K]."""
        return np.arange(len(self.birth)) - np.repeat(self.offsets[:-1], self.counts)

    @property
    def length(self) -> Floats:
        return self.death - self.birth

    def of(self, row: int) -> Floats:
        """(birth, death) of one row [K, 2]."""
        own = slice(self.offsets[row], self.offsets[row + 1])
        return np.stack([self.birth[own], self.death[own]], axis=1)

    def normalised(self, scale: float) -> Bars:
        """Births and deaths divided by ``scale``; bars that are then too short are dropped."""
        birth, death = self.birth / scale, self.death / scale
        keep = death - birth >= SHORTEST
        return bars_of(len(self), self.row[keep], birth[keep], death[keep])

    def total(self) -> Floats:
        """Sum of the lengths, 0 without a bar [R]."""
        return self.summed(self.length)

    def summed(self, values: Floats) -> Floats:
        """Sum of a value per bar over each row's bars, in their order [R]."""
        return np.bincount(self.row, weights=values, minlength=len(self)).astype(np.float64)

    def padded(self, width: int) -> Floats:
        """Lengths by place and row, 0 where there is no bar [width, R]."""
        out = np.zeros((width, len(self)))
        out[self.place, self.row] = self.length
        return out


def bars_of(rows: int, row: Ints, birth: Floats, death: Floats) -> Bars:
    """Order the bars of ``rows`` rows; ``row`` [K] is the row of each."""
    order = np.lexsort((birth, birth - death, row))
    offsets = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=rows))]).astype(np.int64)
    return Bars(offsets, birth[order].astype(np.float64), death[order].astype(np.float64))


def statistics(bars: Bars) -> dict[str, Floats]:
    """Entropy [nats], mean, sample sd, min, max and median of the lengths [R]. No bar: entropy 0, the others NaN."""
    n, length, row = bars.counts.astype(np.float64), bars.length, bars.row
    total = bars.total()
    share = length / total[row]
    mean = ratio(total, n)
    squares = bars.summed((length - mean[row]) ** 2)
    return {
        "entropy": bars.summed(-share * np.log(share)),
        "mean": mean,
        "std": np.sqrt(ratio(squares, np.maximum(n - 1, 0.0))),
        "min": _at(bars, bars.counts - 1),
        "max": _at(bars, np.zeros(len(bars), dtype=np.int64)),
        "median": (_at(bars, (bars.counts - 1) // 2) + _at(bars, bars.counts // 2)) / 2,
    }


def _at(bars: Bars, place: Ints) -> Floats:
    """Length of the bar at a place of each row [R]; NaN without bars."""
    if not len(bars.length):
        return np.full(len(bars), np.nan)
    index = np.clip(bars.offsets[:-1] + place, 0, len(bars.length) - 1)
    return nan_where(bars.counts == 0, bars.length[index])
