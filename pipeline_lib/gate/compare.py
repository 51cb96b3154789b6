"""ModelCompetition: is the challenger better where it must be, and not worse anywhere? Source: promotion.md 5, 6.

Every number is computed and kept even when an early code ends the comparison. Values are compared unrounded. A
missing or non-finite required metric rejects; nothing is ever replaced by a default.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pipeline_lib.gate.measure import LOWER_IS_BETTER, METRIC_OF
from pipeline_lib.gate.significance import OneSided, holm
from pipeline_lib.registry.package import PackagedTask

EPSILON = 1e-9
"""Slack of the inclusive limits [relative]. Source: promotion.md 6.2."""
SMALLEST = 1e-6
"""A champion's metric below this in absolute value admits no relative change."""
PASSED = "PASSED"

Values = Mapping[str, float | None]


@dataclass(frozen=True)
class Limits:
    """Fields as in ``config/promotion.yaml``."""

    min_improvement: float
    max_degradation: float
    abs_tolerance: float
    significance_level: float
    harm_test: bool
    harm_loss: float


@dataclass(frozen=True)
class TaskSets:
    """Which tasks are compared, and why the others are not. Source: promotion.md section 5."""

    expected: tuple[str, ...]
    compared: tuple[str, ...]
    missing: tuple[str, ...]
    extra: tuple[str, ...]
    coverage_gain: tuple[str, ...]
    coverage_regression: tuple[str, ...]
    contract_changed: tuple[str, ...]
    by_rules: tuple[str, ...]
    unpowered: tuple[str, ...]


@dataclass(frozen=True)
class Compared:
    """One metric of both models. ``relative`` > 0 is an improvement, whatever the direction of the metric."""

    metric: str
    role: str
    champion: float | None
    challenger: float | None
    delta: float | None
    relative: float | None
    limit: float
    passed: bool

    def to_dict(self) -> dict[str, Any]:
        row = asdict(self)
        return {**{k: _finite(v) for k, v in row.items() if k != "passed"}, "pass": self.passed}


@dataclass(frozen=True)
class Competition:
    code: str
    reason: str
    comparison: tuple[Compared, ...]
    significance: Mapping[str, Any]

    @property
    def passed(self) -> bool:
        return self.code == PASSED


def task_sets(
    expected: Sequence[str],
    champion: Mapping[str, PackagedTask],
    challenger: Mapping[str, PackagedTask],
    unpowered: Sequence[str],
) -> TaskSets:
    """Sort the tasks. ``expected`` are all tasks of the policy; a packaged task outside it is extra."""
    in_champion = {t for t in expected if t in champion and champion[t].has_model}
    in_challenger = {t for t in expected if t in challenger and challenger[t].has_model}
    both = [t for t in expected if t in in_champion & in_challenger]
    same = [t for t in both if _contract(champion[t]) == _contract(challenger[t])]
    return TaskSets(
        expected=tuple(expected),
        compared=tuple(t for t in same if t not in unpowered),
        missing=tuple(t for t in expected if t not in challenger),
        extra=tuple(sorted(challenger.keys() - set(expected))),
        coverage_gain=tuple(t for t in expected if t in in_challenger - in_champion),
        coverage_regression=tuple(t for t in expected if t in in_champion - in_challenger and t in challenger),
        contract_changed=tuple(t for t in both if t not in same),
        by_rules=tuple(t for t in expected if t in challenger and t not in in_challenger),
        unpowered=tuple(t for t in unpowered if t in both),
    )


def compete(
    kinds: Mapping[str, str],
    sets: TaskSets,
    champion: Values,
    challenger: Values,
    gain: OneSided | None,
    harms: Mapping[str, OneSided],
    limits: Limits,
) -> Competition:
    """Section 6.5: validity, task set, primary, secondary, harm, significance; the first failing code ends it.

    Args:
        kinds: task -> binary, multiclass or regression.
        champion, challenger: task -> its own metric.
        gain: primary test; None when it could not be computed.
        harms: task -> guard test.
    """
    rows = _comparison(kinds, sets.compared, champion, challenger, limits)
    adjusted = holm({task: test.p for task, test in harms.items() if test.p is not None})
    significance = _significance(gain, harms, adjusted, limits)
    by_metric = {row.metric: row for row in rows}
    harmed = [
        task
        for task, p in adjusted.items()
        if p < limits.significance_level and _loss(by_metric[f"{METRIC_OF[kinds[task]]}:{task}"]) > limits.harm_loss
    ]
    code, reason = _first_failure(kinds, sets, champion, challenger, rows, gain, sorted(harmed), limits)
    return Competition(code, reason, rows, significance)


