"""How good the teacher is, per task, beside what is free: trivial baselines from the train labels.

The composite that selects the best epoch is the mean of three components, one per kind of task: mean AUC, mean
NDCG@k and 1 - MAE / MAE of the train median. Never the validation loss. Source: teacher.md sections 15 and 18.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline_lib.errors import ContractError
from pipeline_lib.teacher import metrics as m
from pipeline_lib.teacher.contract import TaskSpec
from pipeline_lib.teacher.metrics import Array

Scores = dict[str, float | None]
Predictor = Mapping[str, Array]  # task -> probability, class probabilities or value


@dataclass(frozen=True)
class Prior:
    """What is known of a task without looking at the row: from its train labels."""

    shares: Array  # (K,) class shares; binary (2,)
    median: float
    mean: float

    @classmethod
    def of(cls, task: TaskSpec, train: Array) -> Prior:
        y = train[~np.isnan(train)]
        ways = 2 if task.kind == "binary" else task.out
        shares = np.bincount(y.astype(int), minlength=ways) / len(y) if task.kind != "regression" else np.ones(1)
        return cls(shares, float(np.median(y)), float(y.mean()))


def score_task(task: TaskSpec, label: Array, predicted: Array, prior: Prior, ndcg_k: int) -> Scores:
    """Metrics over the rows that carry the label, trivial baselines as ``trivial_<metric>``; none: ``{"rows": 0}``."""
    known = ~np.isnan(label)
    y, p = label[known], predicted[known]
    if not len(y):
        return {"rows": 0}
    scores: dict[str, Callable[[], Scores]] = {
        "binary": lambda: _binary(y, p, prior),
        "multiclass": lambda: _multiclass(y, p, prior, task.out, ndcg_k),
        "regression": lambda: _regression(y, p, prior),
    }
    return {"rows": len(y), **scores[task.kind]()}


def _binary(y: Array, p: Array, prior: Prior) -> Scores:
    base = np.full(len(y), prior.shares[1])
    return {
        "auc": m.auc(y, p),
        "pr_auc": m.average_precision(y, p),
        "log_loss": m.binary_log_loss(y, p),
        "ece": m.expected_calibration_error(y, p),
        "trivial_auc": 0.5,
        "trivial_pr_auc": float(y.mean()),
        "trivial_log_loss": m.binary_log_loss(y, base),
    }


def _multiclass(y: Array, p: Array, prior: Prior, classes: int, k: int) -> Scores:
    base = np.tile(prior.shares, (len(y), 1))
    moved = y != 0
    return {
        "macro_f1": m.macro_f1(y, p.argmax(1), classes),
        "ndcg": m.ndcg(y, p, k),
        "ndcg_class_not_0": m.ndcg(y[moved], p[moved], k) if moved.any() else None,
        "log_loss": m.class_log_loss(y, p),
        "trivial_macro_f1": m.macro_f1(y, base.argmax(1), classes),
        "trivial_ndcg": m.ndcg(y, base, k),
        "trivial_log_loss": m.class_log_loss(y, base),
    }


def _regression(y: Array, value: Array, prior: Prior) -> Scores:
    mae, trivial = m.mean_absolute_error(y, value), m.mean_absolute_error(y, np.full(len(y), prior.median))
    return {
        "mae": mae,
        "r2": m.r_squared(y, value),
        "normalised_mae": mae / trivial if trivial else None,
        "trivial_mae": trivial,
        "trivial_r2": m.r_squared(y, np.full(len(y), prior.mean)),
    }


def averages(scores: Mapping[str, Scores], tasks: Sequence[TaskSpec], ndcg_tasks: Sequence[str]) -> Scores:
    """Means over the tasks of a kind on which the metric is defined. No grand mean over kinds."""

    def mean(metric: str, names: Sequence[str]) -> float | None:
        found = [v for name in names if (v := scores[name].get(metric)) is not None]
        return sum(found) / len(found) if found else None

    kinds = {kind: [t.name for t in tasks if t.kind == kind] for kind in ("binary", "multiclass", "regression")}
    return {
        "avg_auc": mean("auc", kinds["binary"]),
        "avg_f1_macro": mean("macro_f1", kinds["multiclass"]),
        "avg_ndcg": mean("ndcg", [name for name in kinds["multiclass"] if name in ndcg_tasks]),
        "avg_mae": mean("mae", kinds["regression"]),
        "avg_normalised_mae": mean("normalised_mae", kinds["regression"]),
    }


def components(found: Scores) -> dict[str, float]:
    """The components of the composite that are defined on the rows; higher is better for each."""
    mae = found["avg_normalised_mae"]
    parts = {"auc": found["avg_auc"], "ndcg": found["avg_ndcg"], "mae": None if mae is None else 1 - mae}
    return {name: part for name, part in parts.items() if part is not None}


def composite(found: Scores) -> float:
    """Mean of the components that exist: higher is better.

    Raises:
        ContractError: no component is defined on the selection rows, so no epoch can be chosen.
    """
    known = components(found)
    if not known:
        raise ContractError("teacher selection: no AUC, NDCG or MAE is defined on part 'stop'")
    return sum(known.values()) / len(known)


def undefined(scores: Mapping[str, Scores]) -> list[str]:
    """Tasks whose metrics could not be computed; listed, never skipped in silence."""
    return [name for name, found in scores.items() if not found["rows"] or any(v is None for v in found.values())]
