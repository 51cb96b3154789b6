"""From scored items to the few that are shown: limits, then relevance against sameness.

Source: serving.md 5 and 7; maximal marginal relevance: Carbonell and Goldstein, 1998.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

from pipeline_lib.serve.score import Score
from pipeline_lib.serve.suitability import Item

Scored = tuple[Item, Score]
_EQUAL = 1e-12


@dataclass(frozen=True)
class Slate:
    chosen: tuple[Scored, ...]
    eligible: tuple[Scored, ...]
    """All items that passed, best first: the slate for off-policy evaluation."""
    dropped: Mapping[str, str]
    """Item -> why it is not eligible."""


def choose(scored: Sequence[Scored], churn: float | None, k: int, filters: Mapping[str, Any]) -> Slate:
    """Drop what is below the limits, order by score (ties: S, then item id), pick ``k`` that differ."""
    dropped, kept = {}, []
    for item, score in scored:
        why = _refusal(item, score, churn, filters)
        if why:
            dropped[item.item_id] = why
        else:
            kept.append((item, score))
    kept.sort(key=lambda pair: (-pair[1].value, -pair[1].s, pair[0].item_id))
    return Slate(tuple(_diverse(kept, k, float(filters["mmr_lambda"]))), tuple(kept), dropped)


def margin(slate: Slate) -> float | None:
    """Relative lead of the best item over the next one that differs [0..1]; None when there is no other.

    Measured on the parts of S in which the two differ: what every item shares says nothing about the choice. Items
    with equal scores (products of one class and group) are twins, and no doubt worth a review.
    """
    if not slate.eligible:
        return None
    top = slate.eligible[0][1]
    other = next((score for _, score in slate.eligible[1:] if score.value < top.value - _EQUAL), None)
    if other is None:
        return None
    own = {task for task in top.parts.keys() | other.parts.keys() if _part(top, task) != _part(other, task)}
    best, second = (sum(_part(score, task) for task in sorted(own)) for score in (top, other))
    return (best - second) / best if best > 0 else None


def _part(score: Score, task: str) -> float:
    return score.parts.get(task, 0.0)


def _refusal(item: Item, score: Score, churn: float | None, filters: Mapping[str, Any]) -> str | None:
    if churn is not None and churn > float(filters["max_churn"]) and not item.retention:
        return "churn_veto"
    return "min_score" if score.value < float(filters["min_score"]) else None


def _diverse(kept: Sequence[Scored], k: int, weight: float) -> list[Scored]:
    left = list(kept)
    chosen: list[Scored] = []
    low, span = _scale([score.value for _, score in kept])
    while left and len(chosen) < k:
        best = max(
            range(len(left)),
            key=lambda i: (
                weight * (left[i][1].value - low) / span
                - (1 - weight) * max((_alike(left[i][0], other) for other, _ in chosen), default=0.0),
                -i,
            ),
        )
        chosen.append(left.pop(best))
    return chosen


def _scale(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values, default=0.0), max(values, default=0.0)
    return low, (high - low) or 1.0


def _alike(a: Item, b: Item) -> float:
    """Cosine of (group, horizon, risk) vectors [0..1]."""
    x, y = _traits(a), _traits(b)
    dot = sum(value * y.get(name, 0.0) for name, value in x.items())
    return dot / sqrt(sum(v * v for v in x.values()) * sum(v * v for v in y.values()))


def _traits(item: Item) -> dict[str, float]:
    horizon = "long" if item.long_horizon else "short"
    return {f"group {item.group or item.class_name}": 1.0, horizon: 1.0, "risk": (item.risk_grade or 0) / 5}
