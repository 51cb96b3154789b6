"""The value of a model from answers another one gave: three estimators, each a ratio of two sums over answers.

That common form is what lets one bootstrap resample all of them. Shapes: n answers, A candidates.

    IPS     mean(w r)                                       unbiased, wide
    SNIPS   sum(w r) / sum(w)                               a weighted mean: a shifted reward shifts it as much
    DR      mean(sum_a pi(a|x) q(x, a) + w (r - q(x, a_i)))   right when mu or q is

The baseline of DR averages q over the actions of the model that is judged. At the logged action it would cancel against
the correction and always say "no change". Source: promotion.md 10; Swaminathan and Joachims, 2015; Dudik et al., 2011.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline_lib.monitor.counterfactual.weights import Array


@dataclass(frozen=True)
class Ratio:
    """sum(numerator) / sum(denominator), both (n,)."""

    numerator: Array
    denominator: Array

    @property
    def value(self) -> float | None:
        """None where the denominator sums to 0."""
        below = float(self.denominator.sum())
        return float(self.numerator.sum()) / below if below else None


def logged_mean(reward: Array) -> Ratio:
    """The value of the model that collected the data itself."""
    return Ratio(reward, np.ones_like(reward))


def ips(w: Array, reward: Array) -> Ratio:
    return Ratio(w * reward, np.ones_like(reward))


def snips(w: Array, reward: Array) -> Ratio:
    return Ratio(w * reward, w)


def doubly_robust(pi: Array, q: Array, q_logged: Array, w: Array, reward: Array) -> Ratio:
    """pi, q (n, A): probabilities of the judged model and expected rewards of every candidate; q_logged (n,)."""
    baseline = (pi * q).sum(axis=1)  # (n, A) -> (n,)
    return Ratio(baseline + w * (reward - q_logged), np.ones_like(reward))
