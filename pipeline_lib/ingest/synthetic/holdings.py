"""The product panel: start, and one month of churn, additions and drops. Source: data.md 8.4."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline_lib.ingest.synthetic import additions, drops, indices
from pipeline_lib.ingest.synthetic.customers import Customers
from pipeline_lib.ingest.synthetic.indices import Propensity
from pipeline_lib.ingest.synthetic.laws import CHURN, Bools, Floats, Ints, Laws
from pipeline_lib.ingest.synthetic.months import Month
from pipeline_lib.ingest.synthetic.observables import History
from pipeline_lib.ingest.synthetic.seeds import stream


@dataclass(frozen=True)
class Holdings:
    held: Bools
    """(N, P)."""
    former: Bools
    """Products closed by the last churn and not yet taken up again, (N, P)."""
    dropped: Ints
    """Products given up this month, (N,)."""
    probability: dict[str, Floats]
    """Index -> true chance of its event this month: ground truth, (N,)."""


def start(laws: Laws, customers: Customers, products_score: Floats, tenure: Ints) -> Holdings:
    """Bernoulli(prevalence x persona multiplier), pulled by the copula's num_products."""
    law = laws.products
    power = laws.policy.holdings.start_products_power
    chance = law.prevalence * law.multiplier[customers.persona] * np.exp(power * products_score - power**2 / 2)[:, None]
    held = stream(customers.seed, "start", customers.block).random(chance.shape) < np.clip(chance, 0.0, 0.95)
    held &= tenure[:, None] >= law.min_tenure
    return Holdings(held, np.zeros_like(held), np.zeros(len(held), dtype=np.int64), {})


def step(
    laws: Laws,
    customers: Customers,
    month: Month,
    before: Holdings,
    history: History,
    propensities: dict[str, Propensity],
    tenure: Ints,
    alive: Bools,
) -> Holdings:
    """Holdings at the month's snapshot; those who have not entered or have left (not ``alive``) do nothing."""
    held, mean = before.held, history.mean_products()
    number = held.sum(axis=1)
    lapsed = number < laws.policy.holdings.churn_rule * mean
    churns, chance = _churns(laws, customers, month, propensities[CHURN], alive & (number > 0) & ~lapsed)
    rng = stream(customers.seed, "additions", customers.block, month.index)
    can = additions.addable(laws, held, tenure, alive & ~churns)
    season = laws.policy.holdings.season.get(month.snapshot.month, 1.0)
    event, truth = additions.events(laws, rng, propensities, can, int(alive.sum()), season)
    added = additions.products(laws, rng, event, held, can, customers.persona)
    returning = lapsed & added.any(axis=1)
    target = np.ceil(laws.policy.holdings.churn_rule * mean).astype(np.int64)
    needed = np.where(returning, target - number - added.sum(axis=1), 0)
    added |= drops.reopened(rng, held | added, before.former, needed)
    rng = stream(customers.seed, "drops", customers.block, month.index)
    closed = drops.churn(laws, rng, churns, held, mean)
    gone = closed | drops.replaced(laws, rng, added, held, lapsed)
    gone |= drops.attrition(laws, rng, held & ~gone, mean) & (alive & ~churns)[:, None]
    former = np.where(churns[:, None], closed, before.former & ~returning[:, None])
    return Holdings((held & ~gone) | added, former, gone.sum(axis=1), truth | {CHURN: chance})


def _churns(laws: Laws, customers: Customers, month: Month, law: Propensity, eligible: Bools) -> tuple[Bools, Floats]:
    """Who churns, and everybody's true chance of it."""
    rng = stream(customers.seed, "churn", customers.block, month.index)
    score = law.signal + law.noise_sd * rng.standard_normal(len(eligible))
    rate = laws.rates[CHURN]
    limit = indices.threshold(score, eligible, rate * eligible.sum())
    event = indices.flipped(rng, eligible & (score > limit), eligible, law.flip, rate)
    return event, np.where(eligible, law.probability(limit, rate), 0.0)
