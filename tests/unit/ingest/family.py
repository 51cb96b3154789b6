"""Every source and benchmark set with a small good folder of raw files: what the shared test of bad input runs over.

A new source is a new member here; ``test_bad_input`` fails until it is one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl

from pipeline_lib import settings
from pipeline_lib.ingest.adapters import bank_marketing, benchmark_set, berka, birmingham
from pipeline_lib.ingest.load import ingest
from pipeline_lib.ingest.readers import month_ends
from pipeline_lib.keys import KeyFolder
from pipeline_lib.runs import RunContext
from pipeline_lib.settings import Place, Settings

ASSETS = Path(__file__).parents[2] / "assets"
FUTURE = datetime(2199, 5, 28)


@dataclass(frozen=True)
class Member:
    """One source and the places where its small folder can be damaged."""

    name: str
    make: Callable[[Path], None]
    """Write a good folder of raw files."""
    load: Callable[[Path, Path, date], Any]
    """(raw files, home of the place, logical date): the whole load, as a run does it."""
    weeks: tuple[date, date]
    """Two logical dates at which the good folder can be loaded."""
    file: str
    """The file that is damaged."""
    drop: str
    """A column that must be there."""
    number: str
    """A column of numbers; ``wrong`` is written instead."""
    wrong: Any
    key: tuple[str, ...] = ()
    """Key of the file's rows; () where copies are a part of the data."""
    differs: str = ""
    """A column in which a second row of one key differs."""
    future: Mapping[str, Any] | None = None
    """Column -> value that puts a row into the future; None for a set without time."""

    @property
    def is_text(self) -> bool:
        return self.file.endswith(".csv")

    def table(self, folder: Path) -> pl.DataFrame:
        path = folder / self.file
        return pl.read_csv(path, infer_schema=False) if self.is_text else pl.read_parquet(path)

    def put(self, folder: Path, rows: pl.DataFrame) -> None:
        path = folder / self.file
        rows.write_csv(path) if self.is_text else rows.write_parquet(path)


@cache
def policy(name: str) -> Settings:
    """The shipped policy of a source; whoever loads it gives it a place of its own."""
    return settings.load(name, Place(dataset=name))


def _load_source(name: str) -> Callable[[Path, Path, date], Any]:
    def load(folder: Path, home: Path, day: date) -> Any:
        made = policy(name).model_copy(update={"place": Place(dataset=name, home=home, source=folder, threads=1)})
        KeyFolder(made.place.keys).create_secrets("test")
        return ingest(RunContext.open(made, day))

    return load


def _load_benchmark(name: str) -> Callable[[Path, Path, date], Any]:
    return lambda folder, home, day: benchmark_set.read(settings.load_benchmark(name), folder)


def _at(day: date, hour: int = 0) -> datetime:
    return datetime.combine(day, datetime.min.time()) + timedelta(hours=hour)


def _write(folder: Path, name: str, rows: Mapping[str, Any], source: str, **types: Any) -> None:
    """A file with every column that the source declares; those not given are null."""
    declared = policy(source).source.raw[name]
    table = pl.DataFrame(dict(rows), schema_overrides=types)
    absent = [pl.lit(None, dtype=pl.String).alias(c) for c in declared if c not in table.columns]
    table.with_columns(absent).select(list(declared)).write_parquet(folder / f"{name}.parquet")


def _berka(folder: Path) -> None:
    who = [1, 2, 3]
    days = month_ends("1993-01", "1994-02")
    opened = [_at(date(1993, 1, 5))] * 3
    tables: dict[str, dict[str, Any]] = {
        "account": {"account_id": who, "district_id": who, "opened": opened},
        "client": {
            "client_id": who,
            "district_id": who,
            "gender": ["F", "M", "F"],
            "birth_date": [_at(date(1950 + k, 1, 1)) for k in who],
        },
        "disposition": {"disp_id": who, "client_id": who, "account_id": who, "type": ["OWNER"] * 3},
        "card": {"card_id": [1], "disp_id": [1], "issued": [_at(date(1993, 2, 1))]},
        "loan": {"loan_id": [1], "account_id": [2], "date": [_at(date(1993, 2, 1))], "duration": [12]},
        "district": {"district_id": who, "region": ["Prague", "Prague", "south"]},
        "transaction_1993q1_1994q1": {
            "trans_id": list(range(len(days) * 3)),
            "account_id": who * len(days),
            "date": [_at(day) for day in days for _ in who],
            "type": ["PRIJEM"] * len(days) * 3,
            "operation": ["VKLAD"] * len(days) * 3,
            "amount": [100.0] * len(days) * 3,
        },
    }
    for name, rows in tables.items():
        _write(folder, name, rows, "berka")
    assert {f"{name}.parquet" for name in berka.FILES} == {path.name for path in folder.iterdir()}


