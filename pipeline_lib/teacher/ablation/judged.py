"""What a run answered on the judged rows, reduced to what every metric needs, so that rows can be resampled.

Each metric here takes weights of rows (R, n), one line per resample, and returns (R,): with all weights 1 it is the
metric of ``pipeline_lib.teacher.metrics``. Higher is better for all of them: regression counts as the skill
1 - MAE / MAE of the train median. Source: teacher.md sections 15 (composite) and 18.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.teacher.contract import TaskSpec
from pipeline_lib.teacher.evaluate import Prior

Reals = NDArray[np.floating]
HEADLINE = {"binary": "auc", "multiclass": "macro_f1", "regression": "skill"}


@dataclass(frozen=True)
class TaskAnswers:
    """``columns``, each (n,) over the judged rows, NaN where the label is unknown.

    binary: y, score. multiclass: y, chosen, gain (of NDCG). regression: error, trivial (absolute errors).
    """

    name: str
    kind: str
    classes: int
    ranked: bool
    """Whether its NDCG enters the composite."""
    columns: Mapping[str, Reals]


def reduce(
    task: TaskSpec, label: Reals, predicted: Reals, prior: Prior, ndcg_tasks: Sequence[str], k: int
) -> TaskAnswers:
    """Answers (n,) or (n, K) of one task beside the truth (n,)."""
    unknown = np.isnan(label)

    def masked(values: Any) -> Reals:
        found: Reals = np.where(unknown, np.nan, np.asarray(values, dtype=np.float64))
        return found

    if task.kind == "binary":
        columns = {"y": label, "score": masked(predicted)}
    elif task.kind == "multiclass":
        gain = gains(np.nan_to_num(label), predicted, k)
        columns = {"y": label, "chosen": masked(predicted.argmax(1)), "gain": masked(gain)}
    else:
        columns = {"error": masked(np.abs(label - predicted)), "trivial": masked(np.abs(label - prior.median))}
    return TaskAnswers(task.name, task.kind, task.out, task.name in ndcg_tasks, columns)


def gains(y: Reals, score: Reals, k: int) -> Reals:
    """Row by row what ``metrics.ndcg`` averages: the expected gain of the true class over the orders of a tie. (n,)."""
    own = score[np.arange(len(y)), y.astype(int)][:, None]
    above, tied = (score > own).sum(1), (score == own).sum(1)
    gain = np.zeros(score.shape[1])
    gain[:k] = 1 / np.log2(np.arange(min(k, len(gain))) + 2)
    total = np.append(0.0, np.cumsum(gain))
    found: Reals = (total[above + tied] - total[above]) / tied
    return found


def metrics_of(task: TaskAnswers, weights: Reals) -> dict[str, Reals]:
    """Metric -> (R,), NaN where a resample leaves it undefined."""
    first = next(iter(task.columns.values()))
    known = ~np.isnan(first)
    w = weights[:, known]
    c = {name: column[known] for name, column in task.columns.items()}
    with np.errstate(divide="ignore", invalid="ignore"):
        if task.kind == "binary":
            return {"auc": auc(c["y"], c["score"], w)}
        if task.kind == "multiclass":
            ndcg = (w @ c["gain"].astype(w.dtype)) / w.sum(1)
            return {"macro_f1": macro_f1(c["y"], c["chosen"], task.classes, w), "ndcg": ndcg}
        return {"skill": 1 - (w @ c["error"].astype(w.dtype)) / (w @ c["trivial"].astype(w.dtype))}


def auc(y: Reals, score: Reals, weights: Reals) -> Reals:
    """Weighted probability that a positive outranks a negative, ties half. (n,), (n,), (R, n) -> (R,)."""
    positive, negative = np.flatnonzero(y == 1), np.flatnonzero(y == 0)
    negative = negative[np.argsort(score[negative], kind="stable")]
    total = np.cumsum(weights[:, negative], axis=1, dtype=np.float64)
    below = np.concatenate([np.zeros((len(weights), 1)), total], axis=1)  # (R, N + 1)
    left, right = (np.searchsorted(score[negative], score[positive], side) for side in ("left", "right"))
    won = (below[:, left] + below[:, right]) / 2  # (R, P)
    own = weights[:, positive]
    found: Reals = (won * own).sum(1) / (own.sum(1) * below[:, -1])
    return found


def macro_f1(y: Reals, chosen: Reals, classes: int, weights: Reals) -> Reals:
    """Mean F1 over all classes; a class without rows and without predictions counts 0. -> (R,)."""
    one = np.arange(classes)
    true, picked = y[:, None] == one, chosen[:, None] == one  # (n, K)
    hits = weights @ (true & picked).astype(weights.dtype)
    total = weights @ (true.astype(weights.dtype) + picked.astype(weights.dtype))
    found: Reals = (2 * hits / np.maximum(total, 1e-12)).mean(1)
    return found


def headline(tasks: Sequence[TaskAnswers], weights: Reals, left_out: str) -> dict[str, Reals]:
    """Composite, averages by kind and ``task:<name>`` of every task. Metric -> (R,).

    The mean macro-F1 is given over all multiclass tasks and without ``left_out``.
    """
    found = {task.name: metrics_of(task, weights) for task in tasks}

    def mean(metric: str, names: Sequence[str]) -> Reals:
        each = [found[name][metric] for name in names] or [np.full(len(weights), np.nan)]
        average: Reals = np.mean(each, axis=0)
        return average

    kinds = {kind: [t.name for t in tasks if t.kind == kind] for kind in HEADLINE}
    averages = {
        "avg_auc": mean("auc", kinds["binary"]),
        "avg_ndcg": mean("ndcg", [t.name for t in tasks if t.ranked]),
        "avg_skill": mean("skill", kinds["regression"]),
    }
    f1 = {
        "avg_f1": mean("macro_f1", kinds["multiclass"]),
        "avg_f1_rest": mean("macro_f1", [name for name in kinds["multiclass"] if name != left_out]),
    }
    own = {f"task:{t.name}": found[t.name]["ndcg" if t.ranked else HEADLINE[t.kind]] for t in tasks}
    return {"composite": _composite(list(averages.values())), **averages, **f1, **own}


def _composite(parts: Sequence[Reals]) -> Reals:
    """Mean of the components that the bank has at all; a resample without one of them is undefined."""
    there = [part for part in parts if not np.isnan(part).all()]
    found: Reals = np.mean(there, axis=0)
    return found
