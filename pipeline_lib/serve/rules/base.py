"""What a rule is given and what it gives back, and the few forms that answers of Layer 3 take."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Named = Mapping[str, float]
"""Finite values by exact name; what is not known is not there."""

BASE_CONFIDENCE = 0.40


@dataclass(frozen=True)
class RuleAnswer:
    rule: str
    values: tuple[float, ...]
    """(p,), K probabilities or (value,): already on the served scale; empty when nothing is known of the task."""
    confidence: float
    """For review tiers and Layer 4, not for scoring."""
    inputs: tuple[str, ...]
    """Names that were there and were looked at."""


@dataclass(frozen=True)
class Task:
    """What a rule knows about its task: from the manifest."""

    name: str
    kind: str
    classes: tuple[str, ...]
    base: tuple[float, ...]
    """Train rate of a binary task, class shares of a multiclass one, mean of a regression; empty = not known."""
    low: float | None = None
    high: float | None = None
    """Training range of a regression [label units]."""


@dataclass(frozen=True)
class Case:
    """One task of one customer, as its rule sees it."""

    task: Task
    row: Named
    limits: Mapping[str, Any]
    products: Sequence[Mapping[str, Any]]
    groups: Mapping[str, str]
    """Category -> its top level, from the source's own tree."""
    raw_only: bool
    """Nothing a model made may be read: the customer has opted out."""

    def known(self, *names: str) -> tuple[str, ...]:
        return tuple(name for name in names if name in self.row)

    def limit(self, name: str) -> float:
        return float(self.limits[name])

    def over(self, name: str, limit: str) -> bool | None:
        """Whether a measure is at or above a limit of the policy; None where it is not known."""
        return self.row[name] >= self.limit(limit) if name in self.row else None

    def shortcut(self) -> tuple[float, tuple[str, ...]] | None:
        """(sum of the task's engineered columns, their names); None where one is missing or may not be read."""
        columns = tuple(self.limits["shortcuts"].get(self.task.name, ()))
        if self.raw_only or not columns or len(self.known(*columns)) < len(columns):
            return None
        return sum(self.row[name] for name in columns), columns

    def fires(self, fired: bool, confidence: float, inputs: Sequence[str], rule: str) -> RuleAnswer:
        """A 0 or 1 must not enter the score as certainty: the base rate is raised or lowered."""
        base = self.task.base[0]
        high = min(self.limit("fired_max"), self.limit("fired_factor") * base)
        p = high if fired else self.limit("unfired_factor") * base
        return RuleAnswer(
            f"{self.task.name}.{rule}{'' if fired else '.not'}", (p,), confidence, tuple(inputs)
        )  # fmt: skip

    def towards(self, k: int, confidence: float, inputs: Sequence[str], rule: str) -> RuleAnswer:
        """``class_share`` on class ``k``, the rest by base rates."""
        top, base = self.limit("class_share"), self.task.base
        others = sum(share for i, share in enumerate(base) if i != k)
        if len(base) == 1:
            return RuleAnswer(f"{self.task.name}.{rule}", (1.0,), confidence, tuple(inputs))
        spread = [(1 - top) * (share / others if others > 0 else 1 / (len(base) - 1)) for share in base]
        values = tuple(top if i == k else value for i, value in enumerate(spread))
        return RuleAnswer(f"{self.task.name}.{rule}", values, confidence, tuple(inputs))

    def value(self, value: float, confidence: float, inputs: Sequence[str], rule: str) -> RuleAnswer:
        """A regression's answer, never outside what training saw."""
        low = value if self.task.low is None else max(value, self.task.low)
        return RuleAnswer(
            f"{self.task.name}.{rule}", (low if self.task.high is None else min(low, self.task.high),),
            confidence, tuple(inputs),
        )  # fmt: skip

    def held(self, wanted: Callable[[Mapping[str, Any]], bool]) -> int | None:
        """How many of some products are held; None when the row says of none of them."""
        columns = self.known(*(f"hold_{product['short']}" for product in self.products if wanted(product)))
        return sum(self.row[name] > 0 for name in columns) if columns else None


Rule = Callable[[Case], RuleAnswer | None]
"""None: too little is known, and the base rate is the answer."""


def within(value: float, low: float = 0.0, high: float = 1.0) -> float:
    return min(max(value, low), high)
