"""One metric of both models, and whether the difference is within its limit. Source: promotion.md 6.1 to 6.3."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pipeline_lib.gate import significance
from pipeline_lib.gate.limits import Limits
from pipeline_lib.gate.measure import LOWER_IS_BETTER, METRIC_OF

EPSILON = 1e-9
"""Slack of the inclusive limits [relative]. Source: promotion.md 6.2."""
SMALLEST = 1e-6
"""A champion's metric below this in absolute value admits no relative change."""

Values = Mapping[str, float | None]


@dataclass(frozen=True)
class Compared:
    """``relative`` > 0 is an improvement, whatever the direction of the metric; ``delta`` is as subtracted."""

    metric: str
    role: str
    champion: float | None
    challenger: float | None
    delta: float | None
    low: float | None
    high: float | None
    """Two-sided interval of ``delta`` from the influences of the rows."""
    relative: float | None
    limit: float
    passed: bool
    why: str = ""
    """The row in words."""

    @property
    def better(self) -> float | None:
        """How much better the challenger is [metric units]; negative is worse."""
        if self.delta is None:
            return None
        return -self.delta if lower_is_better(self.metric) else self.delta

    @property
    def loss(self) -> float:
        """Relative loss; 0 when the champion's value admits no relative change."""
        return -self.relative if self.relative is not None else 0.0

    def to_dict(self) -> dict[str, Any]:
        row = asdict(self)
        return {**{k: finite(v) for k, v in row.items() if k != "passed"}, "pass": self.passed}


def compared_rows(
    kinds: Mapping[str, str],
    compared: Sequence[str],
    champion: Values,
    challenger: Values,
    errors: Mapping[str, float],
    limits: Limits,
) -> tuple[Compared, ...]:
    """Primary first, then the other averages, then each task. Arguments as ``compare.compete``."""
    rows = []
    for kind, metric in METRIC_OF.items():
        tasks = [task for task in compared if kinds[task] == kind]
        if tasks or metric == "auc":
            rows.append(_compared(f"avg_{metric}", _mean(champion, tasks), _mean(challenger, tasks), errors, limits))
    for task in compared:
        name = metric_name(kinds[task], task)
        rows.append(_compared(name, champion.get(task), challenger.get(task), errors, limits))
    return tuple(rows)


def metric_name(kind: str, task: str) -> str:
    """``auc:churn_signal``."""
    return f"{METRIC_OF[kind]}:{task}"


def lower_is_better(name: str) -> bool:
    return name.partition(":")[0].removeprefix("avg_") in LOWER_IS_BETTER


def finite(value: Any) -> Any:
    """The value, or None for a real that is none."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _compared(name: str, old: float | None, new: float | None, errors: Mapping[str, float], limits: Limits) -> Compared:
    primary = name == "avg_auc"
    role, limit = ("primary", limits.min_improvement) if primary else ("secondary", -limits.max_degradation)
    old, new = finite(old), finite(new)
    if old is None or new is None:
        return Compared(name, role, old, new, None, None, None, None, limit, passed=False)
    low, high = significance.interval(new - old, errors.get(name, math.nan))
    better = old - new if lower_is_better(name) else new - old
    relative = better / abs(old) if abs(old) >= SMALLEST else None
    if primary:
        passed = relative is not None and relative >= limit - EPSILON
    else:
        beyond = better < 0 if relative is None else relative < limit - EPSILON
        passed = not (beyond and -better > limits.abs_tolerance)
    return Compared(name, role, old, new, new - old, finite(low), finite(high), relative, limit, passed)


def _mean(values: Values, tasks: Sequence[str]) -> float | None:
    found = [finite(values.get(task)) for task in tasks]
    known = [value for value in found if value is not None]
    return math.fsum(known) / len(known) if known and len(known) == len(found) else None
