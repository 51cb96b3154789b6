"""The feature matrix as one row per column: what the suite ``feature_matrix.profile`` judges.

A matrix of a million rows and a thousand columns is never handed to the library; one column at a time is in memory.
Source: data.md 11, features.md 15.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

SUITE = "feature_matrix.profile"
Reals = NDArray[np.float64]

_SCHEMA = {
    "position": pl.Float64,
    "column": pl.String,
    "group": pl.String,
    "kind": pl.String,
    "not_in_schema_order": pl.Float64,
    "nan_count": pl.Float64,
    "inf_count": pl.Float64,
    "n_distinct": pl.Float64,
    "abs_mean_train": pl.Float64,
    "std_train": pl.Float64,
    "probability_min": pl.Float64,
    "probability_max": pl.Float64,
    "probability_sum_error": pl.Float64,
}


def feature_profile(raw: Path, scaled: Path, schema: Mapping[str, Any]) -> pl.DataFrame:
    """One row per column of the schema artefact.

    Args:
        raw: ``feature_matrix.parquet`` [R, P] with ``split``; NaN = undefined.
        scaled: ``x_norm.parquet``, the same rows.
        schema: ``schema.json``.

    Returns:
        nan_count and inf_count of the scaled column (all rows); n_distinct of the raw one (train);
        abs_mean_train and std_train of (x - mean) / std where x is defined (train, ``num`` columns): what the scaler
        promises before it clips and fills (a constant column has no deviation to promise); bounds of probabilities and
        the largest distance of their row sums from 1.
        Null where a measure does not apply.
    """
    train = pl.read_parquet(raw, columns=["split"]).get_column("split").eq("train").to_numpy()
    places = {name: i for i, name in enumerate(_features(raw))}
    sums = _sum_errors(raw, schema)
    records = [
        {
            "position": float(i),
            "column": column["name"],
            "group": column["group"],
            "kind": column["kind"],
            "not_in_schema_order": float(places.get(column["name"]) != i),
            "probability_sum_error": sums.get(column["group"]) if column["kind"] == "prob" else None,
            **_measures(raw, scaled, column, train),
        }
        for i, column in enumerate(schema["columns"])
    ]
    return pl.DataFrame(records, schema=_SCHEMA)


def _measures(raw: Path, scaled: Path, column: Mapping[str, Any], train: NDArray[np.bool_]) -> dict[str, float | None]:
    values, ready = _values(raw, column["name"]), _values(scaled, column["name"])
    defined = values[train & np.isfinite(values)]
    distinct = pl.Series(defined).n_unique()
    found: dict[str, float | None] = {
        "nan_count": float(np.isnan(ready).sum()),
        "inf_count": float(np.isinf(ready).sum()),
        "n_distinct": float(distinct),
    }
    if column["kind"] == "num" and distinct > 1:
        z = (defined - float(column["mean"])) / float(column["std"])
        found |= {"abs_mean_train": float(abs(z.mean())), "std_train": float(z.std(ddof=1))}
    if column["kind"] == "prob" and len(defined):
        known = values[np.isfinite(values)]
        found |= {"probability_min": float(known.min()), "probability_max": float(known.max())}
    return found


def _sum_errors(raw: Path, schema: Mapping[str, Any]) -> dict[str, float]:
    """Group -> largest distance from 1 of the sum of its probabilities, over rows where all are defined."""
    found = {}
    for group, names in _simplexes(schema):
        total = sum((_values(raw, name) for name in names[1:]), _values(raw, names[0]))
        known = total[np.isfinite(total)]
        if len(known):
            found[group] = float(np.abs(known - 1.0).max())
    return found


def _simplexes(schema: Mapping[str, Any]) -> Iterator[tuple[str, Sequence[str]]]:
    groups: dict[str, list[str]] = {}
    for column in schema["columns"]:
        if column["kind"] == "prob":
            groups.setdefault(column["group"], []).append(column["name"])
    yield from groups.items()


def _features(raw: Path) -> list[str]:
    """Feature columns in the file's order: everything after the keys."""
    names = list(pl.read_parquet_schema(raw))
    return names[names.index("part") + 1 :]


def _values(path: Path, name: str) -> Reals:
    return pl.read_parquet(path, columns=[name]).get_column(name).cast(pl.Float64).fill_null(float("nan")).to_numpy()
