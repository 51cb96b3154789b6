"""Scaling learnt on train rows: z = (x - mean) / sd, clipped, then undefined values filled. Source: features.md 12.2.

What happens is decided by the kind of a column and never by its name. Statistics are those of the stored float32
values, accumulated in float64 range after range, so that the leakage check can compute them again from the artefact
and compare (L08).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file, save_file

from pipeline_lib.features.columns import Column, Floats

Matrix = npt.NDArray[np.float32]
BLOCK_ROWS = 8192
SCALED = ("num", "emb")
MIN_VALUES = 2


@dataclass(frozen=True)
class Moments:
    """Count, mean and sum of squared deviations of the defined values of every column [F]. They can be merged."""

    n: Floats
    mean: Floats
    m2: Floats

    @classmethod
    def of(cls, matrix: Matrix) -> Moments:
        """Of the rows of ``matrix`` [R, F]."""
        nothing = np.zeros(matrix.shape[1])
        total = cls(nothing, nothing, nothing)
        for first in range(0, len(matrix), BLOCK_ROWS):
            total = total.merged(_moments(matrix[first : first + BLOCK_ROWS].astype(np.float64)))
        return total

    def merged(self, other: Moments) -> Moments:
        """Of both sets of rows. Source: Chan, Golub and LeVeque, 1979."""
        n = self.n + other.n
        share = np.divide(other.n, n, out=np.zeros_like(n), where=n > 0)
        delta = other.mean - self.mean
        return Moments(n, self.mean + delta * share, self.m2 + other.m2 + delta**2 * self.n * share)

    def write(self, path: Path) -> None:
        save_file({"n": self.n, "mean": self.mean, "m2": self.m2}, path)

    @classmethod
    def read(cls, path: Path) -> Moments:
        return cls(**load_file(path))


@dataclass(frozen=True)
class Scaling:
    """What ``x_norm`` was made with, one column: z = clip((x - mean) / std), NaN becomes ``fill``."""

    mean: float
    std: float
    fill: float


def scalings(moments: Moments, columns: Sequence[tuple[str, Column]], min_std: float) -> list[Scaling]:
    """One Scaling per (group, column) from the moments of the train rows.

    ``num``: mean and sample standard deviation, 1 where that is below ``min_std``; ``emb``: one scalar per group,
    the root mean square norm of its rows over the square root of its width; the others are not scaled.
    """
    out = []
    for i, (group, column) in enumerate(columns):
        mean, std = 0.0, 1.0
        if column.kind == "num" and moments.n[i] >= MIN_VALUES:
            mean, std = float(moments.mean[i]), float(np.sqrt(moments.m2[i] / (moments.n[i] - 1)))
        elif column.kind == "emb":
            std = _root_mean_square(moments, [k for k, (g, c) in enumerate(columns) if g == group and c.kind == "emb"])
        out.append(Scaling(mean, std if std >= min_std else 1.0, fill_of(group, column, columns)))
    return out


def fill_of(group: str, column: Column, columns: Sequence[tuple[str, Column]]) -> float:
    """What NaN becomes after scaling: the column's own rule, 1 / K of K probabilities of a group, else 0."""
    if column.fill is not None:
        return column.fill
    if column.kind == "prob":
        return 1.0 / sum(1 for g, c in columns if g == group and c.kind == "prob")
    return 0.0


def normalise(matrix: Matrix, columns: Sequence[Column], scaling: Sequence[Scaling], clip_z: float) -> Matrix:
    """Scaled copy of ``matrix`` [R, F] without NaN; ``num`` columns are clipped at +-``clip_z``."""
    mean, std, fill = (np.array([getattr(s, name) for s in scaling]) for name in ("mean", "std", "fill"))
    limit = np.array([clip_z if column.kind == "num" else np.inf for column in columns])
    out = np.empty_like(matrix)
    for first in range(0, len(matrix), BLOCK_ROWS):
        block = matrix[first : first + BLOCK_ROWS].astype(np.float64)
        z = np.clip((block - mean) / std, -limit, limit)
        out[first : first + BLOCK_ROWS] = np.where(np.isnan(z), fill, z)
    return out


def _moments(block: Floats) -> Moments:
    known = ~np.isnan(block)
    n = known.sum(axis=0).astype(np.float64)
    total = np.where(known, block, 0.0).sum(axis=0)
    mean = np.divide(total, n, out=np.zeros_like(n), where=n > 0)
    return Moments(n, mean, (np.where(known, block - mean, 0.0) ** 2).sum(axis=0))


def _root_mean_square(moments: Moments, places: Sequence[int]) -> float:
    n, mean, m2 = moments.n[places], moments.mean[places], moments.m2[places]
    return float(np.sqrt((m2 + n * mean**2).sum() / n.sum())) if n.sum() else 1.0
