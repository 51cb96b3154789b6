"""A customer's stored features as a model wants them: by name, in the model's order, absent -> NaN.

Source: serving.md 6.1. Zero is a value; what is not there is NaN, in training as in serving.
"""

from __future__ import annotations

from math import isfinite, isnan, nan
from operator import itemgetter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any


class Inputs:
    """What one model reads, from rows of any column order.

    Args:
        gains: training gain of each feature.
        knows_missing: whether training saw the feature missing.
    """

    def __init__(self, features: Sequence[str], gains: Sequence[float], knows_missing: Sequence[bool]) -> None:
        self._features, self._gains, self._knows_missing = tuple(features), tuple(gains), tuple(knows_missing)
        self._columns: tuple[str, ...] = ()
        self._where: tuple[int, ...] = (-1,) * len(self._features)
        self._pick: Callable[[Sequence[float]], tuple[Any, ...]] | None = None

    def row(self, values: Sequence[float], columns: tuple[str, ...]) -> tuple[Sequence[float], float]:
        """(the model's row [features], the share of its gain on inputs that are not usable [0..1]).

        Args:
            values: float32 numbers, as rows are stored.
        """
        if columns is not self._columns:
            self._bind(columns)
        row = self._pick(values) if self._pick else vector(values, self._where)
        if isfinite(sum(row)):  # then every value is finite, and the row carries every column
            return row, 0.0
        return row, anomaly_share(row, self._where, self._gains, self._knows_missing)

    def _bind(self, columns: tuple[str, ...]) -> None:
        """Look the columns up once: rows of one table come with the same tuple."""
        if columns != self._columns:
            self._where = positions(self._features, columns)
            whole = len(self._where) > 1 and min(self._where) >= 0
            self._pick = itemgetter(*self._where) if whole else None
        self._columns = columns


def positions(features: Sequence[str], columns: Sequence[str]) -> tuple[int, ...]:
    """Where each feature of a model is among the columns of a row; -1 = the row does not carry it."""
    where = {name: i for i, name in enumerate(columns)}
    return tuple(where.get(name, -1) for name in features)


def vector(values: Sequence[float], where: Sequence[int]) -> list[float]:
    """The model's row. ``values`` are in the row's column order."""
    return [values[i] if i >= 0 else nan for i in where]


def anomaly_share(
    row: Sequence[float], where: Sequence[int], gains: Sequence[float], knows_missing: Sequence[bool]
) -> float:
    """Share of a model's gain on inputs that the row lacks, that are infinite, or unexpectedly missing [0..1].

    A NaN where training had NaN is a value like another; where it had none, LightGBM would read it as zero.
    """
    total = sum(gains)
    if total <= 0:
        return 0.0
    bad = (
        gain
        for value, i, gain, known in zip(row, where, gains, knows_missing, strict=True)
        if i < 0 or not (isfinite(value) or (known and isnan(value)))
    )
    return sum(bad) / total


def named(values: Sequence[float], columns: Sequence[str]) -> Mapping[str, float]:
    """The finite values of a row by name: what rules may look at. A missing value is a missing key."""
    return {name: value for name, value in zip(columns, values, strict=True) if isfinite(value)}
