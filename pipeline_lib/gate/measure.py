"""Served outputs of one model against the labels: one metric per task, and what each row adds to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from pipeline_lib.gate import metrics
from pipeline_lib.gate.metrics import ABSENT, Floats, Measured

METRIC_OF = {"binary": "auc", "multiclass": "f1_macro", "regression": "nmae"}
"""Kind of task -> its metric."""
LOWER_IS_BETTER = frozenset({"nmae"})


@dataclass(frozen=True)
class TaskShape:
    kind: str
    classes: int
    """Length of the fixed class list; 0 unless multiclass."""

    @property
    def metric(self) -> str:
        return METRIC_OF[self.kind]


def measure(outputs: pl.DataFrame, labels: pl.DataFrame, shapes: Mapping[str, TaskShape]) -> dict[str, Measured]:
    """Metric and influence of every task in ``shapes``; both tables have the same N rows."""
    return {task: _one(outputs, labels, task, shape) for task, shape in shapes.items()}


def _one(outputs: pl.DataFrame, labels: pl.DataFrame, task: str, shape: TaskShape) -> Measured:
    names = [f"s_{task}_{k}" for k in range(shape.classes)] if shape.kind == "multiclass" else [f"s_{task}"]
    if not names or not set(names) <= set(outputs.columns) or task not in labels.columns:
        return ABSENT
    scores = outputs.select(names).cast(pl.Float64).fill_null(np.nan).to_numpy()  # (N, K) or (N, 1)
    if shape.kind == "multiclass":
        truth = labels[task].fill_null(-1).cast(pl.Int64).to_numpy()
        return metrics.macro_f1(truth, _chosen(scores), shape.classes)
    known = labels[task].cast(pl.Float64).fill_null(np.nan).to_numpy()
    one = metrics.auc if shape.kind == "binary" else metrics.nmae
    return one(known, scores[:, 0])


def _chosen(scores: Floats) -> metrics.Ints:
    """The highest class of every row, (N, K) -> (N,); -1 where a score is not finite."""
    return np.where(np.isfinite(scores).all(axis=1), scores.argmax(axis=1), -1)
