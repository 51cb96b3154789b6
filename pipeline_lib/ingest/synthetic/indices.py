"""Propensities: an index is one observed part, one latent part and noise, in declared shares of its variance.

u = sqrt(o) O + sqrt(l) L + sqrt(n) e with O and L standardised across the customers of a block whom the event can
befall. L is made uncorrelated with O first, as the shares and the ceilings of data.md 8.6 presume. Source: data.md
8.4, 8.5.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special

from pipeline_lib.ingest.synthetic.laws import Bools, Floats
from pipeline_lib.settings.synthetic import Budget, Index, Term


@dataclass(frozen=True)
class Propensity:
    """One index in one month, (N,). This is ground truth."""

    observed: Floats
    """sqrt(o) O: all that observables can say."""
    signal: Floats
    """sqrt(o) O + sqrt(l) L: all that anybody could know."""
    noise_sd: float
    flip: float

    def probability(self, threshold: float, rate: float) -> Floats:
        """Chance of the event given the signal, after the flips, (N,)."""
        before = 1.0 - special.ndtr((threshold - self.signal) / self.noise_sd)
        return np.asarray(before * (1.0 - self.flip) + (1.0 - before) * false_rate(self.flip, rate))


def propensity(
    index: Index, budget: Budget, seen: dict[str, Floats], latents: dict[str, Floats], bias: Floats, among: Bools
) -> Propensity:
    """Combine the terms of an index.

    Args:
        seen: observables scaled to [0, 1], each (N,).
        latents: name -> (N,).
        bias: the persona's part, (N,).
        among: the customers whom the event can befall; the shares of variance hold among them, (N,).
    """
    observed = _standard(sum((_term(term, seen) for term in index.observed), np.zeros(len(bias))), among)
    hidden = index.bias * bias
    for name, weight in index.latent.items():
        hidden = hidden + weight * latents[name]
    hidden = _standard(hidden, among)
    hidden = _standard(hidden - np.mean((hidden * observed)[among]) * observed, among)
    part = np.sqrt(budget.observed) * observed
    return Propensity(part, part + np.sqrt(budget.latent) * hidden, float(np.sqrt(budget.noise)), budget.flip)


def threshold(score: Floats, eligible: Bools, events: float) -> float:
    """The score that ``events`` of the eligible customers exceed; above all when nobody is eligible."""
    count = int(eligible.sum())
    if count == 0:
        return float("inf")
    return float(np.quantile(score[eligible], max(0.0, 1.0 - events / count)))


def flipped(rng: np.random.Generator, event: Bools, eligible: Bools, flip: float, rate: float) -> Bools:
    """Rate-preserving noise: a true event is lost with probability q, a non-event made with q pi / (1 - pi).

    Source: data.md 8.6.
    """
    uniform = rng.random(len(event))
    kept = event & (uniform >= flip)
    made = ~event & eligible & (uniform < false_rate(flip, rate))
    return np.asarray(kept | made)


def false_rate(flip: float, rate: float) -> float:
    """Q pi / (1 - pi)."""
    return flip * rate / (1.0 - rate)


def _term(term: Term, seen: dict[str, Floats]) -> Floats:
    out = np.full(len(next(iter(seen.values()))), term.weight)
    for factor in term.of:
        out = out * (1.0 - seen[factor[1:]] if factor.startswith("~") else seen[factor])
    return out


def _standard(values: Floats, among: Bools) -> Floats:
    chosen = values[among] if among.any() else values
    spread = chosen.std()
    return np.asarray((values - chosen.mean()) / (spread if spread > 0 else 1.0))
