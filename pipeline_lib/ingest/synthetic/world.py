"""The whole bank, block by block: snapshots and events of every month, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from datetime import date

import numpy as np

from pipeline_lib.ingest.synthetic import (
    block,
    categories,
    customers,
    demographics,
    inflows,
    merchants,
    months,
    purchases,
)
from pipeline_lib.ingest.synthetic.block import State
from pipeline_lib.ingest.synthetic.customers import Customers
from pipeline_lib.ingest.synthetic.demographics import Demographics
from pipeline_lib.ingest.synthetic.laws import Laws
from pipeline_lib.ingest.synthetic.months import Month
from pipeline_lib.ingest.synthetic.purchases import DAY_US, Batch
from pipeline_lib.ingest.synthetic.seeds import stream


@dataclass(frozen=True)
class Bank:
    """Size, seed and calendar of one synthetic bank."""

    customers: int
    seed: int
    start: date
    """First snapshot."""
    logical_date: date
    min_months: int

    @property
    def months(self) -> int:
        """Published snapshots. Raises SettingsError when there are too few."""
        return months.published(self.start, self.logical_date, self.min_months)

    def blocks(self, size: int) -> Iterator[tuple[int, int, int]]:
        """(block, first customer, number of customers)."""
        for number, first in enumerate(range(0, self.customers, size)):
            yield number, first, min(size, self.customers - first)


@dataclass(frozen=True)
class BlockMonth:
    """One block in one month: what the canonical tables are made from."""

    customers: Customers
    profile: Demographics
    state: State
    published: bool
    """False for the month after the newest snapshot, of which only the events so far are known."""
    events: Batch
    shops: tuple[str, ...]
    """Raw id of each merchant."""


def simulate(laws: Laws, bank: Bank) -> Iterator[BlockMonth]:
    """All blocks, each through all months and the one that is still open at the logical date."""
    for number, first, size in bank.blocks(laws.policy.blocks.customers):
        yield from simulate_block(laws, bank, number, first, size)


def simulate_block(laws: Laws, bank: Bank, number: int, first: int, size: int) -> Iterator[BlockMonth]:
    """One block; depends on nothing but the laws, the seed and the block's own customers."""
    people = customers.draw(laws, bank.seed, number, first, size)
    profile = demographics.draw(laws, people)
    law = categories.build(laws)
    shops = merchants.build(laws, law.pooled)
    rng = stream(bank.seed, "taste", number)
    favourites = np.column_stack([categories.favourites(rng, law, people.persona) for _ in range(2)])
    last = np.full(size, categories.NEVER, dtype=np.int64)
    waiting: Batch | None = None
    for state in block.live(laws, people, profile, bank.start, bank.months + 1):
        bought, last = purchases.stream_of_month(laws, law, shops, people, state, favourites, last)
        refunds = inflows.refunds(laws, people, state, bought)
        pending = refunds if waiting is None else joined(waiting, refunds)
        due = pending.time < state.month.days * DAY_US
        waiting = _later(taken(pending, ~due), state.month)
        arrived = taken(pending, due & state.present[pending.customer])
        events = joined(bought, inflows.of_month(laws, people, profile, state), arrived)
        yield BlockMonth(people, profile, state, state.month.index < bank.months, events, shops.names)


def joined(*batches: Batch) -> Batch:
    return Batch(*(np.concatenate([getattr(b, f.name) for b in batches]) for f in fields(Batch)))


def taken(batch: Batch, rows: np.ndarray) -> Batch:
    return Batch(*(getattr(batch, f.name)[rows] for f in fields(Batch)))


def _later(batch: Batch, month: Month) -> Batch:
    """Times counted from the next month's window."""
    return replace(batch, time=batch.time - month.days * DAY_US)
