"""Vietoris-Rips persistence of many small clouds: parts (H0) in NumPy for all at once, loops (H1) with ripser.

H0. Every part is born at 0, and the finite deaths are the edges of a minimum spanning tree: Prim's algorithm runs
on all clouds of a chunk at once. Source: features.md 7.2.

H1. ripser's compiled core takes the upper triangle of distances without the checks and conversions of its Python
wrapper (0.4 to 0.8 ms a cloud, as much as the core needs for 40 points).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import numpy as np
from pyRipser import doRipsFiltrationDM

from pipeline_lib.features.columns import Floats, ratio
from pipeline_lib.features.topology.bars import Bars, bars_of
from pipeline_lib.features.topology.cloud import Clouds, Ints, Singles

CHUNK = 128
"""Clouds computed together: their distances stay in the processor's cache."""
FIELD = 2
"""Homology with coefficients modulo 2."""


def persistence(clouds: Clouds, loops_from: int) -> tuple[Bars, Bars]:
    """H0 (its infinite bar left out) and, for clouds of at least ``loops_from`` points, H1."""
    rows = len(clouds.count)
    row: list[Ints] = []
    bars: list[Floats] = []
    parts = np.zeros((rows, clouds.points.shape[1] - 1))
    for chunk, between in _chunks(clouds):
        parts[chunk, : between.shape[1] - 1] = tree_edges(between, clouds.count[chunk])
        for place in np.flatnonzero(clouds.count[chunk] >= loops_from).tolist():
            who = int(chunk[place])
            found = loops(between[place, : clouds.count[who], : clouds.count[who]])
            row.append(np.full(len(found), who, dtype=np.int64))
            bars.append(found)
    owner, rank = np.nonzero(parts)
    h0 = bars_of(rows, owner, np.zeros(len(owner)), parts[owner, rank])
    all_bars = np.concatenate([np.empty((0, 2)), *bars])
    return h0, bars_of(rows, np.concatenate([np.empty(0, dtype=np.int64), *row]), all_bars[:, 0], all_bars[:, 1])


def mean_edges(clouds: Clouds) -> Floats:
    """Mean edge of the minimum spanning tree of every cloud [R]; NaN with fewer than two points."""
    total = np.zeros(len(clouds.count))
    for chunk, between in _chunks(clouds):
        # The widest cloud sets the width of a chunk; sums from the left do not see the zeros behind.
        total[chunk] = np.cumsum(tree_edges(between, clouds.count[chunk]), axis=1, dtype=np.float64)[:, -1]
    return ratio(total, np.maximum(clouds.count - 1, 0).astype(np.float64))


def tree_edges(between: Singles, count: Ints) -> Singles:
    """Edges of the minimum spanning tree of each cloud, longest first, 0 behind them [B, N - 1].

    Source: Prim, 1957.

    Args:
        between: distances [B, N, N], infinite beyond a cloud's ``count`` points.
    """
    clouds, n = between.shape[:2]
    at = np.arange(clouds)
    edges = np.zeros((clouds, n - 1), dtype=np.float32)
    outside = np.ones((clouds, n), dtype=np.bool_)
    outside[:, 0] = False
    near = np.where(outside, between[:, 0], np.inf)
    for step in range(n - 1):
        nearest = near.argmin(axis=1)
        edges[:, step] = np.where(step < count - 1, near[at, nearest], 0.0)
        outside[at, nearest] = False
        near = np.where(outside, np.minimum(near, between[at, nearest]), np.inf)
    return -np.sort(-edges, axis=1)


def loops(between: Singles) -> Floats:
    """(birth, death) of the H1 bars of one cloud from its distances [n, n], n >= 2 [K, 2]."""
    found = doRipsFiltrationDM(between[_upper(len(between))], 1, np.inf, FIELD, False)
    return np.asarray(found["births_and_deaths_by_dim"][1], dtype=np.float64).reshape(-1, 2)


@cache
def _upper(points: int) -> tuple[Ints, Ints]:
    return np.triu_indices(points, 1)


def _chunks(clouds: Clouds) -> Iterator[tuple[Ints, Singles]]:
    """Rows of clouds of about equal size with two points at least, and their distances [B, N, N]."""
    order = np.argsort(clouds.count, kind="stable")
    order = order[clouds.count[order] >= 2]
    for first in range(0, len(order), CHUNK):
        chunk = order[first : first + CHUNK]
        yield chunk, distances(clouds.points[chunk, : clouds.count[chunk].max()], clouds.count[chunk])


def distances(points: Singles, count: Ints) -> Singles:
    """Euclidean distances within each cloud [B, N, N], infinite beyond its ``count`` points.

    Differences are squared one coordinate at a time: equal points are exactly 0 apart.
    """
    squares = np.zeros((*points.shape[:2], points.shape[1]), dtype=np.float32)
    for coordinate in np.moveaxis(points, 2, 0):
        difference = coordinate[:, :, None] - coordinate[:, None, :]
        squares += difference * difference
    between = np.sqrt(squares)
    absent = np.arange(points.shape[1]) >= count[:, None]
    if absent.any():
        between[absent[:, :, None] | absent[:, None, :]] = np.inf
    return between
