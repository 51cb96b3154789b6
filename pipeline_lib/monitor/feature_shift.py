"""How far the features of the customers who are answered now are from those the champion was made for.

The champion's side are the frozen bins of its own signed package; another version has another baseline, so it
changes when a promotion commits. Columns are matched by name; those that only one side has (a category's own column
comes and goes with its use) are said and not compared. Source: monitoring.md 3.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from pipeline_lib.contracts.population import frozen_counts, psi
from pipeline_lib.errors import ObjectMissing
from pipeline_lib.monitor.statistics import Array
from pipeline_lib.objects import Objects
from pipeline_lib.registry.package import BASELINE, Package
from pipeline_lib.runs import StageOutput
from pipeline_lib.settings.monitoring import Drift

PART = "serve"
COLUMNS_AT_ONCE = 32
NAMED = 10
"""Features a summary names, those that moved most first; the stage's ``drift.json`` has all."""


@dataclass(frozen=True)
class FeatureShift:
    """PSI of every feature against a version's baseline; ``why``: nothing was compared."""

    rows: int
    values: Mapping[str, float]
    """Feature -> PSI, the largest first."""
    why: str | None = None
    unmatched: tuple[str, ...] = ()
    """Features that only one side has."""

    def beyond(self, limit: float) -> list[str]:
        """Features at or above the limit, the largest first."""
        return [name for name, value in self.values.items() if value >= limit]

    def summary(self, limits: Drift) -> dict[str, Any]:
        """Counts, and the features that moved most."""
        critical = self.beyond(limits.feature_psi_critical)
        return {
            "compared": len(self.values),
            "rows": self.rows,
            "critical": len(critical),
            "warn": len(self.beyond(limits.feature_psi_warn)) - len(critical),
            "worst": dict(list(self.values.items())[:NAMED]),
            "unmatched": len(self.unmatched),
            "why": self.why,
        }


Column = tuple[str, Array]


def measure(objects: Objects, version: Package, columns: Iterator[Column], rows: int, limits: Drift) -> FeatureShift:
    """Current columns against the baseline of a verified version.

    Args:
        columns: name and values [rows] of every current feature, NaN = undefined.
    """
    try:
        frozen = json.loads(objects.get(f"registry/versions/{version.version}/{BASELINE}"))
    except ObjectMissing:
        return FeatureShift(rows, {}, f"{version.version} carries no baseline of its features")
    least = min(rows, int(frozen["rows"]))
    if least < limits.min_rows:
        return FeatureShift(rows, {}, f"{rows} rows now, {frozen['rows']} then, {limits.min_rows} of each are needed")
    known, found, new = frozen["columns"], {}, []
    for name, values in columns:
        if name in known:
            found[name] = _psi(known[name], values, limits.floor)
        else:
            new.append(name)
    ordered = sorted(found.items(), key=lambda item: (-item[1], item[0]))
    unmatched = tuple(sorted([*new, *(known.keys() - found.keys())]))
    return FeatureShift(rows, dict(ordered), None if found else "no feature is in both", unmatched)


def of_run(features: StageOutput) -> tuple[int, Iterator[Column]]:
    """Rows that answers are given for, and their columns, a few at a time."""
    matrix = pl.scan_parquet(features.path("feature_matrix.parquet")).filter(pl.col("part") == PART)
    names = json.loads(features.path("schema.json").read_text(encoding="utf-8"))["columns"]
    return int(matrix.select(pl.len()).collect().item()), _columns(matrix, [column["name"] for column in names])


def _columns(matrix: pl.LazyFrame, names: Sequence[str]) -> Iterator[Column]:
    for first in range(0, len(names), COLUMNS_AT_ONCE):
        chunk = matrix.select(pl.col(names[first : first + COLUMNS_AT_ONCE]).cast(pl.Float64)).collect()
        yield from ((name, chunk[name].to_numpy()) for name in chunk.columns)


def _psi(frozen: Mapping[str, Any], values: Array, floor: float) -> float:
    edges = np.array(frozen["edges"], dtype=np.float64)
    return psi(np.array(frozen["counts"], dtype=np.float64), frozen_counts(values, edges), floor)
