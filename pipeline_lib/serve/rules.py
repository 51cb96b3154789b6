"""Layer 3: financial-DNA rules, for when no model may or can answer. One small function per task.

A rule looks at exact column names of the feature row; what a source does not carry is missing, and a rule without
its inputs says "unknown" and answers the base rate instead of guessing. A 0/1 must not enter the score as
certainty: a fired rule doubles the base rate, an unfired one halves it. Source: serving.md 8.

Balances, credit grades, card channels, foreign spend and mixes of categories over time are in no feature row yet,
so the rules that need them (deposits, investments, lending, payments, both category tasks, cross-selling) answer
base rates, and say so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Named = Mapping[str, float]
"""Finite feature values by column name."""

BASE_CONFIDENCE = 0.40


@dataclass(frozen=True)
class RuleAnswer:
    rule: str
    values: tuple[float, ...]
    """(p,), K probabilities or (value,): already on the served scale; empty when nothing is known of the task."""
    confidence: float
    inputs: tuple[str, ...]
    """Columns that were there and were looked at."""


@dataclass(frozen=True)
class Task:
    """What a rule knows about its task: from the manifest."""

    name: str
    kind: str
    classes: tuple[str, ...]
    base: tuple[float, ...]
    """Train rate of a binary task, class shares of a multiclass one, mean of a regression; empty = not known."""


@dataclass(frozen=True)
class RuleBook:
    """Layer 3 of one package: thresholds and the bank's products."""

    limits: Mapping[str, Any]
    products: Sequence[Mapping[str, Any]]

    def answer(self, task: Task, row: Named) -> RuleAnswer:
        """One task for one customer; never raises for a missing input."""
        rule = _RULES.get(task.name) if task.base else None
        found = rule(self, task, row) if rule else None
        name = "base_rate" if task.base else "unknown"
        return found or RuleAnswer(f"{task.name}.{name}", task.base, BASE_CONFIDENCE, ())

    def fires(self, task: Task, fired: bool, confidence: float, inputs: Sequence[str], name: str) -> RuleAnswer:
        base = task.base[0]
        high = min(float(self.limits["fired_max"]), float(self.limits["fired_factor"]) * base)
        p = high if fired else float(self.limits["unfired_factor"]) * base
        return RuleAnswer(f"{task.name}.{name}{'' if fired else '.not'}", (p,), confidence, tuple(inputs))


Rule = Callable[[RuleBook, Task, Named], RuleAnswer | None]


def churn_signal(book: RuleBook, task: Task, row: Named) -> RuleAnswer | None:
    """At least two of: long silence, visits falling three months, spend down. Fewer than two inputs: unknown."""
    tests = {
        "silence": _over(row, "recency_days", float(book.limits["churn_recency_days"])),
        "falling": _falling(row),
        "spend_down": _spend_down(row, float(book.limits["churn_spend_drop"])),
    }
    known = {name: hit for name, hit in tests.items() if hit is not None}
    if len(known) < 2:
        return None
    hits = sum(known.values())
    return book.fires(task, hits >= int(book.limits["churn_hits"]), 0.40 + 0.15 * hits, sorted(known), "decline")


def nba_primary(book: RuleBook, task: Task, row: Named) -> RuleAnswer | None:
    """The first step of the adjacency path that is not held; by class name, never by position."""
    held = _held_classes(book, task, row)
    if held is None:
        return None
    few = row.get("num_products", float(len(held))) < float(book.limits["nba_few_products"])
    path = [str(book.limits["nba_first"])] if few else [str(step) for step in book.limits["nba_path"]]
    step = next((name for name in path if name in task.classes and name not in held), None)
    if step is None:
        return None
    return RuleAnswer("nba_primary.adjacent", _towards(book, task, task.classes.index(step)), 0.55, ("num_products",))


def will_acquire_accounts(book: RuleBook, task: Task, row: Named) -> RuleAnswer | None:
    """Share of wallet: salary credited elsewhere cannot be seen, so a new customer alone scores below two."""
    tenure = row.get("tenure_months")
    if tenure is None:
        return None
    score = int(tenure < float(book.limits["accounts_new_months"]))
    return book.fires(task, score >= 2, 0.40 + 0.15 * min(score, 3), ("tenure_months",), "wallet")


def product_stability(book: RuleBook, task: Task, row: Named) -> RuleAnswer | None:
    """Dormancy: the longer the silence, the less stable."""
    silence = row.get("recency_days")
    if silence is None:
        return None
    days = [float(limit) for limit in book.limits["stability_days"]]
    values = [float(value) for value in book.limits["stability_values"]]
    value = next((v for limit, v in zip(days, values, strict=False) if silence < limit), values[-1])
    return RuleAnswer("product_stability.dormancy", (value,), 0.50, ("recency_days",))


def segment_prediction(book: RuleBook, task: Task, row: Named) -> RuleAnswer | None:
    """Points for transactions and products; balances are unknown and score nothing."""
    inputs = [name for name in ("monthly_txns", "num_products") if name in row]
    names = [str(name) for name in book.limits["segment_names"]]
    if len(inputs) < 2 or not set(names) <= set(task.classes):
        return None
    points = _points(row["monthly_txns"], book.limits["segment_transactions"])
    points += _points(row["num_products"], book.limits["segment_products"])
    many, some = (float(limit) for limit in book.limits["segment_points"])
    name = names[0] if points >= many else names[1] if points >= some else names[2]
    return RuleAnswer("segment_prediction.points", _towards(book, task, task.classes.index(name)), 0.50, tuple(inputs))


_RULES: dict[str, Rule] = {
    "churn_signal": churn_signal,
    "nba_primary": nba_primary,
    "will_acquire_accounts": will_acquire_accounts,
    "product_stability": product_stability,
    "segment_prediction": segment_prediction,
}


def _over(row: Named, name: str, limit: float) -> bool | None:
    return None if name not in row else row[name] > limit


def _falling(row: Named) -> bool | None:
    """Monthly counts of the last 30 days, the 60 before and the 90 before those fall."""
    names = ("roll_30d_count", "roll_90d_count", "roll_180d_count")
    if any(name not in row for name in names):
        return None
    month, quarter, half = (row[name] for name in names)
    return month < (quarter - month) / 2 < (half - quarter) / 3


def _spend_down(row: Named, drop: float) -> bool | None:
    if "roll_30d_sum" not in row or "roll_90d_sum" not in row:
        return None
    before = (row["roll_90d_sum"] - row["roll_30d_sum"]) / 2
    return before > 0 and row["roll_30d_sum"] < (1 - drop) * before


def _held_classes(book: RuleBook, task: Task, row: Named) -> set[str] | None:
    """Names of the classes of which a product is held; None when holdings are not in the row."""
    seen = [p for p in book.products if f"hold_{p['short']}" in row]
    if not seen:
        return None
    held = {int(p["nba_class"]) for p in seen if row[f"hold_{p['short']}"] > 0}
    return {task.classes[k] for k in held if k < len(task.classes)}


def _towards(book: RuleBook, task: Task, k: int) -> tuple[float, ...]:
    """The confidence on class ``k``, the rest by base rates."""
    top = float(book.limits["nba_confidence"])
    others = sum(share for i, share in enumerate(task.base) if i != k)
    spread = [(1 - top) * (share / others if others > 0 else 1 / (len(task.base) - 1)) for share in task.base]
    return tuple(top if i == k else value for i, value in enumerate(spread))


def _points(value: float, limits: Sequence[float]) -> int:
    return 2 if value >= float(limits[0]) else 1 if value >= float(limits[1]) else 0
