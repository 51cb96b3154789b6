"""Expectation-maximisation with priors that hold each state to its meaning.

Penalties: transition rows and the start get a Dirichlet prior of ``transition_pull`` pseudo-counts spread as the
prior row; each mean gets ``mean_pull`` pseudo-observations at the prior mean. Sequences are never joined: counts
are summed over them. After the last step the states are matched to the prior means, so that names survive.
Source: features.md 5.1; the penalised updates are those of Gauvain and Lee, 1994.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import linear_sum_assignment

from pipeline_lib.features.columns import Floats
from pipeline_lib.features.hmm.model import Ints, Model, Sequences, Smoothed, mixed, smooth

log = logging.getLogger(__name__)
BLOCK = 4096
"""Sequences per pass of the recursions: their arrays stay in the processor's cache."""


@dataclass(frozen=True)
class Priors:
    model: Model
    """Where EM starts and what it is pulled to."""
    transition_pull: float
    mean_pull: float
    variance_floor: float
    learn_moves: bool
    """Whether start and transitions are updated, or stay at the prior."""


@dataclass(frozen=True)
class Counts:
    """Expected sufficient statistics of all sequences."""

    log_likelihood: float
    start: Floats
    """[N]."""
    moves: Floats
    """[N, N]."""
    weight: Floats
    """[N]."""
    first: Floats
    """sum gamma x [N, C]."""
    second: Floats
    """sum gamma x^2 [N, C]."""

    def __add__(self, other: Counts) -> Counts:
        return Counts(**{name: value + getattr(other, name) for name, value in vars(self).items()})


def learn(sequences: Sequences, priors: Priors, max_iterations: int, tolerance: float) -> tuple[Model, int]:
    """The fitted model and the number of updates.

    Ends when the log-likelihood per sequence [nats] moves by less than ``tolerance``, or after ``max_iterations``.
    """
    model, before = priors.model, -np.inf
    for iteration in range(max_iterations):
        counts = expect(model, sequences)
        likelihood = counts.log_likelihood / len(sequences)
        if abs(likelihood - before) < tolerance:
            return model, iteration
        model, before = updated(counts, priors), likelihood
    return model, max_iterations


def expect(model: Model, sequences: Sequences) -> Counts:
    """The E step; sequences without a step are refused by the caller."""
    blocks = range(0, len(sequences), BLOCK)
    parts = [_expect_block(model, sequences.rows(a, a + BLOCK)) for a in blocks]
    return sum(parts[1:], start=parts[0])


def _expect_block(model: Model, sequences: Sequences) -> Counts:
    run = smooth(model, sequences)
    live, rows, x = sequences.live, np.arange(len(sequences)), sequences.by_step
    whole = run.gamma
    gamma = whole * live[:, None, :]
    opening = whole[len(whole) - sequences.length, :, rows]  # (R, N)
    return Counts(
        log_likelihood=float(run.log_likelihood.sum()),
        start=np.ascontiguousarray(opening.T).sum(axis=1),
        moves=_moves(model, run, live),
        weight=_total(gamma),
        first=_weighted(gamma, x),
        second=_weighted(gamma, x**2),
    )


def _total(gamma: Floats) -> Floats:
    return np.array([gamma[:, i].sum() for i in range(gamma.shape[1])])


def _weighted(gamma: Floats, x: Floats) -> Floats:
    states, channels = range(gamma.shape[1]), range(x.shape[1])
    return np.array([[(gamma[:, i] * x[:, c]).sum() for c in channels] for i in states])


def _moves(model: Model, run: Smoothed, live: np.ndarray) -> Floats:
    """Expected transitions: xi_t(i, j) = alpha_t(i) a_ij b_j(o_{t+1}) beta_{t+1}(j) / likelihood, summed over t."""
    n = len(model.start)
    total = np.zeros((n, n))
    for t in range(len(live) - 1):
        tail = run.density[t + 1] + run.beta[t + 1]
        left = np.exp(run.alpha[t] - run.alpha[t].max(axis=0))
        right = np.exp(tail - tail.max(axis=0))
        share = live[t] / (mixed(left, model.transition) * right).sum(axis=0)
        for i in range(n):
            total[i] += (left[i] * share * right).sum(axis=1)
    return total * model.transition


def updated(counts: Counts, priors: Priors) -> Model:
    """The M step."""
    prior = priors.model
    weight, pull = counts.weight[:, None], priors.mean_pull
    mean = (pull * prior.mean + counts.first) / (pull + weight)
    spread = counts.second - 2 * mean * counts.first + mean**2 * weight + pull * (mean - prior.mean) ** 2
    # A state that nobody visits keeps a spread of its own.
    variance = np.divide(spread, weight, out=np.array(prior.variance), where=weight > np.finfo(float).tiny)
    made = replace(prior, mean=mean, variance=np.maximum(variance, priors.variance_floor))
    if not priors.learn_moves:
        return made
    moves = counts.moves + priors.transition_pull * prior.transition
    start = counts.start + priors.transition_pull * prior.start
    return replace(made, transition=moves / moves.sum(axis=1, keepdims=True), start=start / start.sum())


def matched(model: Model, prior_mean: Floats) -> tuple[Model, Floats]:
    """States in the order of the prior means they are nearest to together, and each one's distance [N] (z units).

    Start and transitions are put in the same order, so that the model is the same but for its names.
    """
    distance = np.sqrt(((prior_mean[:, None, :] - model.mean[None, :, :]) ** 2).sum(axis=2))
    name, state = linear_sum_assignment(distance)
    order: Ints = state[np.argsort(name)]
    renamed = Model(
        start=model.start[order],
        transition=model.transition[np.ix_(order, order)],
        mean=model.mean[order],
        variance=model.variance[order],
    )
    return renamed, distance[np.arange(len(order)), order]
