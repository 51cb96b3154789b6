"""Does the teacher weigh its experts as it used to? Mean gate weights of each task in two windows.

``distance`` is half the sum of the absolute differences: the share of weight that moved, 0 to 1. ``noise`` is what it
would be on average without any drift, from the spread of the answers; the same customer counts as often as they were
answered, so it is a lower bound. Too few answers, or other experts: unknown. Source: audit.md 9.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pipeline_lib.audit.dispute.rows import Rows
from pipeline_lib.audit.load import loaded_through
from pipeline_lib.audit.similar.explained import Explained, Window, dimension_changes, explained
from pipeline_lib.canonical import decimal_text
from pipeline_lib.errors import RequestRefused
from pipeline_lib.settings import Settings
from pipeline_lib.store import QueryStore


def gate_drift(settings: Settings, before: Window, after: Window, as_of: int | None = None) -> dict[str, Any]:
    """Drift by task, unknown last.

    Raises:
        RequestRefused: the windows overlap, or come in the wrong order.
    """
    if before.end > after.start:
        raise RequestRefused(f"the first window ends {before.end}, after the second starts, {after.start}")
    store = QueryStore(settings.place.query_store)
    n = loaded_through(store) if as_of is None else as_of
    rows = Rows(store, n)
    one, two = (_by_task(explained(rows, window)) for window in (before, after))
    least = settings.audit.similar.min_answers
    tasks = [_judged(task, one.get(task, []), two.get(task, []), least) for task in sorted(one.keys() | two.keys())]
    return {
        "before": list(before.bounds), "after": list(after.bounds), "as_of_ckpt": n,
        "dimension_changes": dimension_changes(rows, [before, after]),
        "tasks": sorted(tasks, key=_order),
    }  # fmt: skip


def _order(task: Mapping[str, Any]) -> tuple[bool, float, str]:
    return task["distance"] is None, -float(task["distance"] or 0), task["task"]


def _by_task(found: Sequence[Explained]) -> dict[str, list[Explained]]:
    tasks: dict[str, list[Explained]] = defaultdict(list)
    for one in found:
        tasks[one.task].append(one)
    return tasks


def _judged(task: str, before: Sequence[Explained], after: Sequence[Explained], least: int) -> dict[str, Any]:
    sides = [[one for one in side if one.gates] for side in (before, after)]
    counts = {
        "task": task, "answers": [len(before), len(after)], "with_gates": [len(side) for side in sides],
    }  # fmt: skip
    unknown = {**counts, "distance": None, "noise": None, "experts": []}
    if min(len(side) for side in sides) < max(least, 2):
        return {**unknown, "why": f"fewer than {max(least, 2)} answers with gates in a window"}
    experts = {tuple(sorted(one.gates)) for side in sides for one in side}
    if len(experts) > 1:
        return {**unknown, "why": "the experts are not the same in all answers"}
    (names,) = experts
    weights = [np.array([[one.gates[name] for name in names] for one in side]) for side in sides]
    return {**counts, **_moved(names, *weights), "why": None}


def _moved(names: Sequence[str], before: Any, after: Any) -> dict[str, Any]:
    means = before.mean(0), after.mean(0)
    delta = means[1] - means[0]
    error = np.sqrt(before.var(0, ddof=1) / len(before) + after.var(0, ddof=1) / len(after))
    noise = float(np.sqrt(2 / np.pi) * error.sum() / 2)
    return {
        "distance": decimal_text(float(np.abs(delta).sum() / 2), 6),
        "noise": decimal_text(noise, 6),
        "experts": [
            {"expert": name, "before": decimal_text(float(old), 6), "after": decimal_text(float(new), 6)}
            for name, old, new in zip(names, *means, strict=True)
        ],
    }
