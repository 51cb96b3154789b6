"""How the features were spread when a version was made: ``reports/baseline.json`` of its package.

It is part of the signed version, so the baseline changes when a promotion commits and at no other time; a run that
is made again, or that nobody promoted, leaves it as it is. Its rows are those that answers are given for, one per
customer. Bins are frozen here: ten of quantiles, one on either side of what was seen, one for what is undefined.
Source: monitoring.md 3; distillation.md 12.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import polars as pl

from pipeline_lib.contracts.population import frozen_counts, frozen_edges
from pipeline_lib.runs import StageOutput

PART = "serve"
COLUMNS_AT_ONCE = 32
"""Columns of all customers in memory at the same time."""


def of_features(features: StageOutput, columns: Sequence[str], bins: int) -> dict[str, Any]:
    """{part, rows, columns {name: {edges, counts}}}: counts [len(edges) + 2], as ``frozen_counts`` orders them."""
    matrix = pl.scan_parquet(features.path("feature_matrix.parquet")).filter(pl.col("part") == PART)
    return {
        "part": PART,
        "rows": int(matrix.select(pl.len()).collect().item()),
        "columns": dict(_columns(matrix, columns, bins)),
    }


def _columns(matrix: pl.LazyFrame, columns: Sequence[str], bins: int) -> Iterator[tuple[str, dict[str, list[float]]]]:
    for first in range(0, len(columns), COLUMNS_AT_ONCE):
        chunk = matrix.select(pl.col(columns[first : first + COLUMNS_AT_ONCE]).cast(pl.Float64)).collect()
        for name in chunk.columns:
            values = chunk[name].to_numpy()
            edges = frozen_edges(values, bins)
            yield name, {"edges": edges.tolist(), "counts": [int(n) for n in frozen_counts(values, edges)]}
