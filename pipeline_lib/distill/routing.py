"""Which of three routes a task takes: ``distil``, ``direct`` (hard labels) or ``rules`` (no model).

Judged by the teacher's primary metric on all validation rows. Limits are inclusive as written; unrounded floats
are compared. A metric that cannot be computed is UNDETERMINED, an error, and never zero. Source: distillation.md 7.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from pipeline_lib.errors import ContractError
from pipeline_lib.records import Finding
from pipeline_lib.settings.distillation import TeacherThreshold
from pipeline_lib.settings.tasks import Kind

Route = Literal["distil", "direct", "rules"]

TEACHER_VIABLE = "TEACHER_VIABLE"
TEACHER_WEAK = "TEACHER_WEAK"
TEACHER_NO_SKILL = "TEACHER_NO_SKILL"
TEACHER_DEGENERATE = "TEACHER_DEGENERATE"
INSUFFICIENT_EVIDENCE = "INSUFFICIENT_EVIDENCE"
DISABLED_BY_DATA = "DISABLED_BY_DATA"
DIRECT_NOT_ACCEPTED = "DIRECT_NOT_ACCEPTED"


@dataclass(frozen=True)
class Limits:
    distil_at: float
    """distil if metric >= this."""
    rules_at: float
    """rules if metric <= this."""


@dataclass(frozen=True)
class Routing:
    """The route of one task and what it was judged on; None where nothing was judged."""

    route: Route
    reason: str
    metric: str | None = None
    value: float | None = None
    limits: Limits | None = None
    interval: tuple[float, float] | None = None
    borderline: bool | None = None
    """The 95% interval straddles a limit; None without an interval."""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def limits_of(kind: Kind, classes: int, at: TeacherThreshold) -> Limits:
    """Limits of a kind of task. 2/K is capped half-way between random and perfect: it is impossible at K = 2."""
    if kind == "binary":
        return Limits(at.binary_min_auc, at.binary_floor_auc)
    if kind == "multiclass":
        viable = min(at.multiclass_ratio / classes, (1 + 1 / classes) / 2)
        return Limits(viable, at.multiclass_floor_ratio / classes)
    return Limits(at.regression_min_r2, at.regression_floor_r2)


def route_by_metric(
    task: str, metric: str, value: float, limits: Limits, interval: tuple[float, float] | None
) -> Routing:
    """Raises ContractError (UNDETERMINED) when the metric is not finite."""
    if not math.isfinite(value):
        raise undetermined(task, metric, f"the teacher's {metric} on validation is {value}")
    borderline = None
    if interval is not None:
        borderline = any(interval[0] < limit < interval[1] for limit in (limits.distil_at, limits.rules_at))
    route: Route = "direct"
    reason = TEACHER_WEAK
    if value >= limits.distil_at:
        route, reason = "distil", TEACHER_VIABLE
    elif value <= limits.rules_at:
        route, reason = "rules", TEACHER_NO_SKILL
    return Routing(route, reason, metric, value, limits, interval, borderline)


def undetermined(task: str, what: str, message: str) -> ContractError:
    """The error of a task that cannot be routed: it blocks packaging."""
    finding = Finding("distill.route", what, "route", "UNDETERMINED", "finite", message, task, "UNJUDGED")
    return ContractError(f"{task}: UNDETERMINED, {message}", (finding,))


def absent_tasks(
    expected: Mapping[str, Any], facts: Mapping[str, Mapping[str, Any]], absent_because: Mapping[str, str]
) -> dict[str, str]:
    """Expected tasks that this data set cannot carry, with the reason; they arrive as ``rules``.

    Args:
        expected: tasks of the settings.
        facts: ``tasks`` of the labels stage.
        absent_because: tasks the source does not have.

    Raises:
        ContractError: UNDETERMINED, neither the source nor the labels say anything about a task.
    """
    absent: dict[str, str] = {}
    for task in expected:
        if task in absent_because:
            absent[task] = absent_because[task]
        elif task not in facts:
            raise undetermined(task, "labels", "the labels stage says nothing about this task")
        elif facts[task]["status"] != "active":
            absent[task] = str(facts[task].get("reason") or "disabled by the labels stage")
    return absent
