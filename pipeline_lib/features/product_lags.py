"""What was held in the months before: lags and rolling sums of every product flag, for every customer and month.

Per product (P of them) five features and one over all, 5 P + 1 (121 for 24 products):

    lag1      held the month before
    sum3      months held among the newest 3, this one included
    sum6      the same among the newest 6
    running   months held up to this one
    acquired  not held the month before, held now
    held      products held now

Snapshot files are read once each, in order of time; the past of a customer is three bytes per product (the month
before, the newest 8 months as bits, the running sum), so memory is 3 N P bytes for N customers whatever the number
of months, and a block of customers fits the processor's cache. Values are int8, -1 = not known: a month without a
row or with a null. A sum counts the months that are known. Source: anchors.md D; features.md 4.4 (F13).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from pipeline_lib.contracts.tables import product_column
from pipeline_lib.errors import ContractError
from pipeline_lib.features.history import UNKNOWN, month_number

Planes = npt.NDArray[np.int8]
Ints = npt.NDArray[np.int64]
PER_PRODUCT = ("lag1", "sum3", "sum6", "running", "acquired")
HELD = "held"
BLOCK_CUSTOMERS = 50_000
MAX_MONTHS = 127
_LAST3, _LAST6 = np.uint8(0b111), np.uint8(0b111111)


def feature_names(products: Sequence[str]) -> tuple[str, ...]:
    """Names in the order of the kernel's rows [5 P + 1]."""
    return (*(f"lag_{short}_{kind}" for kind in PER_PRODUCT for short in products), f"lag_{HELD}")


@dataclass(frozen=True)
class Past:
    """What is remembered of n customers; changed in place by ``advance``."""

    before: Planes
    """The month before: 1, 0 or -1 [P, n]."""
    bits: npt.NDArray[np.uint8]
    """Bit k: held k months ago [P, n]."""
    running: Planes
    """Months held so far [P, n]."""

    @classmethod
    def none(cls, products: int, customers: int) -> Past:
        shape = (products, customers)
        return cls(np.full(shape, UNKNOWN, np.int8), np.zeros(shape, np.uint8), np.zeros(shape, np.int8))

    def block(self, first: int, after: int) -> Past:
        """Customers [first, after), sharing memory."""
        return Past(self.before[:, first:after], self.bits[:, first:after], self.running[:, first:after])


def advance(past: Past, held: Planes, out: Planes) -> None:
    """Go one month on: write the month's features and remember it.

    Args:
        past: state of n customers before this month.
        held: the month's flags, 1, 0 or -1 [P, n].
        out: receives the features [5 P + 1, n], in the order of ``feature_names``.
    """
    lag1, sum3, sum6, running, acquired = np.split(out[:-1], len(PER_PRODUCT))
    on = held > 0
    np.add(past.bits, past.bits, out=past.bits)  # one month older; NumPy shifts bytes ten times slower than it adds
    np.bitwise_or(past.bits, on.view(np.uint8), out=past.bits)
    np.add(past.running, on.view(np.int8), out=past.running)
    lag1[:] = past.before
    np.bitwise_count(past.bits & _LAST3, out=sum3.view(np.uint8))
    np.bitwise_count(past.bits & _LAST6, out=sum6.view(np.uint8))
    running[:] = past.running
    _acquired(past.before, held, acquired)
    np.add.reduce(on.view(np.int8), axis=0, dtype=np.int8, out=out[-1])
    past.before[:] = held


def _acquired(before: Planes, now: Planes, out: Planes) -> None:
    """1 when 0 became 1, else 0; -1 when either is -1 (all bits set, so a bitwise or spreads it)."""
    np.bitwise_and(now, np.invert(before), out=out)
    np.bitwise_or(out, np.right_shift(before | now, 7), out=out)


@dataclass(frozen=True)
class MonthBlock:
    """Features of some customers at one snapshot; ``features`` is overwritten when the next block is asked for."""

    day: date
    customers: Ints
    """Keys, ascending [n]; only customers with a row in this snapshot."""
    features: Planes
    """[5 P + 1, n]."""


def cube_features(
    snapshots: Mapping[date, Path], products: Sequence[str], block_customers: int = BLOCK_CUSTOMERS
) -> Iterator[MonthBlock]:
    """The features of every customer at every snapshot, one month after the other.

    Args:
        snapshots: files with ``customer_key`` and one column per product; at most one per calendar month.
        products: short names of the flags.

    Raises:
        ContractError: two snapshots in a month, more months than an int8 sum can count, or a customer twice in a file.
    """
    days = _by_month(snapshots)
    customers = _customers(snapshots)
    place = np.zeros(int(customers.max(initial=0)) + 1, dtype=np.int64)
    place[customers] = np.arange(len(customers))
    past = Past.none(len(products), len(customers))
    held = np.full(past.before.shape, UNKNOWN, dtype=np.int8)
    out = np.empty((len(PER_PRODUCT) * len(products) + 1, min(block_customers, len(customers))), dtype=np.int8)
    for month in range(min(days), max(days) + 1):
        day = days.get(month)
        present = _read(held, snapshots[day], products, place) if day else _nobody(held)
        for first in range(0, len(customers), block_customers):
            after = min(first + block_customers, len(customers))
            features = out[:, : after - first]
            advance(past.block(first, after), held[:, first:after], features)
            here = present[first:after]
            if day and here.all():
                yield MonthBlock(day, customers[first:after], features)
            elif day and here.any():
                yield MonthBlock(day, customers[first:after][here], features.take(np.flatnonzero(here), axis=1))


def _by_month(snapshots: Mapping[date, Path]) -> dict[int, date]:
    days = {month_number(day): day for day in sorted(snapshots)}
    if len(days) != len(snapshots):
        raise ContractError(
            f"customer_snapshot: expected one file per month, found {[str(d) for d in sorted(snapshots)]}"
        )
    if days and max(days) - min(days) >= MAX_MONTHS:
        raise ContractError(
            f"customer_snapshot: at most {MAX_MONTHS} months fit the running sum, found {days.values()}"
        )
    return days


def _customers(snapshots: Mapping[date, Path]) -> Ints:
    """Keys of all customers, ascending."""
    known = np.zeros(0, dtype=np.bool_)
    for path in snapshots.values():
        keys = pl.read_parquet(path, columns=["customer_key"])["customer_key"].to_numpy()
        known = np.pad(known, (0, max(0, int(keys.max(initial=-1)) + 1 - len(known))))
        known[keys] = True
    return np.flatnonzero(known)


def _read(held: Planes, path: Path, products: Sequence[str], place: Ints) -> npt.NDArray[np.bool_]:
    """Fill ``held`` [P, N] from one file; returns who has a row [N]."""
    columns = [product_column(short) for short in products]
    table = pl.read_parquet(path, columns=["customer_key", *columns])
    where = place[table["customer_key"].to_numpy()]
    present = np.zeros(held.shape[1], dtype=np.bool_)
    present[where] = True
    if int(present.sum()) != len(where):
        raise ContractError(
            f"{path.name}: expected one row per customer_key, found {len(where) - int(present.sum())} more"
        )
    if len(where) < held.shape[1]:
        held[:, ~present] = UNKNOWN
    for plane, name in zip(held, columns, strict=True):
        plane[where] = table[name].cast(pl.Int8).fill_null(UNKNOWN).to_numpy()
    return present


def _nobody(held: Planes) -> npt.NDArray[np.bool_]:
    held[:] = UNKNOWN
    return np.zeros(held.shape[1], dtype=np.bool_)
