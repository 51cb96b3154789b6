"""The normalised diagrams of one window of every row: what statistics and the teacher's topology expert read.

Source: features.md 4.2 and 7.2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline_lib.features.columns import Floats, nan_where
from pipeline_lib.features.generator import Arrays
from pipeline_lib.features.stream import Window
from pipeline_lib.features.topology.bars import STATISTICS, Bars, statistics
from pipeline_lib.features.topology.cloud import LOOP_POINTS, MIN_POINTS, Ints, Singles, clouds, sampled
from pipeline_lib.features.topology.rips import persistence

KEYS = tuple(f"h{dimension}_{statistic}" for dimension in (0, 1) for statistic in STATISTICS)


@dataclass(frozen=True)
class Diagrams:
    events: Ints
    """Events of the window, before any is left out [R]."""
    h0: Bars
    """Without the infinite bar."""
    h1: Bars

    def normalised(self, scale: float) -> Diagrams:
        return Diagrams(self.events, self.h0.normalised(scale), self.h1.normalised(scale))

    def statistics(self) -> dict[str, Floats]:
        """``KEYS`` [R]; NaN with too few events."""
        parts = ((self.h0, MIN_POINTS), (self.h1, LOOP_POINTS))
        values = [nan_where(self.events < least, value) for bars, least in parts for value in statistics(bars).values()]
        return dict(zip(KEYS, values, strict=True))

    def listed(self, most: int) -> tuple[Ints, Singles]:
        """Offsets [R + 1] and (birth, death, dimension) [K, 3], by row, dimension, the longest first, then birth.

        The infinite bar of H0 is there and ends at the largest finite death. At most ``most`` bars a row.
        """
        rows = np.flatnonzero(self.h0.counts)
        last = self.h0.death[self.h0.offsets[rows]]
        row = np.concatenate([self.h0.row, rows, self.h1.row])
        birth = np.concatenate([self.h0.birth, np.zeros(len(rows)), self.h1.birth])
        death = np.concatenate([self.h0.death, last, self.h1.death])
        dimension = (np.arange(len(row)) >= len(self.h0.birth) + len(rows)).astype(np.int64)
        order = np.lexsort((birth, birth - death, dimension, row))
        counts = np.bincount(row, minlength=len(self.events))
        place = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
        order = order[place < most]
        offsets = np.concatenate([[0], np.cumsum(np.minimum(counts, most))]).astype(np.int64)
        return offsets, np.stack([birth, death, dimension], axis=1)[order].astype(np.float32)


def raw_diagrams(window: Window, cap: int, scales: Arrays) -> Diagrams:
    """Diagrams in raw units of clouds of at most ``cap`` points."""
    events = window.counts
    points = sampled(window, np.where(events >= MIN_POINTS, cap, 0))
    return Diagrams(events, *persistence(clouds(points, cap, scales), LOOP_POINTS))
