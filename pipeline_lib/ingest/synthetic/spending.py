"""How much a customer does in a month: an AR(1) level with a season, and the event counts it gives.

ln S_t = m_i + s(t) + a_t, a_t = phi a_{t-1} + sqrt(1 - phi^2) sd N(0, 1). Source: data.md 8.4.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline_lib.ingest.synthetic.customers import Customers
from pipeline_lib.ingest.synthetic.laws import Floats, Ints, Laws
from pipeline_lib.ingest.synthetic.months import Month
from pipeline_lib.ingest.synthetic.seeds import stream


@dataclass(frozen=True)
class Spending:
    level: Floats
    """a_t, (N,)."""
    events: Ints
    """Events of the stream (purchases, withdrawals, transfers) in the month, (N,)."""
    spend: Floats
    """What so many events cost on average [EUR]: the monthly spend that drives the indices."""


def step(laws: Laws, customers: Customers, month: Month, latents: Floats, before: Spending | None) -> Spending:
    """Month t from month t - 1; without one, from the stationary law. ``latents`` is z_t (N, D)."""
    law = laws.policy.spending
    rng = stream(customers.seed, "spending", customers.block, month.index)
    fresh = law.stationary_sd * rng.standard_normal(len(customers))
    phi = _persistence(laws)[customers.persona]
    level = fresh if before is None else phi * before.level + np.sqrt(1.0 - phi**2) * fresh
    activity = latents[:, laws.policy.latents.index("activity")]
    rate = laws.event_rate_scale * laws.persona("events_per_month")[customers.persona]
    rate = rate * np.exp(law.activity_power * activity + season(laws, month.snapshot.month) + level)
    events = rng.poisson(rate)
    return Spending(level, events, events * _mean_amount(laws, customers, latents))


def season(laws: Laws, calendar_month: int) -> float:
    """s(t) of a calendar month [ln]."""
    law = laws.policy.spending
    year = np.cos(2 * np.pi * (calendar_month - 12) / 12)
    half = np.cos(4 * np.pi * calendar_month / 12)
    return float(law.seasonal_year * year + law.seasonal_half * half)


def _persistence(laws: Laws) -> Floats:
    law = laws.policy.spending
    return np.array([law.persistence_by_persona.get(name, law.persistence) for name in laws.persona_names])


def _mean_amount(laws: Laws, customers: Customers, latents: Floats) -> Floats:
    """Mean of the persona's lognormal amount, moved by wealth [EUR]."""
    mean, sd = laws.persona("ln_amount")[customers.persona].T
    wealth = latents[:, laws.policy.latents.index("wealth")]
    return np.asarray(np.exp(mean + laws.policy.events.amount_wealth_power * wealth + sd**2 / 2))