def _birmingham(folder: Path) -> None:
    days = [day for day in month_ends("2015-05", "2015-09")]
    rows = len(days) * 4
    given = {
        "txn_id": list(range(rows)),
        "card_id": ["c_1", "c_2", "c_3", "c_1"] * len(days),
        "date": [_at(day) for day in days for _ in range(4)],
        "amount": [10.0, 20.0, 30.0, -5.0] * len(days),
        "code_system": ["sap"] * rows,
        "category_code": ["K020", "L100", None, "K020"] * len(days),
        "merchant_id": ["m_1", "m_2", "m_3", "m_1"] * len(days),
    }
    _write(folder, Path(birmingham.FILE).stem, given, "birmingham")


def _bank_marketing(folder: Path) -> None:
    months = ["may", "jun", "jul", "aug"]
    rows = len(months) * 5
    given = {
        "row_no": list(range(rows)),
        "age": [30 + k % 40 for k in range(rows)],
        "housing": ["yes", "no", "no", "yes", "no"] * len(months),
        "loan": ["no"] * rows,
        "contact": ["cellular"] * rows,
        "day": [5] * rows,
        "month": [month for month in months for _ in range(5)],
        "year_inferred": [2008] * rows,
        "y": ["no", "yes", "no", "no", "no"] * len(months),
    }
    _write(folder, Path(bank_marketing.FILE).stem, given, "bank_marketing")


def _santander(folder: Path) -> None:
    header, first = (ASSETS / "santander/all_dirt/all_dirt.csv").read_text(encoding="utf-8").splitlines()[:2]
    lines = [
        first.replace("2015-01-28,1001", f"{stamp},{2000 + k}")
        for stamp in ("2015-01-28", "2015-02-28", "2015-03-28")
        for k in range(20)
    ]
    (folder / "snapshots.csv").write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")


def _census(folder: Path) -> None:
    shape, rows = settings.load_benchmark("census"), 60
    values: dict[str, Any] = {}
    for name, column in shape.columns.items():
        kinds = {"whole": list(range(rows)), "real": [1.5] * rows, "category": [f"{name} {k % 3}" for k in range(rows)]}
        values[name] = kinds[column.type]
    for task in shape.tasks.values():
        known = [*task.positive, "another value"]
        values[task.column] = [known[k % len(known)] for k in range(rows)]
    whole = {name: pl.Int32 for name, column in shape.columns.items() if column.type == "whole"}
    pl.DataFrame(values, schema_overrides=whole).write_parquet(folder / shape.file)


FAMILY = {
    member.name: member
    for member in (
        Member(
            name="berka",
            make=_berka,
            load=_load_source("berka"),
            weeks=(date(1993, 4, 5), date(1993, 5, 3)),
            file="transaction_1993q1_1994q1.parquet",
            drop="k_symbol",
            number="amount",
            wrong="12,50",
            key=("trans_id",),
            differs="amount",
            future={"date": FUTURE},
        ),
        Member(
            name="birmingham",
            make=_birmingham,
            load=_load_source("birmingham"),
            weeks=(date(2015, 8, 3), date(2015, 9, 7)),
            file=birmingham.FILE,
            drop="merchant_id",
            number="amount",
            wrong="12,50",
            key=("txn_id",),
            differs="amount",
            future={"date": FUTURE},
        ),
        Member(
            name="bank_marketing",
            make=_bank_marketing,
            load=_load_source("bank_marketing"),
            weeks=(date(2008, 8, 4), date(2008, 9, 1)),
            file=bank_marketing.FILE,
            drop="contact",
            number="age",
            wrong="thirty",
            key=("row_no",),
            differs="age",
            future={"year_inferred": FUTURE.year},
        ),
        Member(
            name="santander",
            make=_santander,
            load=_load_source("santander"),
            weeks=(date(2015, 3, 2), date(2015, 3, 30)),
            file="snapshots.csv",
            drop="renta",
            number="age",
            wrong="thirty",
            key=("fecha_dato", "ncodpers"),
            differs="renta",
            future={"fecha_dato": f"{FUTURE:%Y-%m-%d}"},
        ),
        Member(
            name="census",
            make=_census,
            load=_load_benchmark("census"),
            weeks=(date(2026, 1, 5), date(2026, 1, 12)),
            file="train.parquet",
            drop="race",
            number="wage_per_hour",
            wrong="12,50",
        ),
    )
}
