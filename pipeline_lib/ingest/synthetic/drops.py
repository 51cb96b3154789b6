"""Which products are given up in a month: churn, replacement, attrition. Source: data.md 8.4.

The churn label asks whether holdings fall below 0.7 x their 12-month mean, so one churn would stay a positive label
for months and history alone would predict it. Three rules keep one churn one positive [C]: most churns close
everything (such customers are masked until they return), a customer who returns reopens former products until
the relation is no longer lapsed, and no other drop may make the rule fire.
"""

from __future__ import annotations

import numpy as np

from pipeline_lib.ingest.synthetic.choice import pick
from pipeline_lib.ingest.synthetic.laws import Bools, Floats, Ints, Laws


def churn(laws: Laws, rng: np.random.Generator, event: Bools, held: Bools, mean: Floats) -> Bools:
    """Products that churning customers close, (N, P).

    Args:
        event: who churns, (N,).
        mean: mean holdings of the last twelve months, (N,).
    """
    law = laws.policy.holdings
    rows = np.flatnonzero(event)
    number = held[rows].sum(axis=1)
    share = rng.uniform(law.churn_drop[0], law.churn_drop[1], len(rows))
    fires = np.floor(number - law.churn_rule * mean[rows]) + 1
    partial = np.clip(np.maximum(np.ceil(share * number), fires), 0, number)
    whole = rng.random(len(rows)) < law.full_closure
    count = np.where(whole, number, partial).astype(np.int64)
    out = np.zeros_like(held)
    out[rows] = pick(rng, held[rows] * laws.products.turnover, count)
    return out


def replaced(laws: Laws, rng: np.random.Generator, added: Bools, held: Bools, lapsed: Bools) -> Bools:
    """Products that give way to an added one; a lapsed relation replaces nothing, (N, P)."""
    number = added.sum(axis=1)
    count = rng.binomial(number, laws.policy.holdings.replaced) * ~lapsed
    rows = np.flatnonzero(count)
    out = np.zeros_like(held)
    out[rows] = pick(rng, held[rows] * laws.products.turnover, count[rows])
    return out


def attrition(laws: Laws, rng: np.random.Generator, held: Bools, mean: Floats) -> Bools:
    """At most one product of a customer, where holdings stay above the churn rule for the months to come, (N, P)."""
    law = laws.policy.holdings
    number = held.sum(axis=1)
    quiet = number - 1 > law.churn_rule * np.maximum(mean, number)
    rows = np.flatnonzero(quiet & (rng.random(len(held)) < law.attrition * number))
    out = np.zeros_like(held)
    out[rows] = pick(rng, held[rows] * laws.products.turnover, np.ones(len(rows), dtype=np.int64))
    return out


def reopened(rng: np.random.Generator, held: Bools, former: Bools, needed: Ints) -> Bools:
    """Former products that returning customers take up again, ``needed`` of each, (N, P)."""
    rows = np.flatnonzero(needed > 0)
    out = np.zeros_like(held)
    out[rows] = pick(rng, (former[rows] & ~held[rows]).astype(np.float64), needed[rows])
    return out
