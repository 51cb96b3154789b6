"""Served outputs of one model against the labels: one metric per task, and what each row adds to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from pipeline_lib.gate import metrics
from pipeline_lib.gate.metrics import Floats, Ints

METRIC_OF = {"binary": "auc", "multiclass": "f1_macro", "regression": "nmae"}
"""Kind of task -> its metric."""
LOWER_IS_BETTER = frozenset({"nmae"})


@dataclass(frozen=True)
class TaskShape:
    kind: str
    classes: int
    """Length of the fixed class list; 0 unless multiclass."""


@dataclass(frozen=True)
class Measured:
    """``value`` None: the model gave no output for the task; NaN: it gave one that admits no metric."""

    value: float | None
    influence: Floats | None
    """What each row adds to the metric, (N,)."""


def measure(outputs: pl.DataFrame, labels: pl.DataFrame, shapes: Mapping[str, TaskShape]) -> dict[str, Measured]:
    """Metric and influence of every task in ``shapes``; both tables have the same N rows."""
    return {task: _one(outputs, labels, task, shape) for task, shape in shapes.items()}


def _one(outputs: pl.DataFrame, labels: pl.DataFrame, task: str, shape: TaskShape) -> Measured:
    names = [f"s_{task}_{k}" for k in range(shape.classes)] if shape.kind == "multiclass" else [f"s_{task}"]
    if not set(names) <= set(outputs.columns) or task not in labels.columns:
        return Measured(None, None)
    scores = outputs.select(names).cast(pl.Float64).fill_null(np.nan).to_numpy()  # (N, K) or (N, 1)
    if shape.kind == "multiclass":
        return _multiclass(labels[task].fill_null(-1).cast(pl.Int64).to_numpy(), scores, shape.classes)
    truth = labels[task].cast(pl.Float64).fill_null(np.nan).to_numpy()
    if shape.kind == "binary":
        return _measured(metrics.auc(truth, scores[:, 0]), lambda: metrics.auc_influence(truth, scores[:, 0]))
    return _measured(metrics.nmae(truth, scores[:, 0]), lambda: metrics.nmae_influence(truth, scores[:, 0]))


def _multiclass(truth: Ints, scores: Floats, classes: int) -> Measured:
    finite = np.isfinite(scores).all(axis=1)
    chosen = np.where(finite, np.nan_to_num(scores).argmax(axis=1), -1)
    if truth.max(initial=-1) >= classes:
        return Measured(float("nan"), None)
    value = metrics.macro_f1(truth, chosen, classes)
    return _measured(value, lambda: metrics.macro_f1_influence(truth, chosen, classes))


def _measured(value: float, influence: object) -> Measured:
    return Measured(value, influence() if np.isfinite(value) and callable(influence) else None)
