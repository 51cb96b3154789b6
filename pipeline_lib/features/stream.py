"""The customers' own events as arrays, and the window of each row up to its cutoff.

Batched code has an explicit time axis: a window is a flat array of events with one range per row, never a table
whose rows are taken for time. Events of one customer are stored once, whatever the number of his cutoffs.
Source: features.md 1 (F13: every window is anchored at the cutoff) and 3 (the shared root of earlier defects).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from pipeline_lib.features.columns import Floats

Kind = Literal["spend", "refund", "cash", "inflow", "transfer"]
KINDS: tuple[Kind, ...] = ("spend", "refund", "cash", "inflow", "transfer")
LOOKBACK_DAYS = 360
NO_TIME = -1
NO_MERCHANT = -1
_U64 = np.uint64


@dataclass(frozen=True)
class Events:
    """Columns of the events, one entry per event [E]. Bank-made ones (interest, fees) are left out."""

    day: npt.NDArray[np.int32]
    """Days since 1970-01-01."""
    second: npt.NDArray[np.int32]
    """Second of the day; ``NO_TIME`` when the source knows the date only."""
    kind: npt.NDArray[np.uint8]
    """Index into ``KINDS``."""
    mcc: npt.NDArray[np.uint8]
    l2: npt.NDArray[np.uint8]
    l1: npt.NDArray[np.uint8]
    merchant: npt.NDArray[np.int64]
    """``NO_MERCHANT`` when not known."""
    amount: Floats
    """> 0, source currency; the sign is in the kind."""

    def __len__(self) -> int:
        return len(self.day)

    def take(self, index: npt.NDArray[np.int64] | npt.NDArray[np.bool_]) -> Events:
        return Events(**{f.name: getattr(self, f.name)[index] for f in fields(self)})


@dataclass(frozen=True)
class Window:
    """The events of every row in some days up to its cutoff, oldest first within a row."""

    events: Events
    offsets: npt.NDArray[np.int64]
    """Events of row r are [offsets[r], offsets[r + 1]) [R + 1]."""
    age: npt.NDArray[np.int32]
    """Days before the row's cutoff, 0 = the cutoff's own day [E]."""
    days: int
    """Width: every age is below it."""
    also_spend: tuple[Kind, ...] = ()
    """Kinds that this source counts as spend too, because its stream has no card purchases of their own."""

    def __len__(self) -> int:
        """Rows."""
        return len(self.offsets) - 1

    @property
    def row(self) -> npt.NDArray[np.int64]:
        """Row of every event [E]."""
        return np.repeat(np.arange(len(self)), self.counts)

    @property
    def counts(self) -> npt.NDArray[np.int64]:
        """Events per row [R]."""
        return np.diff(self.offsets)

    def where(self, keep: npt.NDArray[np.bool_]) -> Window:
        """The events for which ``keep`` [E] is true."""
        counts = np.bincount(self.row[keep], minlength=len(self))
        return replace(self, events=self.events.take(keep), offsets=_offsets(counts), age=self.age[keep])

    def of_kinds(self, *kinds: Kind) -> Window:
        return self.where(_is_kind(self.events, kinds, self.also_spend))

    def last(self, days: int) -> Window:
        """The newest ``days`` days, the cutoff's own included."""
        return replace(self.where(self.age < days), days=days)

    def rows(self, first: int, after: int) -> Window:
        """Rows [first, after) only, for work in blocks."""
        a, b = int(self.offsets[first]), int(self.offsets[after])
        part = Events(**{f.name: getattr(self.events, f.name)[a:b] for f in fields(self.events)})
        return replace(self, events=part, offsets=self.offsets[first : after + 1] - a, age=self.age[a:b])

    def daily(self, weight: npt.NDArray[np.float64] | None = None) -> Floats:
        """Sum of ``weight`` [E] (default 1) per row and day [R, days], oldest day first, newest last."""
        place = self.row * self.days + (self.days - 1 - self.age)
        total = np.bincount(place, weights=weight, minlength=len(self) * self.days)
        return total.reshape(len(self), self.days).astype(np.float64)

    def tie(self) -> npt.NDArray[np.uint64]:
        """A fixed pseudo-random number per event from its own values [E]: the same in any batch, order or process."""
        e = self.events
        seed = e.day.astype(_U64) << _U64(32) | (e.second + 1).astype(_U64) << _U64(8) | e.mcc.astype(_U64)
        return _mixed(seed ^ _mixed(np.round(e.amount * 100).astype(np.int64).view(_U64)))


@dataclass(frozen=True)
class Stream:
    """Events of the customers of some rows, ordered by customer, day, second and the source's event id."""

    events: Events
    low: npt.NDArray[np.int64]
    """First event of row r within ``LOOKBACK_DAYS`` of its cutoff [R]."""
    high: npt.NDArray[np.int64]
    """One past the last event on or before the cutoff of row r [R]."""
    cutoff: npt.NDArray[np.int32]
    """Days since 1970-01-01 of the row's cutoff [R]."""
    also_spend: tuple[Kind, ...] = ()
    """As in ``Window``."""

    @classmethod
    def of(
        cls,
        customer: npt.NDArray[np.int64],
        events: Events,
        row_customer: npt.NDArray[np.int64],
        cutoff: npt.NDArray[np.int32],
        also_spend: tuple[Kind, ...] = (),
    ) -> Stream:
        """Find each row's events.

        Args:
            customer: customer of every event [E], ascending; days ascend within a customer.
            row_customer: customer of every row [R].
        """
        code = _code(customer, events.day)
        low = np.searchsorted(code, _code(row_customer, cutoff - LOOKBACK_DAYS), side="right")
        high = np.searchsorted(code, _code(row_customer, cutoff), side="right")
        return cls(events, low.astype(np.int64), high.astype(np.int64), cutoff, also_spend)

    def at(self, rows: npt.NDArray[np.int64]) -> Stream:
        """The same for some of the rows, in the order asked for."""
        return replace(self, low=self.low[rows], high=self.high[rows], cutoff=self.cutoff[rows])

    def window(self, days: int, kinds: Sequence[Kind] = KINDS) -> Window:
        """Events with cutoff - days < day <= cutoff of the given kinds, for every row; days <= LOOKBACK_DAYS."""
        counts = self.high - self.low
        offsets = _offsets(counts)
        place = np.arange(offsets[-1]) + np.repeat(self.low - offsets[:-1], counts)
        age = np.repeat(self.cutoff, counts) - self.events.day[place]
        whole = Window(self.events.take(place), offsets, age, LOOKBACK_DAYS, self.also_spend)
        keep = whole.age < days
        if set(kinds) != set(KINDS):
            keep &= _is_kind(whole.events, kinds, self.also_spend)
        return replace(whole.where(keep), days=days)


def _is_kind(events: Events, kinds: Sequence[Kind], also_spend: Sequence[Kind]) -> npt.NDArray[np.bool_]:
    wanted = {*kinds, *(also_spend if "spend" in kinds else ())}
    return np.isin(events.kind, [KINDS.index(kind) for kind in wanted])


def _offsets(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def _code(customer: npt.NDArray[np.int64], day: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
    return (customer.astype(np.int64) << 20) + day


def _mixed(x: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """SplitMix64 finaliser. Source: Steele, Lea and Flood, 2014."""
    x = (x ^ (x >> _U64(30))) * _U64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> _U64(27))) * _U64(0x94D049BB133111EB)
    return x ^ (x >> _U64(31))
