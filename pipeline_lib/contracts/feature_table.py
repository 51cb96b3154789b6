"""What the checks of finished features judge: plain arrays, standardised and ranked once for all rules.

Statistics of two columns are over the rows where both are known. A matrix product over zero-filled columns finds
the few pairs that could be one number; only those are computed exactly, so 500 columns of 50,000 rows cost seconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt
import polars as pl

Floats = npt.NDArray[np.float64]
Single = npt.NDArray[np.float32]


@dataclass(frozen=True)
class FeatureTable:
    """Features of some train rows, and of some rows of the slice that answers are given for."""

    name: str
    columns: Sequence[str]
    """[F]."""
    groups: Sequence[str]
    """Group of every column [F]."""
    kinds: Sequence[str]
    """Kind of every column [F]."""
    train: Single
    """Raw values, NaN = undefined [n, F]."""
    scaled: Single
    """The same rows of ``x_norm`` [n, F]."""
    score: Single
    """Raw values of the rows to score [m, F]."""
    clip_z: float
    used_train: Mapping[str, int] = field(default_factory=dict)
    """Category -> train rows that used it."""
    used_score: Mapping[str, int] = field(default_factory=dict)
    scoring: bool = False
    """Judged before scoring, where drift can stop the work; before training it cannot."""

    def places(self, group: str) -> npt.NDArray[np.int64]:
        return np.flatnonzero(np.array(self.groups) == group)

    @cached_property
    def known(self) -> npt.NDArray[np.bool_]:
        return np.asarray(~np.isnan(self.train))

    @cached_property
    def standard(self) -> Single:
        """Columns with mean 0 and deviation 1 over their known values, 0 where not known or constant [n, F]."""
        return standardised(self.train)

    @cached_property
    def ranked(self) -> Single:
        """The same for average ranks."""
        return standardised(ranks(self.train))

    @cached_property
    def gram(self) -> Floats:
        """Covariance of the standardised columns, undefined values at the mean [F, F]."""
        return (self.standard.T @ self.standard).astype(np.float64) / max(len(self.train), 1)


def ranks(x: Single) -> Single:
    """Average ranks of the known values of every column [n, F]."""
    table = pl.DataFrame(x, orient="row").select(pl.all().fill_nan(None).rank("average"))
    return table.select(pl.all().cast(pl.Float32).fill_null(float("nan"))).to_numpy()


def standardised(x: Single) -> Single:
    known = ~np.isnan(x)
    count = np.maximum(known.sum(axis=0), 1)
    mean = np.where(known, x, 0).sum(axis=0, dtype=np.float64) / count
    z = np.where(known, x - mean, 0.0)
    deviation = np.sqrt((z**2).sum(axis=0) / count)
    alive = deviation > 1e-7 * (1 + np.abs(mean))
    out: Single = (np.where(alive, z, 0.0) / np.where(alive, deviation, 1.0)).astype(np.float32)
    return out


def alike(z: Single, known: npt.NDArray[np.bool_], least: float) -> list[tuple[int, int]]:
    """Pairs of standardised columns whose cosine over their common rows is at least ``least`` in size."""
    both = z.T @ z
    own = (z**2).T @ known.astype(np.float32)  # (F, F): power of column i on the rows that column j knows
    size = np.sqrt(own * own.T)
    cosine = np.divide(both, size, out=np.zeros_like(both), where=size > 0)
    first, second = np.nonzero(np.triu(np.abs(cosine) >= least, k=1))
    return list(zip(first.tolist(), second.tolist(), strict=True))


def correlation(a: Floats, b: Floats) -> float:
    """Pearson's; 0 when one is constant."""
    a, b = a - a.mean(), b - b.mean()
    size = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / size if size > 0 else 0.0
