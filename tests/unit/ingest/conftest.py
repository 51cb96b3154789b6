"""A toy bank whose tables fit on a page, loaded by the real stages; only its adapter lives here."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime
from types import ModuleType
from typing import Any

import polars as pl
import pytest

from pipeline_lib import settings
from pipeline_lib.ingest.source_tables import SourceTables, category_table
from pipeline_lib.keys import KeyFolder
from pipeline_lib.runs import RunContext
from pipeline_lib.settings import Place, Settings
from pipeline_lib.settings.source import Product, Source

PRODUCTS = ("checking", "saving", "deposit_short", "e_account", "funds", "mortgage", "credit_card")
STAMPS = [date(2015, month, 28) for month in range(1, 10)]
CATEGORIES = [
    ("4111", "ground", "transportation", True),
    ("5411", "grocery", "food", True),
    ("5541", "fuel", "transportation", True),
    ("5812", "restaurants", "food", True),
]
MCC = {"4111": 0, "5411": 1, "5541": 2, "5812": 3, "none": 4}


@dataclass
class Bank:
    """What the toy adapter hands over: holdings per customer and month, segments, events."""

    holdings: dict[tuple[str, date], set[str]] = field(default_factory=dict)
    segments: dict[tuple[str, date], str] = field(default_factory=dict)
    events: list[tuple[str, datetime, str, str, float]] = field(default_factory=list)
    deceased: set[str] = field(default_factory=set)
    blocks: int = 1
    disorder: int | None = None
    arrange: Callable[[pl.DataFrame], pl.DataFrame] = staticmethod(lambda rows: rows)

    def hold(self, customer: str, days: list[date], *products: str) -> None:
        for day in days:
            self.holdings[customer, day] = set(products)

    def act(self, customer: str, when: str, code: str, amount: float = 10.0, kind: str = "card_purchase") -> None:
        self.events.append((customer, datetime.fromisoformat(when), code, kind, amount))

    def snapshot(self, day: date) -> pl.DataFrame:
        rows = [
            {
                "customer_id": customer,
                "age": 40,
                "sex": "F",
                "income": None,
                "tenure_months": 12,
                "is_active": 1,
                "is_new_customer": 0,
                "country": "ES",
                "province_id": 28,
                "channel": "KHE",
                "relation_type": "A",
                "employee_status": "N",
                "is_resident": 1,
                "is_foreign_born": 0,
                "is_deceased": int(customer in self.deceased),
                **{f"prod_{p}": int(p in held) for p in PRODUCTS},
            }
            for (customer, at), held in self.holdings.items()
            if at == day
        ]
        flags = ("is_active", "is_new_customer", "is_resident", "is_foreign_born", "is_deceased")
        narrow: dict[str, Any] = {name: pl.Int8 for name in (*flags, *(f"prod_{p}" for p in PRODUCTS))}
        narrow |= {"age": pl.Int16, "tenure_months": pl.Int16, "province_id": pl.Int16, "income": pl.Float64}
        return pl.DataFrame(rows, schema_overrides=narrow)

    def event_rows(self, month: str) -> pl.DataFrame:
        rows = [
            {
                "event_id": f"e{i:04d}",
                "customer_id": customer,
                "event_ts": when,
                "event_type": kind,
                "mcc_idx": MCC[code],
                "amount": amount,
                "signed_amount": amount if kind == "card_refund" else -amount,
                "channel": "pos",
                "merchant_id": f"shop {code}" if kind == "card_purchase" else None,
            }
            for i, (customer, when, code, kind, amount) in enumerate(self.events)
            if f"{when:%Y-%m}" == month
        ]
        return pl.DataFrame(
            rows, schema_overrides={"mcc_idx": pl.UInt8, "event_ts": pl.Datetime("us"), "merchant_id": pl.String}
        )

    def write(self, out: SourceTables) -> None:
        """Hand over every table; ``disorder`` seeds the order of months, parts, rows and columns."""
        calls: list[tuple[Callable[[Any, pl.DataFrame], None], Any, pl.DataFrame]] = []
        for day in sorted({day for _, day in self.holdings}):
            calls += [(out.add_snapshot, day, block) for block in self._parts(self.snapshot(day))]
            segments = [(c, s) for (c, at), s in self.segments.items() if at == day]
            if segments:
                rows = pl.DataFrame(segments, schema=["customer_id", "segment"], orient="row")
                calls += [(out.add_segment, day, block) for block in self._parts(rows)]
        for month in sorted({f"{when:%Y-%m}" for _, when, _, _, _ in self.events}):
            calls += [(out.add_events, month, block) for block in self._parts(self.event_rows(month))]
        if self.disorder is not None:
            random.Random(self.disorder).shuffle(calls)
        for add, when, rows in calls:
            add(when, rows)
        out.set_categories(category_table(CATEGORIES))

    def _parts(self, rows: pl.DataFrame) -> list[pl.DataFrame]:
        rows = self.arrange(rows)
        if self.disorder is not None:
            columns = random.Random(self.disorder).sample(rows.columns, rows.width)
            rows = rows.select(columns).sample(fraction=1.0, shuffle=True, seed=self.disorder)
        return [rows.filter(pl.int_range(pl.len()) % self.blocks == i) for i in range(self.blocks)]


LoadBank = Callable[..., RunContext]


@pytest.fixture(scope="module")
def load_bank(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoadBank]:
    """A run of the toy bank at a logical date, in a store of its own."""
    with pytest.MonkeyPatch.context() as patch:
        shipped = settings.load("synthetic", Place(dataset="synthetic", home=tmp_path_factory.mktemp("policy")))

        def run(bank: Bank, logical_date: date = date(2015, 10, 5), **changes: Any) -> RunContext:
            module = ModuleType("toy")
            module.files = lambda source, folder: []  # type: ignore[attr-defined]
            module.read = lambda source, folder, day, out: bank.write(out)  # type: ignore[attr-defined]
            patch.setitem(sys.modules, "pipeline_lib.ingest.adapters.toy", module)
            home = changes.pop("home", None) or tmp_path_factory.mktemp("home")
            place = Place(dataset="synthetic", home=home, threads=changes.pop("threads", 1))
            KeyFolder(place.keys).create_secrets("test")
            return RunContext.open(toy_settings(shipped, place, **changes), logical_date)

        yield run


def toy_settings(shipped: Settings, place: Place, **changes: dict[str, Any]) -> Settings:
    """The shipped policy for the toy source; ``changes`` replaces fields of splits, labels, viability, source, data."""
    known = {p.short: p for p in shipped.source.products}
    source = Source(
        name="toy",
        adapter="toy",
        title="Toy bank",
        origin="real",
        currency="EUR",
        needs_files=False,
        products=[Product(**known[short].model_dump()) for short in PRODUCTS],
        nba_classes=shipped.source.nba_classes,
        purchase_types=["card_purchase"],
        tasks=list(shipped.tasks.tasks),
        tasks_absent_because={},
    ).model_copy(update=changes.get("source", {}))
    splits = shipped.data.splits.model_copy(update={"min_history_months": 4, **changes.get("splits", {})})
    labels = shipped.data.labels.model_copy(update=changes.get("labels", {}))
    data = shipped.data.model_copy(update={"splits": splits, "labels": labels, **changes.get("data", {})})
    viability = shipped.tasks.viability.model_copy(update=changes.get("viability", {}))
    catalogue = {**shipped.tasks.tasks, **changes.get("tasks", {})}
    tasks = shipped.tasks.model_copy(update={"tasks": catalogue, "viability": viability})
    return Settings(**{**dict(shipped), "place": place, "source": source, "data": data, "tasks": tasks})


@pytest.fixture(scope="module")
def new_bank() -> Callable[[], Bank]:
    return Bank


@pytest.fixture(scope="module")
def golden_bank() -> Bank:
    """Six customers around the cutoff of 28 April 2015; every comment below is a fact the labels must show."""
    bank = Bank()
    before, after = STAMPS[:4], STAMPS[4:]
    # 1 loses two of four products: churn. Its purchases change their mode.
    bank.hold("1", before, "checking", "saving", "funds", "mortgage")
    bank.hold("1", after, "checking", "saving")
    # 2 adds a deposit and a card; the card is the more frequent addition.
    bank.hold("2", before, "checking")
    bank.hold("2", after, "checking", "deposit_short", "credit_card")
    # 3 has no row in February (a gap) and then holds less: mean (4 + 4 + 1) / 3 = 3, and 2 < 0.7 x 3.
    bank.hold("3", [STAMPS[0], STAMPS[2]], "checking", "saving", "funds", "mortgage")
    bank.hold("3", [STAMPS[3]], "checking")
    bank.hold("3", after, "checking", "credit_card")
    # 4 is absent at the label month.
    bank.hold("4", before, "checking")
    # 5 holds nothing at either date.
    bank.hold("5", STAMPS)
    # 6 adds three products once each: the tie goes to the lowest product index.
    bank.hold("6", before, "checking")
    bank.hold("6", after, "checking", "e_account", "funds", "mortgage")
    for customer, segment in {
        "1": "TOP",
        "2": "PARTICULARES",
        "3": "UNIVERSITARIO",
        "4": "TOP",
        "5": "UNKNOWN",
    }.items():
        bank.segments[customer, STAMPS[3]] = segment
    bank.segments["6", STAMPS[3]] = "PARTICULARES"
    _golden_events(bank)
    return bank


def _golden_events(bank: Bank) -> None:
    # 1, recent: 30-day blocks hold {grocery}, {grocery, fuel}, {grocery} -> mean 4/3 distinct, mode grocery.
    bank.act("1", "2015-01-28T12:00", "5812")  # 90 days before: outside
    bank.act("1", "2015-01-29T00:00", "5411")  # 89 days before: inside, third block
    bank.act("1", "2015-03-10T09:00", "5411")
    bank.act("1", "2015-03-10T10:00", "5541")
    bank.act("1", "2015-04-27T10:00", "5411")
    bank.act("1", "2015-04-28T23:59", "5411")  # the cutoff's own day is the past
    # 1, window: fuel first, then restaurants three times -> 3 distinct, mode restaurants.
    bank.act("1", "2015-04-29T00:00", "5541")
    bank.act("1", "2015-05-01T08:00", "5411")
    for hour in (10, 11, 23):
        bank.act("1", f"2015-05-28T{hour}:00", "5812")  # the label month's own day is inside
    bank.act("1", "2015-05-29T00:00", "4111")  # the day after is not
    # 2 and 6, recent: five groceries in the newest block. Window: groceries and fuel tie 2 : 2.
    for customer, fuel in (("2", 15.0), ("6", 10.0)):  # 2 spends more on fuel: shift; 6 the same: smaller id, no shift
        for hour in range(5):
            bank.act(customer, f"2015-04-20T1{hour}:00", "5411")
        bank.act(customer, "2015-05-02T10:00", "5411")
        bank.act(customer, "2015-05-03T10:00", "5411")
        bank.act(customer, "2015-05-04T10:00", "5541", fuel)
        bank.act(customer, "2015-05-05T10:00", "5541", fuel)
        bank.act(customer, "2015-05-06T10:00", "4111", 1.0)
    # 3: a refund is no purchase, and a purchase without category is nobody's choice.
    bank.act("3", "2015-04-30T10:00", "5812", kind="card_refund")
    bank.act("3", "2015-05-01T10:00", "none")
    bank.act("3", "2015-05-02T10:00", "5411")
    # 4 buys, but is absent. 5's only purchase is a category of its own.
    bank.act("4", "2015-05-02T10:00", "5411")
    bank.act("5", "2015-05-02T10:00", "4111")
    for month in ("02", "06", "07", "08", "09"):
        bank.act("5", f"2015-{month}-01T10:00", "4111")  # no month without events
