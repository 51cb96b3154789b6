"""What a table's columns need before a network reads them, learnt on train rows only. NumPy; no network here.

    category:  id = offset_f + rank of the value among train's values; 0 of the field = not seen in train
    number:    z = (u - mean) / std of u = asinh(x / scale), and id = offset_f + number of edges below x

Edges are as in LightGBM's histograms: a value that fills a bin by itself gets one, the others share by equal mass.
Plain quantiles of a column that is 94 % zero collapse to two bins.
Source: Ke et al., "LightGBM", NeurIPS 2017 (bin finding); Gorishniy et al., "On Embeddings for Numerical Features in
Tabular Deep Learning", NeurIPS 2022 (bins of train quantiles).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Column = NDArray[np.generic]
Reals = NDArray[np.float64]
Ids = NDArray[np.int64]


@dataclass(frozen=True)
class Fields:
    """Everything learnt. Field order: categories, then numbers (their bins)."""

    values: Mapping[str, Column]
    """Category -> its distinct train values, sorted."""
    edges: Mapping[str, Reals]
    """Number -> upper bounds of its bins but the last, ascending [the column's unit]."""
    moments: Mapping[str, tuple[float, float, float]]
    """Number -> scale of asinh [the column's unit], mean and standard deviation after it."""
    ranges: Mapping[str, Reals]
    """Number -> least and greatest train value [the column's unit]."""

    @property
    def sizes(self) -> list[int]:
        """Ids of each field: a category's values and "not seen"; a number's bins."""
        return [len(v) + 1 for v in self.values.values()] + [len(e) + 1 for e in self.edges.values()]

    @property
    def numbers(self) -> int:
        return len(self.edges)

    def knots(self) -> list[Reals]:
        """Each number's train range cut at its edges, on the scale of z, ascending: P + 1 ends of P bins."""
        ends = {name: np.unique(np.concatenate([self.ranges[name], own])) for name, own in self.edges.items()}
        return [self._standard(name, own) for name, own in ends.items()]

    def _standard(self, name: str, column: Column) -> Reals:
        scale, mean, std = self.moments[name]
        found: Reals = (np.arcsinh(column.astype(np.float64) / scale) - mean) / std
        return found

    def encode(self, columns: Mapping[str, Column]) -> tuple[Ids, NDArray[np.float32]]:
        """Ids into one table of ``sum(sizes)`` rows (N, F), and standardised numbers (N, V)."""
        ids = [_rank(known, columns[name]) for name, known in self.values.items()]
        ids += [np.searchsorted(edges, columns[name], side="left") for name, edges in self.edges.items()]
        offsets = np.concatenate([[0], np.cumsum(self.sizes)[:-1]]).astype(np.int64)
        z = [self._standard(name, columns[name]) for name in self.moments]
        count = len(ids[0])
        reals = np.stack(z, axis=1) if z else np.empty((count, 0))
        return np.stack(ids, axis=1) + offsets, reals.astype(np.float32)


def learn(train: Mapping[str, Column], categories: Sequence[str], numbers: Sequence[str], bins: int) -> Fields:
    """Values, bins and moments of the given (train) rows."""
    return Fields(
        values={name: np.unique(train[name]) for name in categories},
        edges={name: edges(train[name].astype(float), bins) for name in numbers},
        moments={name: _moments(train[name].astype(float)) for name in numbers},
        ranges={name: np.array([train[name].min(), train[name].max()], dtype=float) for name in numbers},
    )


def edges(x: Reals, bins: int) -> Reals:
    """Upper bounds of about ``bins`` bins, midway between neighbouring values. (N,) -> (bins - 1,)."""
    values, counts = np.unique(x, return_counts=True)
    if len(values) <= bins:
        cut = np.arange(len(values) - 1)
    else:
        heavy = counts > len(x) / bins
        room, mass = max(bins - int(heavy.sum()), 1), np.cumsum(np.where(heavy, 0, counts))
        group = np.floor(np.minimum(mass / mass[-1] * room, room - 0.5)) * 2 + heavy  # a heavy value stands alone
        block = np.cumsum(np.append(0, (np.diff(group) != 0) | (heavy[1:] | heavy[:-1])))
        cut = np.flatnonzero(np.diff(block))
    return (values[cut] + values[cut + 1]) / 2


def _rank(known: Column, column: Column) -> Ids:
    """1 + place among the known values; 0 where the value is not one of them."""
    place = np.minimum(np.searchsorted(known, column), len(known) - 1)
    return np.where(known[place] == column, place + 1, 0).astype(np.int64)


def _moments(x: Reals) -> tuple[float, float, float]:
    """Asinh is linear near 0 and a logarithm far out: wages and gains have tails that no network wants to see."""
    typical = np.abs(x[x != 0])
    scale = float(np.median(typical)) if len(typical) else 1.0
    u = np.arcsinh(x / scale)
    return scale, float(u.mean()), float(u.std()) or 1.0
