"""A Gaussian hidden Markov model with diagonal covariance over many sequences at once, in log space.

Legend: R sequences, T steps, N states, C observations. A sequence ends at the last step and its steps are the last
``length`` ones, since every row is anchored at its cutoff. Inside, arrays are [T, N, R]: one vector of sequences per
step and state. Sums over states are written as a chain of additions and no matrix product of a library is used, so
that the values of a sequence are the same bits in whatever batch it stands.
Source: Rabiner, "A tutorial on hidden Markov models", 1989; features.md 5.1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline_lib.features.columns import Floats

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Sequences:
    values: Floats
    """Observations, oldest first [R, T, C]; what lies before a sequence's first step is not read."""
    length: Ints
    """Steps, 0..T [R]."""

    def __len__(self) -> int:
        return len(self.length)

    def rows(self, first: int, after: int) -> Sequences:
        return Sequences(self.values[first:after], self.length[first:after])

    @property
    def live(self) -> Bools:
        """The step belongs to the sequence [T, R]."""
        steps = self.values.shape[1]
        live: Bools = np.arange(steps)[:, None] >= steps - self.length[None, :]
        return live

    @property
    def by_step(self) -> Floats:
        """Observations [T, C, R], 0 where no step is."""
        values = np.where(self.live[:, None, :], self.values.transpose(1, 2, 0), 0.0)
        return np.ascontiguousarray(values)


@dataclass(frozen=True)
class Model:
    start: Floats
    """Law of the first step [N]; all > 0."""
    transition: Floats
    """[N, N], rows sum to 1, all > 0."""
    mean: Floats
    """[N, C]."""
    variance: Floats
    """[N, C]."""


@dataclass(frozen=True)
class Smoothed:
    """Recursions of a batch, natural logarithms [T, N, R]."""

    density: Floats
    alpha: Floats
    beta: Floats

    @property
    def gamma(self) -> Floats:
        """Probability of each state at each step given the whole sequence [T, N, R]."""
        joint = self.alpha + self.beta
        weight: Floats = np.exp(joint - joint.max(axis=1, keepdims=True))
        weight /= weight.sum(axis=1, keepdims=True)
        return weight

    @property
    def log_likelihood(self) -> Floats:
        """Of each sequence [R]."""
        last = self.alpha[-1]
        top: Floats = last.max(axis=0)
        over_top: Floats = np.log(np.exp(last - top).sum(axis=0))
        return top + over_top


def smooth(model: Model, sequences: Sequences) -> Smoothed:
    """Forward and backward recursion of every sequence."""
    live = sequences.live
    density = log_density(model, sequences.by_step)
    return Smoothed(density, _forward(model, density, live), _backward(model, density))


def log_density(model: Model, by_step: Floats) -> Floats:
    """Ln N(observation; state) [T, N, R]; before a sequence's first step it is not read."""
    steps, channels, rows = by_step.shape
    out = np.empty((steps, len(model.start), rows))
    constant = -0.5 * np.log(2.0 * np.pi * model.variance).sum(axis=1)
    for i in range(len(model.start)):
        out[:, i] = constant[i]
        for c in range(channels):
            out[:, i] -= (by_step[:, c] - model.mean[i, c]) ** 2 / (2.0 * model.variance[i, c])
    return out


def _forward(model: Model, density: Floats, live: Bools) -> Floats:
    """alpha_1(i) = pi_i b_i(o_1); alpha_{t+1}(j) = [sum_i alpha_t(i) a_ij] b_j(o_{t+1})."""
    start = np.log(model.start)[:, None]
    alpha = np.empty_like(density)
    alpha[0] = start + density[0]
    for t in range(1, len(density)):
        alpha[t] = np.where(live[t - 1], log_mixed(alpha[t - 1], model.transition), start) + density[t]
    return alpha


def _backward(model: Model, density: Floats) -> Floats:
    """beta_T = 1; beta_t(i) = sum_j a_ij b_j(o_{t+1}) beta_{t+1}(j)."""
    beta = np.zeros_like(density)
    for t in range(len(density) - 2, -1, -1):
        beta[t] = log_mixed(beta[t + 1] + density[t + 1], model.transition.T)
    return beta


def log_mixed(logs: Floats, weight: Floats) -> Floats:
    """Ln sum_i exp(logs_i) w_ij, without under- or overflow; ``logs`` and the result [N, R]."""
    top: Floats = logs.max(axis=0)
    return np.log(mixed(np.exp(logs - top), weight)) + top


def mixed(parts: Floats, weight: Floats) -> Floats:
    """sum_i parts_i w_ij [N, R]."""
    out: Floats = weight[0][:, None] * parts[0]
    for i in range(1, len(parts)):
        out += weight[i][:, None] * parts[i]
    return out


def viterbi(model: Model, density: Floats, live: Bools) -> Ints:
    """Most probable path of states [T, R]; equal paths: the smaller state. Steps before the first are undefined."""
    steps, states, rows = density.shape
    start, move = np.log(model.start)[:, None], np.log(model.transition)
    back = np.zeros((steps, states, rows), dtype=np.int8)
    best = start + density[0]
    for t in range(1, steps):
        ways = best[:, None, :] + move[:, :, None]
        back[t] = ways.argmax(axis=0)
        best = np.where(live[t - 1], ways.max(axis=0), start) + density[t]
    path = np.empty((steps, rows), dtype=np.int64)
    path[-1] = best.argmax(axis=0)
    for t in range(steps - 1, 0, -1):
        path[t - 1] = back[t][path[t], np.arange(rows)]
    return path
