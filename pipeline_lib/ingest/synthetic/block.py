"""One block of customers, month after month: everything that happens but the single events."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

import numpy as np
from scipy import special

from pipeline_lib.ingest.synthetic import holdings, indices, latents, observables, presence, spending
from pipeline_lib.ingest.synthetic.customers import Customers
from pipeline_lib.ingest.synthetic.demographics import Demographics
from pipeline_lib.ingest.synthetic.holdings import Holdings
from pipeline_lib.ingest.synthetic.indices import Propensity
from pipeline_lib.ingest.synthetic.latents import Latents
from pipeline_lib.ingest.synthetic.laws import CHURN, Bools, Floats, Ints, Laws
from pipeline_lib.ingest.synthetic.months import Month, month
from pipeline_lib.ingest.synthetic.observables import History
from pipeline_lib.ingest.synthetic.spending import Spending


@dataclass(frozen=True)
class State:
    """A block at one snapshot."""

    month: Month
    present: Bools
    """Who has a row, (N,)."""
    active: Bools
    tenure: Ints
    holdings: Holdings
    latents: Floats
    """z_t, (N, D): ground truth."""
    spending: Spending
    propensities: dict[str, Propensity]
    """Ground truth."""


def live(laws: Laws, customers: Customers, profile: Demographics, start: date, months: int) -> Iterator[State]:
    """States of months 0 .. months - 1; the burn-in before them is lived but not given."""
    size, first = len(customers), -laws.policy.blocks.burn_in_months
    rank = observables.income_rank(profile.income, profile.income_known)
    history, gone = History.empty(size), np.zeros(size, dtype=bool)
    hidden: Latents | None = None
    spent: Spending | None = None
    held = holdings.start(laws, customers, profile.products_score, presence.tenure(laws, customers, profile, 0))
    active = np.zeros(size, dtype=bool)
    for index in range(first, months):
        now = month(start, index)
        months_held = presence.tenure(laws, customers, profile, index)
        present, gone = presence.step(laws, customers, index, gone)
        alive = presence.alive(laws, customers, index, gone)
        hidden = latents.step(laws, customers, index, hidden)
        spent = spending.step(laws, customers, now, hidden.value, spent)
        propensity: dict[str, Propensity] = {}
        if index > first:
            seen = observables.observed(history, active, months_held, rank)
            propensity = _propensities(laws, customers, seen, hidden.value, alive, np.asarray(held.held.any(axis=1)))
            held = holdings.step(laws, customers, now, held, history, propensity, months_held, alive)
        active = _active(laws, customers, profile, hidden)
        history = history.then(held.held.sum(axis=1), spent.events, spent.spend, held.dropped)
        if index >= 0:
            yield State(now, present, active, months_held, held, hidden.value, spent, propensity)


def _propensities(
    laws: Laws, customers: Customers, seen: dict[str, Floats], hidden: Floats, alive: Bools, holders: Bools
) -> dict[str, Propensity]:
    policy, preset = laws.policy, laws.policy.presets[laws.preset]
    named = {name: hidden[:, i] for i, name in enumerate(policy.latents)}
    return {
        name: indices.propensity(
            index,
            preset.churn if name == CHURN else preset.additions,
            seen,
            named,
            laws.bias(name)[customers.persona],
            alive & holders if name == CHURN else alive,
        )
        for name, index in policy.indices.items()
    }


def _active(laws: Laws, customers: Customers, profile: Demographics, hidden: Latents) -> Bools:
    """The bank's active flag: persona's share, the copula's own score and this month's activity, (N,)."""
    own = laws.policy.demographics.activity_persistence
    path = laws.policy.latent_path
    moving = hidden.deviation[:, laws.policy.latents.index("activity")] / path.stationary_sd
    score = np.sqrt(own) * profile.activity_score + np.sqrt(1.0 - own) * moving
    return np.asarray(special.ndtr(score) > 1.0 - laws.persona("active")[customers.persona])
