"""FD-TVS: the priority of one item for one customer. score = S x W x V x (1 - R) x F x E.

S is a convex combination of calibrated values in [0, 1]; the other factors are the customer's situation. Weights
attach to tasks, so a new product needs none. The maximum is 1.587: a priority, not a probability.
Source: serving.md 7, with its golden value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from math import exp, expm1, isfinite
from typing import Any

from pipeline_lib.serve.suitability import Item

GROUP_TASK = "will_acquire"
_M_LOW, _M_HIGH = 1.0, 1.5


@dataclass(frozen=True)
class Situation:
    """What the factors outside S depend on; None = not known, and then the factor is neutral."""

    channel: str
    messages_7d: int | None = None
    income_cv: float | None = None
    limit_utilisation: float | None = None
    flare: bool | None = None
    engagement: float | None = None
    segment: str | None = None


@dataclass(frozen=True)
class Score:
    """One item's score and everything it is made of."""

    value: float
    s: float
    parts: Mapping[str, float]
    """Task -> b_t m_t u_t / sum(b m): adds up to S."""
    w: float
    v: float
    r: float
    f: float
    e: float

    @property
    def deciding_task(self) -> str:
        """The task with the largest part; ties by name."""
        return min(self.parts, key=lambda task: (-self.parts[task], task))


@dataclass(frozen=True)
class Scorer:
    """FD-TVS under one policy. ``multipliers`` (task -> m_t) are worked out once per customer."""

    policy: Mapping[str, Any]

    @property
    def weights(self) -> Mapping[str, float]:
        weights: Mapping[str, float] = self.policy["profiles"][self.policy["profile"]]
        return weights

    def score(
        self, item: Item, u: Mapping[str, float], churn: float | None, situation: Situation, m: Mapping[str, float]
    ) -> Score | None:
        """None when a factor is not finite or no task has a value: the item is dropped and flagged.

        Args:
            u: task -> value in [0, 1] for this item, from ``task_values``.
            churn: calibrated churn probability.
        """
        parts = self._parts(item, u, m)
        if not parts:
            return None
        s = sum(parts.values())
        w, v, e = self._w(item, situation), self._v(situation), self._e(situation)
        r, f = self._r(item, churn, situation), self._f(situation)
        value = s * w * v * (1 - r) * f * e
        return Score(value, s, parts, w, v, r, f, e) if isfinite(value) else None

    def multipliers(self, segment: str | None, features: Mapping[str, float], today: date) -> dict[str, float]:
        """m_t: the segment's multiplier times the largest matching rule's boost, each within [1.0, 1.5]."""
        boosts = dict.fromkeys(self.weights, 1.0)
        for rule in self.policy["dynamic_weight_rules"]:
            if today < date.fromisoformat(rule["expires"]) and _matches(rule, features):
                boosts[rule["task"]] = max(boosts.get(rule["task"], 1.0), _clipped(float(rule["boost"])))
        by_segment = self.policy["segment_task_weights"].get(segment, {})
        return {task: boost * _clipped(float(by_segment.get(task, 1.0))) for task, boost in boosts.items()}

    def _parts(self, item: Item, u: Mapping[str, float], m: Mapping[str, float]) -> dict[str, float]:
        weighted, total = {}, 0.0
        for task, b in self.weights.items():
            name = f"{GROUP_TASK}_{item.group}" if task == GROUP_TASK else task
            if name in u:
                weighted[name] = float(b) * m.get(task, 1.0)
                total += weighted[name]
        return {name: bm * u[name] / total for name, bm in weighted.items()} if total > 0 else {}

    def _w(self, item: Item, situation: Situation) -> float:
        if not item.long_horizon or situation.income_cv is None:
            return 1.0
        low, high = self.policy["cv_cuts"]
        steady, middle, unsteady = (float(value) for value in self.policy["cv_values"])
        return steady if situation.income_cv < low else middle if situation.income_cv < high else unsteady

    def _v(self, situation: Situation) -> float:
        return 1.0 + float(self.policy["flare"]) * bool(situation.flare)

    def _e(self, situation: Situation) -> float:
        return 1.0 + float(self.policy["engagement"]) * min(max(situation.engagement or 0.0, 0.0), 1.0)

    def _r(self, item: Item, churn: float | None, situation: Situation) -> float:
        risk, total = self.policy["risk"], 0.0
        if situation.limit_utilisation is not None and situation.limit_utilisation > risk["limit_over"]:
            total += risk["limit"]
        if not item.retention and churn is not None and churn > risk["churn_over"]:
            total += risk["churn"]
        if not item.retention and (situation.messages_7d or 0) > risk["messages_over"]:
            total += risk["messages"]
        return min(max(total, 0.0), 1.0)

    def _f(self, situation: Situation) -> float:
        fatigue = self.policy["fatigue"]
        c = float(fatigue["channel"].get(situation.channel, fatigue["other"]))
        return float(float(fatigue["base"]) ** ((situation.messages_7d or 0) * c))


def task_values(item: Item, answers: Mapping[str, Sequence[float]], normalisers: Mapping[str, Any]) -> dict[str, float]:
    """u_t of one item: every task's calibrated answer on a scale of [0, 1].

    Args:
        answers: task -> served values.
        normalisers: task -> {q95, sd} of the training labels, from the manifest.
    """
    u: dict[str, float] = {}
    for task, values in answers.items():
        value = _task_value(task, values, item, normalisers.get(task) or {}) if values else None
        if value is not None and isfinite(value):
            u[task] = value
    return u


def _task_value(task: str, values: Sequence[float], item: Item, normaliser: Mapping[str, Any]) -> float | None:
    if task == "nba_primary":
        return values[item.nba_class] if 0 < item.nba_class < len(values) else None
    if task.startswith(f"{GROUP_TASK}_"):
        return values[0] if task == f"{GROUP_TASK}_{item.group}" else None
    if task == "churn_signal":
        return values[0] if item.retention else 1 - values[0]
    if task == "product_stability":
        return min(max(values[0], 0.0), 1.0)
    if task == "cross_sell_count":
        q95 = float(normaliser.get("q95") or 0.0)
        return min(1.0, max(0.0, expm1(values[0]) / q95)) if q95 > 0 else None
    if task == "mcc_diversity_trend":
        sd = float(normaliser.get("sd") or 0.0)
        return 1 / (1 + exp(-values[0] / sd)) if sd > 0 else None
    return values[0] if task == "top_mcc_shift" else None


def _matches(rule: Mapping[str, Any], features: Mapping[str, float]) -> bool:
    value, limit = features.get(rule["feature"]), float(rule["threshold"])
    if value is None:
        return False
    tests = {"<": value < limit, "<=": value <= limit, ">": value > limit, ">=": value >= limit, "==": value == limit}
    return tests[rule["op"]]


def _clipped(value: float) -> float:
    return min(max(value, _M_LOW), _M_HIGH)
