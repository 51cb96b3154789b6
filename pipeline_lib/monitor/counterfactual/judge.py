"""One finding about two models from one set of trials: estimates, what they rest on, fairness, and a verdict in words.

Order of verdicts: UNAVAILABLE (nothing to judge on), INSUFFICIENT_SUPPORT (the log says too little about this model),
UNSTABLE (clipping decides the answer), then BETTER, WORSE or INCONCLUSIVE by the interval. Source: promotion.md 10.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from pipeline_lib.monitor.counterfactual import fairness, rewards
from pipeline_lib.monitor.counterfactual.bootstrap import Bootstrap, Interval
from pipeline_lib.monitor.counterfactual.estimate import Ratio, doubly_robust, ips, logged_mean, snips
from pipeline_lib.monitor.counterfactual.fairness import Compared, Side
from pipeline_lib.monitor.counterfactual.trials import Trials
from pipeline_lib.monitor.counterfactual.weights import Array, Support, clipped_mass, importance, support
from pipeline_lib.settings.monitoring import Monitoring
from pipeline_lib.settings.promotion import Counterfactual as Policy

Verdict = Literal["BETTER", "WORSE", "INCONCLUSIVE", "INSUFFICIENT_SUPPORT", "UNSTABLE", "UNAVAILABLE"]
ESTIMATORS = ("ips", "snips", "dr")


@dataclass(frozen=True)
class Finding:
    verdict: Verdict
    reason: str
    estimates: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Estimator -> champion, challenger, lift, low, high."""
    support: Mapping[str, Support] = field(default_factory=dict)
    """champion, challenger."""
    clipping: tuple[Mapping[str, Any], ...] = ()
    fairness: tuple[Compared, ...] = ()
    numbers: Mapping[str, Any] = field(default_factory=dict)
    """Answers, customers, seed and the policy that was applied."""


def unavailable(reason: str, shown: list[Compared] | None = None) -> Finding:
    """No verdict; what would be shown may still be known."""
    return Finding("UNAVAILABLE", reason, fairness=tuple(shown or ()))


def judge(trials: Trials, policy: Policy, limits: Monitoring, why_not: str | None = None) -> Finding:
    """Challenger against champion on the same answers.

    Args:
        why_not: why outcomes cannot be judged on them, if that is known; what would be shown is said all the same.
    """
    rules = limits.counterfactual
    strangers = trials.unreproduced(rules.replay_tolerance)
    own = int(trials.by_champion.sum())
    if own and strangers.sum() > rules.max_unreproduced * own:
        return unavailable(
            why_not
            or f"the champion's replay gives back other propensities than the log for {strangers.sum()} of its {own} "
            "answers: what the models are asked is not what was asked"
        )
    kept = trials.where(~strangers)
    pis = {"champion": kept.champion, "challenger": kept.challenger}
    shown = fairness.shown(kept, pis, limits) if len(kept) else []
    usable = kept.where(kept.drawn & np.isfinite(kept.reward))
    if why_not is None and not len(usable):
        why_not = "no answer has a propensity, a known outcome and a replayable context"
    if why_not is not None:
        return unavailable(why_not, shown)
    return _judged(usable, policy, limits, shown, int(strangers.sum()))


def _judged(trials: Trials, policy: Policy, limits: Monitoring, shown: list[Compared], dropped: int) -> Finding:
    rules, mu = limits.counterfactual, trials.at_action(trials.mu)
    raw = {
        "champion": np.where(trials.by_champion, 1.0, importance(trials.at_action(trials.champion), mu)),
        "challenger": importance(trials.at_action(trials.challenger), mu),
    }
    pis = {"champion": trials.champion, "challenger": trials.challenger}
    rest = {name: support(raw[name], pis[name], trials.mu, policy.clip) for name in raw}
    draws = Bootstrap(trials.customers, policy.n_bootstrap, rules.seed)
    q = _rewards(trials, limits)
    estimates = {name: _estimate(name, trials, raw, q, policy.clip, policy.alpha, draws) for name in ESTIMATORS}
    sides = [Side(name, np.minimum(raw[name], policy.clip)) for name in raw]
    compared = fairness.outcomes(trials, sides, draws, policy.alpha, limits) + shown
    verdict, reason = _verdict(estimates[policy.estimator], rest, policy, limits)
    numbers = {
        "answers": len(trials), "customers": int(trials.customers.max()) + 1, "unreproduced": dropped,
        "estimator": policy.estimator, "clip": policy.clip, "alpha": policy.alpha, "seed": rules.seed,
        "n_bootstrap": policy.n_bootstrap, "accepted": int(trials.reward.sum()),
    }  # fmt: skip
    return Finding(
        verdict, reason, estimates, rest, _clipping(trials, raw, q, policy, limits), tuple(compared), numbers
    )  # fmt: skip


