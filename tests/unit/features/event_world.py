"""Rows with events of their own as a generator reads them, made from a seed: no files, no stage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from functools import cache
from pathlib import Path

import numpy as np
import polars as pl

from pipeline_lib import settings
from pipeline_lib.features.generator import Shape
from pipeline_lib.features.history import History
from pipeline_lib.features.material import Material
from pipeline_lib.features.stream import KINDS, NO_MERCHANT, NO_TIME, Events, Stream
from pipeline_lib.settings import Place
from pipeline_lib.settings.features import Features

CUTOFF = 20_000
PRODUCTS = ("account", "card", "loan")
CATEGORIES = 20
OLDEST = 359


@cache
def policy() -> Features:
    return settings.load("synthetic", Place(dataset="synthetic", home=Path("unused"), threads=1)).features


def shape() -> Shape:
    return Shape(PRODUCTS, (1, 2, 3), categories())


def categories() -> pl.DataFrame:
    idx = np.arange(CATEGORIES + 1)
    codes = [*(str(4000 + i) for i in range(CATEGORIES)), "unknown"]
    made = [True] * len(codes)
    ids = {"mcc_idx": idx, "code": codes, "l2_id": idx // 2, "l1_id": idx // 5, "customer_made": made}
    return pl.DataFrame(ids)


def make_events(
    ages: Sequence[int],
    amounts: Sequence[float] | None = None,
    mcc: Sequence[int] | None = None,
    kind: Sequence[str] | None = None,
    second: Sequence[int] | None = None,
    merchant: Sequence[int] | None = None,
) -> Events:
    """Events of one row by their age in days, oldest first."""
    n = len(ages)
    codes = np.array(mcc if mcc is not None else [0] * n, dtype=np.uint8)
    return Events(
        day=(CUTOFF - np.array(ages, dtype=np.int64)).astype(np.int32),
        second=np.array(second if second is not None else [NO_TIME] * n, dtype=np.int32),
        kind=np.array([KINDS.index(k) for k in (kind or ["spend"] * n)], dtype=np.uint8),
        mcc=codes,
        l2=codes // 2,
        l1=codes // 5,
        merchant=np.array(merchant if merchant is not None else [NO_MERCHANT] * n, dtype=np.int64),
        amount=np.array(amounts if amounts is not None else [10.0] * n, dtype=np.float64),
    )


def stream_of_rows(rows: Sequence[Events]) -> Stream:
    """One customer a row, all at the same cutoff."""
    events = Events(**{f.name: np.concatenate([getattr(row, f.name) for row in rows]) for f in fields(Events)})
    customer = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
    return Stream.of(customer, events, np.arange(len(rows)), np.full(len(rows), CUTOFF, dtype=np.int32))


def make_history(rows: int, months: int = 12, span: Sequence[int] | None = None, seed: int = 0) -> History:
    """Holdings that wander; a row is known for its newest ``span`` months."""
    rng = np.random.default_rng(seed)
    known = np.arange(months)[None, :] < np.array(span if span is not None else [months] * rows)[:, None]
    held = np.clip(2 + rng.integers(-1, 2, (rows, months)).cumsum(axis=1), 0, len(PRODUCTS)).astype(float)
    both = known & np.roll(known, -1, axis=1) & (np.arange(months) < months - 1)
    added, dropped = (np.where(both, (rng.random((rows, months)) < 0.1).astype(float), np.nan) for _ in range(2))
    none = np.zeros((rows, len(PRODUCTS)), dtype=np.int64)
    return History(
        known.sum(axis=1), none, none, none > 0, none > 0, none, np.where(known, held, np.nan), added, dropped
    )


def material(rows: Sequence[Events], history: History | None = None) -> Material:
    n = len(rows)
    table = pl.DataFrame({"row_id": np.arange(n), "customer_key": np.arange(n)})
    return Material(
        rows=table,
        profile=table,
        history=history or make_history(n),
        windows=None,  # type: ignore[arg-type]  # not read by these groups
        category_use=table,
        categories=categories(),
        products=PRODUCTS,
        stream=stream_of_rows(rows),
    )


def some_bank(rows: int, seed: int = 3, backwards: bool = False) -> Material:
    """Customers of very different activity, the last one without any event and the one before with a single one.

    ``backwards``: the same events in the opposite order of time.
    """
    rng = np.random.default_rng(seed)
    rates = np.concatenate([rng.gamma(1.2, 90.0, rows - 2), [0.0, 0.0]])
    counts = np.where(np.arange(rows) == rows - 2, 1, rng.poisson(rates))
    own = [_some_events(rng, int(n), int(rng.integers(2, CATEGORIES)), rng.uniform(0.3, 0.9)) for n in counts]
    own = [_turned(events) for events in own] if backwards else own
    return material(own, make_history(rows, span=rng.integers(1, 25, rows).clip(max=12).tolist(), seed=seed))


def _turned(events: Events) -> Events:
    turned = replace(events, day=(2 * CUTOFF - OLDEST - events.day).astype(np.int32))
    return turned.take(np.arange(len(events))[::-1])


def _some_events(rng: np.random.Generator, n: int, kinds: int, regular: float) -> Events:
    ages = np.sort((rng.random(n) ** regular * (OLDEST + 1)).astype(int))[::-1]
    return make_events(
        ages.tolist(),
        np.round(np.exp(rng.normal(3.0, 1.0, n)), 2).tolist(),
        rng.integers(0, kinds, n).tolist(),
        rng.choice(KINDS, n, p=[0.8, 0.04, 0.06, 0.05, 0.05]).tolist(),
        rng.integers(0, 86_400, n).tolist(),
        rng.integers(0, 40, n).tolist(),
    )
