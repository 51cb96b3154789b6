"""Which products are added in a month: one event per acquire group, then products of the group. Source: data.md 8.4."""

from __future__ import annotations

import numpy as np

from pipeline_lib.ingest.synthetic import indices
from pipeline_lib.ingest.synthetic.choice import pick
from pipeline_lib.ingest.synthetic.indices import Propensity
from pipeline_lib.ingest.synthetic.laws import GROUPS, Bools, Floats, Ints, Laws


def addable(laws: Laws, held: Bools, tenure: Ints, open_to: Bools) -> Bools:
    """Products a customer could add: not held, tenure reached, customer open to additions, (N, P)."""
    return ~held & (tenure[:, None] >= laws.products.min_tenure) & open_to[:, None]


def events(
    laws: Laws, rng: np.random.Generator, propensities: dict[str, Propensity], can: Bools, customers: int, season: float
) -> tuple[Bools, dict[str, Floats]]:
    """One addition event or none per customer and group.

    Args:
        can: addable products, (N, P).
        customers: how many the rates refer to.
        season: factor on every rate.

    Returns:
        (N, G) events and, per group, the true probabilities (N,), zero where the customer could not.
    """
    size = len(can)
    shared = laws.policy.holdings.shared_noise
    common = rng.standard_normal(size)
    out, truth = np.zeros((size, len(GROUPS)), dtype=bool), {}
    for column, group in enumerate(GROUPS):
        law = propensities[group]
        own = np.sqrt(shared) * common + np.sqrt(1.0 - shared) * rng.standard_normal(size)
        score = law.signal + law.noise_sd * own
        eligible: Bools = np.any(can[:, laws.products.members(group)], axis=1)
        rate = min(laws.rates[group] * season, 0.5)
        limit = indices.threshold(score, eligible, rate * customers)
        out[:, column] = indices.flipped(rng, eligible & (score > limit), eligible, law.flip, rate)
        truth[group] = np.where(eligible, law.probability(limit, rate), 0.0)
    return out, truth


def products(laws: Laws, rng: np.random.Generator, event: Bools, held: Bools, can: Bools, persona: Ints) -> Bools:
    """1 + Poisson products for every event, by add share, persona, complements and substitutes, (N, P)."""
    law, out = laws.products, np.zeros_like(held)
    for column, group in enumerate(GROUPS):
        rows = np.flatnonzero(event[:, column])
        members = law.members(group)
        odds = law.add_share * law.multiplier[persona[rows]] * _affinity(held[rows], law.affinity)  # (R, P)
        weights = np.where(can[rows], odds, 0.0)[:, members]
        count = 1 + rng.poisson(laws.policy.holdings.extra_products, len(rows))
        out[np.ix_(rows, members)] = pick(rng, weights, count)
    return out


def _affinity(held: Bools, affinity: Floats) -> Floats:
    """Product over the held rows h of affinity[h, p], (R, P)."""
    return np.asarray(np.exp(held.astype(np.float64) @ np.log(affinity)))