def _verdict(
    primary: Mapping[str, Any], rest: Mapping[str, Support], policy: Policy, limits: Monitoring
) -> tuple[Verdict, str]:
    if lacking := [
        f"{name}: {why}" for name, side in rest.items() for why in side.lacks(policy, limits.counterfactual)
    ]:
        return "INSUFFICIENT_SUPPORT", "; ".join(lacking)
    cut = {name: side.clipped_mass or 0.0 for name, side in rest.items()}
    if unstable := [f"{name}: {c:.3f}" for name, c in cut.items() if c > limits.counterfactual.max_clipped]:
        limit = limits.counterfactual.max_clipped
        return "UNSTABLE", f"clipping at {policy.clip:g} cuts off {', '.join(unstable)} of the weight > {limit}"
    lift, low, high = primary["lift"], primary["low"], primary["high"]
    if lift is None or low is None or high is None:
        return "INCONCLUSIVE", "an estimate or its interval is not defined on these answers"
    said = f"lift {lift:+.5f}, {1 - policy.alpha:.0%} interval {low:+.5f} to {high:+.5f}"
    if low > 0 and lift >= policy.min_lift:
        return "BETTER", said
    return ("WORSE" if high < 0 else "INCONCLUSIVE"), said


def _estimate(
    name: str, trials: Trials, raw: Mapping[str, Array], q: Array, clip: float, alpha: float, draws: Bootstrap
) -> dict[str, Any]:
    challenger = _ratio(name, trials, raw["challenger"], trials.challenger, q, clip)
    champion = (
        logged_mean(trials.reward)
        if trials.by_champion.all()
        else _ratio(name, trials, raw["champion"], trials.champion, q, clip)
    )
    a, b = challenger.value, champion.value
    span: Interval | None = draws.difference(challenger, champion, alpha)
    return {
        "champion": b, "challenger": a, "lift": None if a is None or b is None else a - b,
        "low": span.low if span else None, "high": span.high if span else None,
    }  # fmt: skip


def _ratio(name: str, trials: Trials, raw: Array, pi: Array, q: Array, clip: float) -> Ratio:
    w = np.minimum(raw, clip)
    if name == "dr":
        return doubly_robust(pi, q, trials.at_action(q), w, trials.reward)
    return ips(w, trials.reward) if name == "ips" else snips(w, trials.reward)


def _rewards(trials: Trials, limits: Monitoring) -> Array:
    rules = limits.counterfactual
    fold = rewards.folds_of(trials.customers, rules.folds, rules.seed)
    return rewards.cross_fitted(
        trials.x, trials.scores, trials.items, trials.action, trials.reward, fold, rules.ridge
    )  # fmt: skip


def _clipping(
    trials: Trials, raw: Mapping[str, Array], q: Array, policy: Policy, limits: Monitoring
) -> tuple[Mapping[str, Any], ...]:
    """The challenger's value under every clip of the report, and what each cuts off."""
    w = raw["challenger"]
    return tuple(
        {"clip": clip, "clipped_mass": clipped_mass(w, clip)}
        | {name: _ratio(name, trials, w, trials.challenger, q, clip).value for name in ESTIMATORS}
        for clip in sorted({*limits.counterfactual.clips, policy.clip})
    )
