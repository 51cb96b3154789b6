"""Scaling learnt on train rows: z = (x - mean) / sd, clipped, then undefined values filled. Source: features.md 12.2.

Statistics are those of the stored float32 values, accumulated in float64, so that the leakage check can compute
them again from the artefact and compare (L08).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline_lib.features.columns import Column

Matrix = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Scaling:
    """What ``x_norm`` was made with, one column: z = clip((x - mean) / std), NaN becomes ``fill``."""

    mean: float
    std: float
    fill: float


def fit_scaling(
    matrix: Matrix, train: npt.NDArray[np.bool_], columns: Sequence[Column], min_std: float
) -> list[Scaling]:
    """One Scaling per column of ``matrix`` [R, F] from the rows where ``train``; only ``num`` columns are scaled."""
    return [
        _scaling(matrix[train, i].astype(np.float64), min_std) if column.kind == "num" else Scaling(0.0, 1.0, 0.0)
        for i, column in enumerate(columns)
    ]


def normalise(matrix: Matrix, columns: Sequence[Column], scalings: Sequence[Scaling], clip_z: float) -> Matrix:
    """Scaled copy of ``matrix`` [R, F] without NaN."""
    out = np.empty_like(matrix)
    for i, (column, s) in enumerate(zip(columns, scalings, strict=True)):
        values = matrix[:, i].astype(np.float64)
        if column.kind == "num":
            values = np.clip((values - s.mean) / s.std, -clip_z, clip_z)
        out[:, i] = np.where(np.isnan(values), s.fill, values)
    return out


def _scaling(values: npt.NDArray[np.float64], min_std: float) -> Scaling:
    """Mean and sample standard deviation of the defined values. A column without any keeps its scale."""
    known = values[~np.isnan(values)]
    if len(known) < 2:
        return Scaling(0.0, 1.0, 0.0)
    std = float(known.std(ddof=1))
    return Scaling(float(known.mean()), std if std >= min_std else 1.0, 0.0)
