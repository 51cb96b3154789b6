"""A customer's stored features as a model wants them: by name, in the model's order, absent -> NaN.

Source: serving.md 6.1. Zero is a value; what is not there is NaN, in training as in serving.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from math import isfinite, isnan, nan


@lru_cache(maxsize=64)
def positions(features: tuple[str, ...], columns: tuple[str, ...]) -> tuple[int, ...]:
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