def _first_failure(
    kinds: Mapping[str, str],
    sets: TaskSets,
    champion: Values,
    challenger: Values,
    rows: Sequence[Compared],
    gain: OneSided | None,
    harmed: Sequence[str],
    limits: Limits,
) -> tuple[str, str]:
    if invalid := _invalid(kinds, sets.compared, champion, challenger):
        return "METRIC_INVALID", "; ".join(invalid)
    if problem := _task_set_problem(kinds, sets):
        return problem
    primary = rows[0]
    if primary.relative is None or gain is None or gain.p is None:
        return "METRIC_INVALID", f"{_words(primary)}: no relative change or no test of it can be computed"
    if not primary.passed:
        return "PRIMARY_NOT_IMPROVED", f"{_words(primary)}, needs a relative gain of {limits.min_improvement:.4%}"
    if worse := [row for row in rows[1:] if not row.passed]:
        return "SECONDARY_DEGRADED", f"limit {limits.max_degradation:.4%}: " + "; ".join(_words(r) for r in worse)
    if limits.harm_test and harmed:
        return "SIGNIFICANT_HARM", f"worse by more than {limits.harm_loss:.2%} and not by chance: {', '.join(harmed)}"
    if not gain.p < limits.significance_level:
        return "NOT_SIGNIFICANT", (
            f"{_words(primary)}, p = {gain.p:.3g}, needs p < {limits.significance_level}; "
            f"{gain.rows} rows would show {gain.detectable:.6f}"
        )
    return PASSED, f"{_words(primary)}, p = {gain.p:.3g}; {len(rows) - 1} secondary metrics within limits"


def _invalid(kinds: Mapping[str, str], compared: Sequence[str], champion: Values, challenger: Values) -> list[str]:
    sides = (("champion", champion), ("challenger", challenger))
    return [
        f"{side} {task} {METRIC_OF[kinds[task]]} is {values.get(task)}"
        for side, values in sides
        for task in compared
        if _finite(values.get(task)) is None
    ]


def _task_set_problem(kinds: Mapping[str, str], sets: TaskSets) -> tuple[str, str] | None:
    if sets.missing:
        return "TASKS_MISSING", f"expected but not in the package: {', '.join(sets.missing)}"
    if sets.coverage_regression:
        return "COVERAGE_REGRESSION", f"the champion has a model, rules now: {', '.join(sets.coverage_regression)}"
    if sets.contract_changed:
        return "TASK_CONTRACT_CHANGED", f"type or classes differ: {', '.join(sets.contract_changed)}"
    if not any(kinds[task] == "binary" for task in sets.compared):
        return "NO_COMPARABLE_TASKS", "no binary task has a model in both versions"
    return None


def _comparison(
    kinds: Mapping[str, str], compared: Sequence[str], champion: Values, challenger: Values, limits: Limits
) -> tuple[Compared, ...]:
    """Primary first, then the other averages, then each task."""
    rows = []
    for kind, metric in METRIC_OF.items():
        tasks = [task for task in compared if kinds[task] == kind]
        if tasks or metric == "auc":
            averages = _mean(champion, tasks), _mean(challenger, tasks)
            rows.append(_compared(f"avg_{metric}", metric, *averages, limits, primary=metric == "auc"))
    for task in compared:
        metric = METRIC_OF[kinds[task]]
        rows.append(_compared(f"{metric}:{task}", metric, champion.get(task), challenger.get(task), limits))
    return tuple(rows)


def _compared(
    name: str, metric: str, old: float | None, new: float | None, limits: Limits, *, primary: bool = False
) -> Compared:
    role, limit = ("primary", limits.min_improvement) if primary else ("secondary", -limits.max_degradation)
    old, new = _finite(old), _finite(new)
    if old is None or new is None:
        return Compared(name, role, old, new, None, None, limit, False)
    better = old - new if metric in LOWER_IS_BETTER else new - old
    relative = better / abs(old) if abs(old) >= SMALLEST else None
    if primary:
        passed = relative is not None and relative >= limit - EPSILON
    else:
        beyond = better < 0 if relative is None else relative < limit - EPSILON
        passed = not (beyond and -better > limits.abs_tolerance)
    return Compared(name, role, old, new, new - old, relative, limit, passed)


def _significance(
    gain: OneSided | None, harms: Mapping[str, OneSided], adjusted: Mapping[str, float], limits: Limits
) -> dict[str, Any]:
    primary = None if gain is None else {**_test_row(gain), "detectable": _finite(gain.detectable)}
    guards = [{"task": task, **_test_row(test), "p_adjusted": adjusted.get(task)} for task, test in harms.items()]
    return {
        "test": "delong_influence_avg_auc",
        "alpha": limits.significance_level,
        **(primary or {}),
        "harm": guards,
    }


def _test_row(test: OneSided) -> dict[str, Any]:
    values = {"delta": test.delta, "se": test.se, "z": test.z, "p": test.p}
    return {**{name: _finite(value) for name, value in values.items()}, "n": test.rows}


def _mean(values: Values, tasks: Sequence[str]) -> float | None:
    found = [_finite(values.get(task)) for task in tasks]
    known = [value for value in found if value is not None]
    return math.fsum(known) / len(known) if known and len(known) == len(found) else None


def _loss(row: Compared) -> float:
    return -row.relative if row.relative is not None else 0.0


def _words(row: Compared) -> str:
    change = "undefined" if row.relative is None else f"{row.relative:+.4%}"
    return f"{row.metric} {_text(row.champion)} -> {_text(row.challenger)} ({change})"


def _text(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.6f}"


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _contract(task: PackagedTask) -> tuple[str, tuple[str, ...]]:
    return task.kind, task.classes
