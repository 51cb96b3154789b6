"""What comes in: salaries and pensions, windfalls, refunds of earlier purchases. Source: data.md 8.4."""

from __future__ import annotations

import numpy as np

from pipeline_lib.ingest.synthetic.block import State
from pipeline_lib.ingest.synthetic.customers import Customers
from pipeline_lib.ingest.synthetic.demographics import Demographics
from pipeline_lib.ingest.synthetic.laws import Floats, Ints, Laws
from pipeline_lib.ingest.synthetic.merchants import NOWHERE
from pipeline_lib.ingest.synthetic.months import SNAPSHOT_DAY
from pipeline_lib.ingest.synthetic.purchases import (
    CHANNELS,
    DAY_US,
    INFLOW,
    MIN_AMOUNT,
    PURCHASE,
    REFUND,
    UNKNOWN,
    Batch,
)
from pipeline_lib.ingest.synthetic.seeds import stream

OFFICE_OPENS_US, OFFICE_HOURS_US = DAY_US // 3, DAY_US // 4


def of_month(laws: Laws, customers: Customers, profile: Demographics, state: State) -> Batch:
    """Salaries and windfalls of the month."""
    law = laws.policy.events
    rng = stream(customers.seed, "inflows", customers.block, state.month.index)
    paid = np.flatnonzero(_paid(laws, state))
    salary = profile.income[paid] / law.salary.per_year
    salary = salary * np.where(state.month.snapshot.month in law.salary.double_months, 2.0, 1.0)
    salary = salary * (1.0 + law.salary.noise * rng.standard_normal(len(paid)))
    before_end = (SNAPSHOT_DAY - customers.payday[paid]) * DAY_US
    salary_time = (state.month.days - 1) * DAY_US - before_end + OFFICE_OPENS_US + _office(rng, len(paid))
    lucky = np.repeat(np.arange(len(customers)), rng.poisson(law.windfall.per_month, len(customers)) * state.present)
    windfall = np.exp(law.windfall.ln_mean + law.windfall.ln_sd * rng.standard_normal(len(lucky)))
    windfall_time = (rng.random(len(lucky)) * state.month.days * DAY_US).astype(np.int64)
    return _inflows(
        np.concatenate([paid, lucky]),
        np.concatenate([salary_time, windfall_time]),
        np.concatenate([salary, windfall]),
    )


def refunds(laws: Laws, customers: Customers, state: State, bought: Batch) -> Batch:
    """Refunds of the month's purchases; their times may lie in later months."""
    law = laws.policy.events
    rng = stream(customers.seed, "refunds", customers.block, state.month.index)
    at = np.flatnonzero((rng.random(len(bought.kind)) < law.refund_share) & (bought.kind == PURCHASE))
    first, last = law.refund_days
    days = rng.integers(first, last + 1, len(at))
    time = (bought.time[at] // DAY_US + days) * DAY_US + OFFICE_OPENS_US + _office(rng, len(at))
    kind = np.full(len(at), REFUND)
    return Batch(
        bought.customer[at],
        time,
        kind,
        bought.category[at],
        bought.amount[at],
        bought.channel[at],
        bought.merchant[at],
    )


def _paid(laws: Laws, state: State) -> Ints:
    """Holding one of the salary products, or activity > 0, and being there, (N,)."""
    at = laws.products.positions(laws.policy.events.salary.products)
    activity = state.latents[:, laws.policy.latents.index("activity")]
    return np.asarray(state.present & (state.holdings.held[:, at].any(axis=1) | (activity > 0)))


def _office(rng: np.random.Generator, size: int) -> Ints:
    return (rng.random(size) * OFFICE_HOURS_US).astype(np.int64)


def _inflows(who: Ints, time: Ints, amount: Floats) -> Batch:
    size = len(who)
    return Batch(
        customer=who,
        time=time,
        kind=np.full(size, INFLOW),
        category=np.full(size, UNKNOWN),
        amount=np.maximum(np.round(amount, 2), MIN_AMOUNT),
        channel=np.full(size, CHANNELS.index("branch")),
        merchant=np.full(size, NOWHERE),
    )
