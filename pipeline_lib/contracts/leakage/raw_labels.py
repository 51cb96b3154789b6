"""Columns of a raw table beside a label of the same table, as the rules about labels see them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import polars as pl

from pipeline_lib.contracts.leakage.copies import near_copy_by_ranking
from pipeline_lib.contracts.leakage.evidence import LabelView
from pipeline_lib.contracts.leakage.raw import RawSet, RawTable
from pipeline_lib.contracts.leakage.statistics import one_hot, ranks, without_nan
from pipeline_lib.contracts.leakage.support import beats_all_others, defined_for_one_outcome
from pipeline_lib.records import Finding
from pipeline_lib.settings.leakage import Leakage

RULES = (near_copy_by_ranking, beats_all_others, defined_for_one_outcome)


def columns_beside_labels(raw: RawSet, limits: Leakage) -> Iterator[Finding]:
    """L11, R05, R06: columns of a raw table judged against every label of the table."""
    for table in raw.tables:
        for label in table.of_role("label"):
            view = raw_view(table, label, limits)
            if view is not None:
                for rule in RULES:
                    yield from rule(view, limits)


def raw_view(table: RawTable, label: str, limits: Leakage) -> LabelView | None:
    """The feature columns of a raw table beside one of its labels; None when they cannot be judged."""
    rows = table.rows.drop_nulls(label)
    code = rows[label].rank("dense").cast(pl.Int64).to_numpy() - 1
    names = [name for name in table.features if not rows[name].dtype.is_temporal()]
    counts = np.bincount(code) if len(code) else np.zeros(0)
    kept = np.flatnonzero(counts >= limits.min_class_rows)
    if len(rows) < limits.min_rows or not names or not 2 <= len(counts) <= limits.raw.max_classes or len(kept) < 2:
        return None
    kind = "binary" if len(counts) == 2 else "multiclass"
    kept = kept[1:] if kind == "binary" else kept
    numbers = np.stack([_numbers(rows[name], code) for name in names], axis=1)
    values = without_nan(numbers)
    fold = np.arange(len(rows)) % limits.derived.folds
    return LabelView(
        f"{table.name}.{label}",
        kind,
        [f"{table.name}.{name}" for name in names],
        values,
        ranks(values),
        np.isnan(numbers),
        code.astype(np.float64),
        one_hot(code, kept),
        [str(k) for k in kept],
        fold,
    )


def _numbers(values: pl.Series, code: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """Numbers as they are; text as the mean class number of the rows that share it, so that its order says most."""
    if values.dtype.is_numeric():
        return values.cast(pl.Float32).fill_null(float("nan")).to_numpy()
    means = pl.DataFrame({"value": values, "code": code}).select(pl.col("code").mean().over("value"))["code"]
    return np.where(values.is_null().to_numpy(), np.nan, means.to_numpy()).astype(np.float32)
