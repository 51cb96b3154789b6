"""Answers of a run -> metrics of every task on sets of parts, and what the resampling needs of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from pipeline_lib.settings.teacher.training import Selection
from pipeline_lib.teacher.ablation.judged import TaskAnswers, reduce
from pipeline_lib.teacher.contract import TaskSpec
from pipeline_lib.teacher.evaluate import Prior, Scores, averages, composite, score_task
from pipeline_lib.teacher.frame import FIT
from pipeline_lib.teacher.setup import Data

Answers = Mapping[str, np.ndarray]
"""Task -> probabilities or values at the places of all rows; NaN where nobody asked."""


def scores(data: Data, parts: Sequence[str], found: Answers, rule: Selection, shared_task: str) -> dict[str, Any]:
    """Metrics and trivial baselines of every task on some parts, and averages with and without the shared task."""
    rows = data.frame.part(*parts).numpy()
    own = _scored(data, rows, found, rule)
    rest = [task for task in data.tasks if task.name != shared_task]
    return {
        "rows": len(rows),
        "tasks": own,
        "all": averages(own, data.tasks, rule.ndcg_tasks),
        "rest": averages(own, rest, rule.ndcg_tasks),
    }


def composite_on(data: Data, parts: Sequence[str], found: Answers, rule: Selection) -> float:
    """The number that selects epochs, on some parts."""
    own = _scored(data, data.frame.part(*parts).numpy(), found, rule)
    return composite(averages(own, data.tasks, rule.ndcg_tasks))


def reduced(data: Data, parts: Sequence[str], found: Answers, rule: Selection) -> dict[str, TaskAnswers]:
    """Row by row what the resampling needs."""
    rows = data.frame.part(*parts).numpy()
    return {
        task.name: reduce(task, label[rows], found[task.name][rows], prior, rule.ndcg_tasks, rule.ndcg_k)
        for task, label, prior in _each(data)
    }


def _scored(data: Data, rows: np.ndarray, found: Answers, rule: Selection) -> dict[str, Scores]:
    return {
        task.name: score_task(task, label[rows], found[task.name][rows], prior, rule.ndcg_k)
        for task, label, prior in _each(data)
    }


def _each(data: Data) -> Iterator[tuple[TaskSpec, np.ndarray, Prior]]:
    """Task, its labels (N,), and what its train labels say by themselves."""
    fit_rows = data.frame.part(FIT).numpy()
    for task in data.tasks:
        label = data.frame.labels[task.name].numpy()
        yield task, label, Prior.of(task, label[fit_rows])
