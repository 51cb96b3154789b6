"""Who has a row in a month: customers enter, miss a month now and then, and leave for good. Source: data.md 8.4."""

from __future__ import annotations

import numpy as np

from pipeline_lib.ingest.synthetic.customers import Customers
from pipeline_lib.ingest.synthetic.demographics import MAX_TENURE, Demographics
from pipeline_lib.ingest.synthetic.laws import Bools, Ints, Laws
from pipeline_lib.ingest.synthetic.seeds import stream


def step(laws: Laws, customers: Customers, month: int, gone: Bools) -> tuple[Bools, Bools]:
    """Who has a row this month, and who has left for good, (N,) each."""
    law = laws.policy.panel
    rng = stream(customers.seed, "presence", customers.block, month)
    leaves = rng.random(len(customers)) < law.exit_hazard
    missing = rng.random(len(customers)) < law.gap_share
    entered, new = customers.entry <= month, customers.entry == month
    gone = gone | (leaves & entered & ~new)
    return entered & ~gone & ~(missing & ~new), gone


def tenure(laws: Laws, customers: Customers, profile: Demographics, month: int) -> Ints:
    """Months since the first contract as the bank counts them, (N,)."""
    return np.clip(months_held(laws, customers, profile, month), 0, MAX_TENURE)


def months_held(laws: Laws, customers: Customers, profile: Demographics, month: int) -> Ints:
    """Months since the first contract, (N,). Entrants of the jump month, and of the first, were customers before."""
    months = np.where(_old(laws, customers), profile.tenure + month, month - customers.entry)
    return np.asarray(np.maximum(months, 0), dtype=np.int64)


def alive(laws: Laws, customers: Customers, month: int, gone: Bools) -> Bools:
    """Customers somewhere, though not always in the panel: old ones from the start, new ones from their entry."""
    return (_old(laws, customers) | (customers.entry <= month)) & ~gone


def _old(laws: Laws, customers: Customers) -> Bools:
    return np.asarray((customers.entry == 0) | (customers.entry == laws.policy.panel.jump_month - 1))
