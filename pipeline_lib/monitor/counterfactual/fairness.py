"""Would the groups have been served alike? Outcomes by weighting, what is shown by replay alone.

Per protected attribute and group g against the policy's reference group r, for a model with probabilities pi:

    DI, SPD    acceptance: A_g / A_r and A_g - A_r, A = sum(w reward) / sum(w) over the group's answers
    EOD        T_g - T_r, T = sum(w reward) / sum(reward / mu): the share of the items a customer would accept that is
               shown. 1 / mu stands for all candidates, so this is opportunity given that it is wanted
    shown      DI and SPD of mean pi(item): what would be shown needs no outcome and no weight

A group is compared when its weights are worth enough (ESS) and, for what is shown, when enough showings are expected.
Source: promotion.md 10; monitoring.md 2.2 and 2.8; equal opportunity: Hardt et al., 2016.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from pipeline_lib.monitor.counterfactual.bootstrap import Bootstrap, Interval, interval
from pipeline_lib.monitor.counterfactual.estimate import Ratio
from pipeline_lib.monitor.counterfactual.trials import Mask, Trials
from pipeline_lib.monitor.counterfactual.weights import Array, effective_size
from pipeline_lib.settings.monitoring import Monitoring

Metric = Literal["DI", "SPD", "EOD"]
State = Literal["OK", "BREACH", "INSUFFICIENT", "UNDEFINED"]


@dataclass(frozen=True)
class Compared:
    """One group against the reference group under one model."""

    model: str
    attribute: str
    group: str
    reference: str
    about: str
    """``acceptance``, ``opportunity``, or ``shown:<item>``."""
    metric: Metric
    value: float | None
    state: State
    ess: float
    """Effective sample size of the smaller side [answers]."""
    low: float | None = None
    high: float | None = None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def distance(self) -> float:
        """How far from equality: |ln DI|, |SPD| or |EOD|."""
        if self.value is None:
            return -1.0
        if self.metric != "DI":
            return abs(self.value)
        return abs(float(np.log(self.value))) if self.value > 0 else np.inf


@dataclass(frozen=True)
class Side:
    """One model as fairness of outcomes looks at it."""

    name: str
    w: Array
    """(n,) clipped weights of the shown items."""


def outcomes(trials: Trials, sides: list[Side], draws: Bootstrap, alpha: float, limits: Monitoring) -> list[Compared]:
    """Acceptance and opportunity of every group under every model, with percentile intervals."""
    wanted = trials.reward / trials.at_action(trials.mu)
    asked = [(side, *pair) for side in sides for pair in _pairs(trials, limits)]
    ratios: list[Ratio] = []
    for side, _, _, mine, theirs in asked:
        won = side.w * trials.reward
        ratios += [Ratio(won * cell, below * cell) for below in (side.w, wanted) for cell in (mine, theirs)]
    resampled = draws.values(ratios) if ratios else np.empty((0, 0))
    found = []
    for i, (side, attribute, group, mine, theirs) in enumerate(asked):
        own, b = ratios[4 * i : 4 * i + 4], resampled[:, 4 * i : 4 * i + 4]
        names = (side.name, attribute, group, limits.fairness.reference[attribute])
        ess = min(effective_size(side.w[cell]) for cell in (mine, theirs))
        wish = min(effective_size(wanted[cell]) for cell in (mine, theirs))
        accepted, served = _values(own[:2]), _values(own[2:])
        found += [
            _outcome(names, "acceptance", "DI", _quotient(accepted), ess, b[:, 0] / _positive(b[:, 1]), alpha, limits),
            _outcome(names, "acceptance", "SPD", _minus(accepted), ess, b[:, 0] - b[:, 1], alpha, limits),
            _outcome(names, "opportunity", "EOD", _minus(served), min(ess, wish), b[:, 2] - b[:, 3], alpha, limits),
        ]
    return found


def shown(trials: Trials, pis: Mapping[str, Array], limits: Monitoring) -> list[Compared]:
    """What every group would be shown under every model (n, A): no weights, no outcomes."""
    pairs, found = list(_pairs(trials, limits)), []
    for model, pi in pis.items():
        for code, item in enumerate(trials.names):
            p = np.where(trials.items == code, pi, 0.0).sum(axis=1)  # (n, A) -> (n,)
            for attribute, group, mine, theirs in pairs:
                names = (model, attribute, group, limits.fairness.reference[attribute])
                found += list(_shown(names, item, p[mine], p[theirs], limits))
    return found


def worst(found: list[Compared], model: str, about: str, metric: Metric) -> Compared | None:
    """The comparison furthest from equality among those that could be judged."""
    mine = [c for c in found if c.model == model and c.about.startswith(about) and c.metric == metric]
    return max(
        (c for c in mine if c.value is not None),
        key=lambda c: (c.distance, c.attribute, c.group, c.about),
        default=None,
    )


def _pairs(trials: Trials, limits: Monitoring) -> Iterator[tuple[str, str, Mask, Mask]]:
    for attribute, reference in sorted(limits.fairness.reference.items()):
        of = trials.groups.get(attribute)
        if of is None:
            continue
        for group in sorted(set(of.tolist()) - {reference, ""}):
            yield attribute, group, of == group, of == reference


def _shown(
    names: tuple[str, str, str, str], item: str, mine: Array, theirs: Array, limits: Monitoring
) -> Iterator[Compared]:
    fair, ess = limits.fairness, float(min(len(mine), len(theirs)))
    rate = float(theirs.mean()) if len(theirs) else 0.0
    few = ess < fair.min_group or theirs.sum() < fair.min_favourable or rate * len(mine) < fair.min_expected
    for metric, value in (("DI", float(mine.mean()) / rate if not few else None),
                          ("SPD", float(mine.mean()) - rate if not few else None)):  # fmt: skip
        yield Compared(*names, f"shown:{item}", metric, value, _state(metric, value, few, limits), ess)  # type: ignore[arg-type]


def _outcome(
    names: tuple[str, str, str, str], about: str, metric: Metric, value: float | None, ess: float, draws: Array,
    alpha: float, limits: Monitoring,
) -> Compared:  # fmt: skip
    few = ess < limits.counterfactual.min_group_ess
    span: Interval | None = None if few else interval(draws, alpha)
    low, high = (span.low, span.high) if span else (None, None)
    shown_value = None if few else value
    return Compared(*names, about, metric, shown_value, _state(metric, shown_value, few, limits), ess, low, high)


def _state(metric: Metric, value: float | None, few: bool, limits: Monitoring) -> State:
    """DI of 0.80 itself is inside; a difference of 0.10 itself is a breach."""
    if few:
        return "INSUFFICIENT"
    if value is None:
        return "UNDEFINED"
    fair = limits.fairness
    inside: dict[Metric, Callable[[float], bool]] = {
        "DI": lambda v: fair.di_low <= v <= fair.di_high,
        "SPD": lambda v: abs(v) < fair.spd,
        "EOD": lambda v: abs(v) < limits.counterfactual.eod,
    }
    return "OK" if inside[metric](value) else "BREACH"


def _values(pair: list[Ratio]) -> tuple[float | None, float | None]:
    return pair[0].value, pair[1].value


def _quotient(pair: tuple[float | None, float | None]) -> float | None:
    return None if pair[0] is None or not pair[1] else pair[0] / pair[1]


def _minus(pair: tuple[float | None, float | None]) -> float | None:
    return None if pair[0] is None or pair[1] is None else pair[0] - pair[1]


def _positive(values: Array) -> Array:
    return np.where(values > 0, values, np.nan)
