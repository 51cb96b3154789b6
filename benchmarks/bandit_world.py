"""Answers drawn by a known policy, with rewards of a known law: what an off-policy estimate can be checked against.

A customer has traits x; every item has a true acceptance probability p(x, a). The logging model and the challenger
score the items differently and show rank 1 by epsilon-softmax, as serving does. The challenger's true value is the mean
of sum_a pi(a|x) p(x, a) over a large population, so no estimate is compared with another estimate.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
ITEMS, TRAITS = 6, 4


@dataclass(frozen=True)
class Log:
    """n answers of C customers over A items; pi_* and q are (n, A), the rest (n,)."""

    customers: NDArray[np.int64]
    x: Array
    scores: Array
    """(n, A) of the logging model."""
    mu: Array
    pi: Array
    """(n, A) of the challenger."""
    action: NDArray[np.int64]
    reward: Array
    truth: Array
    """(n, A) acceptance probabilities."""

    @property
    def logged_mu(self) -> Array:
        return self.mu[np.arange(len(self.action)), self.action]

    @property
    def logged_pi(self) -> Array:
        return self.pi[np.arange(len(self.action)), self.action]


@dataclass(frozen=True)
class World:
    """The law. ``skill``: how much better than the logger the challenger ranks; 0 = the same model."""

    epsilon: float = 0.5
    temperature: float = 0.25
    skill: float = 1.0
    per_customer: int = 2
    seed: int = 1

    def log(self, customers: int, seed: int) -> Log:
        """One simulated window."""
        rng = np.random.default_rng([self.seed, seed])
        taste = rng.normal(size=(customers, TRAITS))
        who = np.repeat(np.arange(customers), self.per_customer)
        x = taste[who] + 0.3 * rng.normal(size=(len(who), TRAITS))
        truth, scores, other = self._laws(x, taste[who])
        mu, pi = self._policy(scores), self._policy(other)
        action = (mu.cumsum(axis=1) < rng.random(len(who))[:, None]).sum(axis=1).clip(max=ITEMS - 1)
        reward = (rng.random(len(who)) < truth[np.arange(len(who)), action]).astype(np.float64)
        return Log(who, x, scores, mu, pi, action, reward, truth)

    def values(self, customers: int = 200_000) -> tuple[float, float]:
        """True values of logger and challenger."""
        big = self.log(customers, 10**9)
        return float((big.mu * big.truth).sum(axis=1).mean()), float((big.pi * big.truth).sum(axis=1).mean())

    def _laws(self, x: Array, taste: Array) -> tuple[Array, Array, Array]:
        """True acceptance (it depends on what the log does not hold too), the logger's scores, the challenger's."""
        law = np.random.default_rng(self.seed)
        loads, noise = law.normal(size=(TRAITS, ITEMS)), law.normal(size=(TRAITS, ITEMS))
        base = law.normal(-1.6, 0.5, size=ITEMS)
        truth = 1 / (1 + np.exp(-(base + 0.5 * x @ loads + 0.3 * taste[:, :1])))
        seen = np.tanh(0.5 * x @ (0.5 * loads + 0.5 * noise) / 2 + 0.2 * base)
        better = np.tanh(
            0.5 * x @ ((0.5 + 0.5 * self.skill) * loads + (0.5 - 0.5 * self.skill) * noise) / 2 + 0.2 * base
        )
        return truth, 0.5 + 0.4 * seen, 0.5 + 0.4 * (better if self.skill else seen)

    def _policy(self, scores: Array) -> Array:
        """Epsilon-softmax over all items (n, A)."""
        soft = np.exp((scores - scores.max(axis=1, keepdims=True)) / self.temperature)
        soft /= soft.sum(axis=1, keepdims=True)
        best = np.eye(ITEMS)[scores.argmax(axis=1)]
        return np.asarray((1 - self.epsilon) * best + self.epsilon * soft, dtype=np.float64)
