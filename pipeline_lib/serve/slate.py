"""From scored items to the few that are shown: limits, then relevance against sameness.

Rank 1 may be drawn instead of taken, inside what passed every limit; what was done is recorded with its probability,
so that another model can be judged on what became of it. Source: serving.md 5 and 7; promotion.md 10; maximal marginal
relevance: Carbonell and Goldstein, 1998.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import exp, sqrt
from typing import Any

from pipeline_lib.serve.score import Score
from pipeline_lib.serve.suitability import Item

Scored = tuple[Item, Score]
_EQUAL = 1e-12


@dataclass(frozen=True)
class Exploration:
    """Epsilon-softmax: with probability ``epsilon`` rank 1 is drawn by softmax(score / temperature)."""

    epsilon: float
    temperature: float
    """[score]"""

    @classmethod
    def of(cls, serving: Mapping[str, Any]) -> Exploration | None:
        """What a package does; None when it always takes the best, as one without the setting does."""
        policy = serving.get("exploration")
        if policy is None or not float(policy["epsilon"]):
            return None
        return cls(float(policy["epsilon"]), float(policy["temperature"]))


@dataclass(frozen=True)
class Draw:
    """How rank 1 of an answer came about."""

    by: Exploration
    item_id: str


@dataclass(frozen=True)
class Slate:
    chosen: tuple[Scored, ...]
    eligible: tuple[Scored, ...]
    """All items that passed, best first: the slate for off-policy evaluation."""
    dropped: Mapping[str, str]
    """Item -> why it is not eligible."""
    propensities: Mapping[str, float] = field(default_factory=dict)
    """Eligible item -> probability that it is rank 1."""
    below_limits: tuple[Scored, ...] = ()
    """Scored items that the limits dropped: another model may rank them."""
    draw: Draw | None = None
    """None: the best item was taken, and a propensity is 0 or 1."""


def choose(
    scored: Sequence[Scored],
    churn: float | None,
    k: int,
    filters: Mapping[str, Any],
    exploration: Exploration | None = None,
    u: float = 0.0,
) -> Slate:
    """Rank what may be shown, take or draw the first, and pick up to ``k`` that differ from one another.

    Args:
        u: uniform in [0, 1), read only when ``exploration`` is given.
    """
    kept, dropped = ranked(scored, churn, filters)
    chances = propensities(kept, exploration)
    first = _drawn(chances, u) if exploration else 0
    draw = Draw(exploration, kept[first][0].item_id) if exploration and kept else None
    chosen = _diverse(kept, k, float(filters["mmr_lambda"]), first)
    by_item = {item.item_id: p for (item, _), p in zip(kept, chances, strict=True)}
    below = tuple(pair for pair in scored if pair[0].item_id in dropped)
    return Slate(tuple(chosen), tuple(kept), dropped, by_item, below, draw)


def uniform(prediction_id: str) -> float:
    """The number in [0, 1) behind an answer's draw: a hash of its random id, so that the record shows it was honest."""
    return float(int(hashlib.sha256(f"rank 1|{prediction_id}".encode()).hexdigest()[:13], 16) / 16**13)


def propensities(kept: Sequence[Scored], exploration: Exploration | None) -> list[float]:
    """Probability of being rank 1 of each of the eligible items, best first; they sum to 1.

    mu(a) = (1 - epsilon) [a is best] + epsilon softmax(score(a) / temperature). Source: promotion.md 10.
    """
    best = [float(i == 0) for i in range(len(kept))]
    if exploration is None or not kept:
        return best
    top = kept[0][1].value
    soft = [exp((score.value - top) / exploration.temperature) for _, score in kept]
    return [
        (1 - exploration.epsilon) * b + exploration.epsilon * s / sum(soft) for b, s in zip(best, soft, strict=True)
    ]


def ranked(
    scored: Sequence[Scored], churn: float | None, filters: Mapping[str, Any]
) -> tuple[list[Scored], dict[str, str]]:
    """What is within the limits, by score (ties: S, then item id), and why the rest is not."""
    dropped, kept = {}, []
    for item, score in scored:
        why = _refusal(item, score, churn, filters)
        if why:
            dropped[item.item_id] = why
        else:
            kept.append((item, score))
    kept.sort(key=lambda pair: (-pair[1].value, -pair[1].s, pair[0].item_id))
    return kept, dropped


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


def _drawn(chances: Sequence[float], u: float) -> int:
    """Index of the item whose share of [0, 1) holds ``u``; the last one when rounding leaves a gap at the end."""
    for i, p in enumerate(chances):
        u -= p
        if u < 0:
            return i
    return max(len(chances) - 1, 0)


def _diverse(kept: Sequence[Scored], k: int, weight: float, first: int) -> list[Scored]:
    """Maximal marginal relevance; ``same[i]`` is how much item i is like the most alike of those chosen."""
    low, span = _scale([score.value for _, score in kept])
    traits = [_traits(item) for item, _ in kept]
    left, same = list(range(len(kept))), [0.0] * len(kept)
    chosen: list[int] = []
    while left and len(chosen) < k:
        gain = {i: weight * (kept[i][1].value - low) / span - (1 - weight) * same[i] for i in left}
        best = max(left, key=lambda i: (gain[i], -i)) if chosen else first
        left.remove(best)
        chosen.append(best)
        for i in left:
            same[i] = max(same[i], _alike(traits[i], traits[best]))
    return [kept[i] for i in chosen]


def _scale(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values, default=0.0), max(values, default=0.0)
    return low, (high - low) or 1.0


def _alike(x: Mapping[str, float], y: Mapping[str, float]) -> float:
    """Cosine of two items' traits [0..1]."""
    dot = sum(value * y.get(name, 0.0) for name, value in x.items())
    return dot / sqrt(sum(v * v for v in x.values()) * sum(v * v for v in y.values()))


def _traits(item: Item) -> dict[str, float]:
    """(group, horizon, risk) as a sparse vector."""
    horizon = "long" if item.long_horizon else "short"
    return {f"group {item.group or item.class_name}": 1.0, horizon: 1.0, "risk": (item.risk_grade or 0) / 5}
