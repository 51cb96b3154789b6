"""ModelCompetition: is the challenger better where it must be, and not worse anywhere? Source: promotion.md 6.

Every number is computed and kept even when an early code ends the comparison. Values are compared unrounded. A
missing or non-finite required value rejects; nothing is ever replaced by a default. The champion wins every tie.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline_lib.gate import significance, words
from pipeline_lib.gate.limits import Limits
from pipeline_lib.gate.sets import TaskSets
from pipeline_lib.gate.significance import OneSided
from pipeline_lib.gate.table import Compared, Values, compared_rows, finite, metric_name

PASSED = "PASSED"
TEST = "delong_influence_avg_auc"


@dataclass(frozen=True)
class Competition:
    code: str
    reason: str
    comparison: tuple[Compared, ...]
    """Primary first, then the other averages, then each task."""
    significance: Mapping[str, Any]
    """The primary test and the guards, as recorded."""

    @property
    def passed(self) -> bool:
        return self.code == PASSED


@dataclass(frozen=True)
class _Tests:
    gain: OneSided | None
    """None when the difference of the primary metric is not known."""
    harms: Mapping[str, OneSided]
    """Task -> guard of its own metric."""
    adjusted: Mapping[str, float]
    """Task -> p after Holm."""
    untested: tuple[str, ...]
    """Compared tasks whose harm cannot be tested."""
    harmed: tuple[str, ...]


def compete(
    kinds: Mapping[str, str],
    sets: TaskSets,
    champion: Values,
    challenger: Values,
    errors: Mapping[str, float],
    rows: int,
    limits: Limits,
) -> Competition:
    """Section 6.5: validity, task set, primary, secondary, harm, significance; the first failing code ends it.

    Args:
        kinds: task -> binary, multiclass or regression.
        champion, challenger: task -> its own metric.
        errors: name of a metric, as in ``comparison`` -> standard error of challenger minus champion.
        rows: rows of the bundle.
    """
    found = compared_rows(kinds, sets.compared, champion, challenger, errors, limits)
    tests = _tests(kinds, sets.compared, found, errors, limits)
    code, reason = _first_failure(kinds, sets, champion, challenger, found, tests, rows, limits)
    said = tuple(words.explained(row, limits, _harm_of(row, tests)) for row in found)
    return Competition(code, reason, said, _significance(found[0], tests, rows, limits))


def _tests(
    kinds: Mapping[str, str],
    compared: Sequence[str],
    found: Sequence[Compared],
    errors: Mapping[str, float],
    limits: Limits,
) -> _Tests:
    """One test of gain, one guard per task. A task without its numbers has no guard."""
    by_metric = {row.metric: row for row in found}
    primary, harms = found[0], {}
    gain = significance.gain(primary.delta, errors.get(primary.metric, math.nan)) if primary.delta is not None else None
    for task in compared:
        row = by_metric[metric_name(kinds[task], task)]
        if row.better is not None:
            harms[task] = significance.harm(-row.better, errors.get(row.metric, math.nan))
    adjusted = significance.holm({task: test.p for task, test in harms.items() if test.p is not None})
    harmed = [
        task
        for task, p in adjusted.items()
        if p < limits.significance_level and by_metric[metric_name(kinds[task], task)].loss > limits.harm_loss
    ]
    untested = tuple(task for task in compared if task not in adjusted)
    return _Tests(gain, harms, adjusted, untested, tuple(sorted(harmed)))


def _first_failure(
    kinds: Mapping[str, str],
    sets: TaskSets,
    champion: Values,
    challenger: Values,
    found: Sequence[Compared],
    tests: _Tests,
    rows: int,
    limits: Limits,
) -> tuple[str, str]:
    primary, gain = found[0], tests.gain
    if invalid := _invalid(kinds, sets.compared, champion, challenger):
        return "METRIC_INVALID", "; ".join(invalid)
    if sets.problem:
        return sets.problem
    if not any(kinds[task] == "binary" for task in sets.compared):
        return "NO_COMPARABLE_TASKS", "no binary task has a model in both versions"
    if primary.relative is None or gain is None or gain.p is None:
        return "METRIC_INVALID", f"{words.change(primary)}: no relative change or no test of it can be computed"
    if tests.untested and limits.harm_test:
        return "METRIC_INVALID", f"no test of harm can be computed: {', '.join(tests.untested)}"
    if not primary.passed:
        return "PRIMARY_NOT_IMPROVED", f"{words.change(primary)}, needs a gain of {limits.min_improvement:.2%} or more"
    if worse := [row for row in found[1:] if not row.passed]:
        return "SECONDARY_DEGRADED", f"limit {limits.max_degradation:.2%}: " + "; ".join(map(words.change, worse))
    if limits.harm_test and tests.harmed:
        return "SIGNIFICANT_HARM", (
            f"worse by more than {limits.harm_loss:.2%} and beyond chance: "
            + "; ".join(f"{task} (adjusted p = {tests.adjusted[task]:.3g})" for task in tests.harmed)
        )
    tested = words.tested(gain, rows, limits)
    if not gain.p < limits.significance_level:
        return "NOT_SIGNIFICANT", f"{words.change(primary)}, {tested}, needs p < {limits.significance_level}"
    return PASSED, f"{words.change(primary)}, {tested}; {len(found) - 1} secondary metrics within limits"


def _invalid(kinds: Mapping[str, str], compared: Sequence[str], champion: Values, challenger: Values) -> list[str]:
    sides = (("champion", champion), ("challenger", challenger))
    return [
        f"{side} {task} {metric_name(kinds[task], task).split(':')[0]} is {values.get(task)}"
        for side, values in sides
        for task in compared
        if finite(values.get(task)) is None
    ]


def _harm_of(row: Compared, tests: _Tests) -> float | None:
    """The adjusted p of a row that is harmed beyond chance."""
    task = row.metric.partition(":")[2]
    return tests.adjusted[task] if task in tests.harmed else None


def _significance(primary: Compared, tests: _Tests, rows: int, limits: Limits) -> dict[str, Any]:
    """The tests as recorded; what is not known is null."""
    gain = {}
    if tests.gain is not None and tests.gain.p is not None:
        smallest = significance.detectable(tests.gain.se, limits.significance_level, limits.power)
        relative = smallest / abs(primary.champion) if primary.champion else None
        gain = {**_row(tests.gain), "detectable": smallest, "detectable_relative": relative}
    return {
        "test": TEST,
        "alpha": limits.significance_level,
        "power": limits.power,
        "n": rows,
        "underpowered": rows < limits.powered_gate_rows,
        **dict.fromkeys(("delta", "se", "z", "p", "detectable", "detectable_relative")),
        **gain,
        "harm": [{"task": t, **_row(test), "p_adjusted": tests.adjusted.get(t)} for t, test in tests.harms.items()],
    }


def _row(test: OneSided) -> dict[str, float | None]:
    return {"delta": finite(test.delta), "se": finite(test.se), "z": finite(test.z), "p": finite(test.p)}
