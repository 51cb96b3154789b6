"""The PKDD'99 Czech bank: January 1993 to February 1994, the months for which the transaction stream is whole.

Customer = client of the OWNER disposition of an account; each account has exactly one owner and each owner one
account. Every account opened by a month-end counts from that month on; all of them have a stream.

Parameters (``params`` of the source): ``first_month``, ``last_month`` (YYYY-MM).

Traps of this data set that are left outside on purpose:
- ``loan.status`` is the outcome at the end of 1998; only date and duration are read.
- ``standing_order`` has no dates (state at the end of 1998) and is not read; orders come from the stream. Of 733
  order and pension series 732 are paid in every month once begun, so an order has a beginning and no end.
- ``district`` holds salaries, unemployment and crime of 1995 and 1996; only the region's name is read, and income
  stays unknown rather than an area proxy from the future.
"""

from __future__ import annotations

import tempfile
from datetime import date, timedelta
from pathlib import Path

import polars as pl

from pipeline_lib.ingest import readers
from pipeline_lib.ingest.duck import Duck, connect
from pipeline_lib.ingest.source_tables import SourceTables, category_table
from pipeline_lib.settings.source import Source

_KEY, _TEXT, _TIME, _REAL = pl.Int64(), pl.String(), pl.Datetime("us"), pl.Float64()
FILES: dict[str, dict[str, pl.DataType]] = {
    "account": {"account_id": _KEY, "opened": _TIME},
    "client": {"client_id": _KEY, "district_id": _KEY, "gender": _TEXT, "birth_date": _TIME},
    "disposition": {"disp_id": _KEY, "client_id": _KEY, "account_id": _KEY, "type": _TEXT},
    "card": {"card_id": _KEY, "disp_id": _KEY, "issued": _TIME},
    "loan": {"loan_id": _KEY, "account_id": _KEY, "date": _TIME, "duration": _KEY},
    "district": {"district_id": _KEY, "region": _TEXT},
    "transaction_1993q1_1994q1": {
        "trans_id": _KEY,
        "account_id": _KEY,
        "date": _TIME,
        "type": _TEXT,
        "operation": _TEXT,
        "amount": _REAL,
        "k_symbol": _TEXT,
    },
}
"""File stem -> the columns that are read. Nothing else of a file enters the pipeline."""

_KEYS = {"account": "account_id", "client": "client_id", "disposition": "disp_id", "card": "card_id"}
_KEYS |= {"loan": "loan_id", "district": "district_id", "transaction_1993q1_1994q1": "trans_id"}
_MAY_BE_NULL = {"operation", "k_symbol"}

CATEGORIES = (
    # code, level 2, level 1, customer made, event type
    ("CASH_DEPOSIT", "cash_in", "cash", True, "deposit_inflow"),
    ("CASH_WITHDRAWAL", "cash_out", "cash", True, "cash_withdrawal"),
    ("CARD_WITHDRAWAL", "card_cash", "cash", True, "cash_withdrawal"),
    ("TRANSFER_IN", "incoming", "transfers", True, "transfer_in"),
    ("PENSION_IN", "pension", "transfers", True, "transfer_in"),
    ("HOUSEHOLD_ORDER", "household", "orders", True, "transfer_out"),
    ("INSURANCE_ORDER", "insurance", "orders", True, "transfer_out"),
    ("OTHER_ORDER", "other_orders", "orders", True, "transfer_out"),
    ("LOAN_PAYMENT", "loan", "orders", True, "transfer_out"),
    ("INTEREST_CREDIT", "interest", "bank", False, "bank_booking"),
    ("PENALTY_INTEREST", "interest", "bank", False, "bank_booking"),
    ("STATEMENT_FEE", "fees", "bank", False, "bank_booking"),
)
"""Bank operations stand in for merchant categories. Source: README of the data set."""


def files(source: Source, folder: Path | None) -> list[Path]:
    """The seven files that are read."""
    return readers.required_files(readers.required_folder(source.name, folder), [f"{stem}.parquet" for stem in FILES])


def read(source: Source, folder: Path | None, logical_date: date, out: SourceTables) -> None:
    """Month-end snapshots up to ``logical_date`` and the events of the same whole months."""
    base = readers.required_folder(source.name, folder)
    days = readers.month_ends(str(source.params["first_month"]), str(source.params["last_month"]))
    raw = {stem: readers.read_parquet(base / f"{stem}.parquet", columns, source) for stem, columns in FILES.items()}
    _check(raw)
    out.file_rows |= {f"{stem}.parquet": rows.height for stem, rows in raw.items()}
    categories = category_table([row[:4] for row in CATEGORIES])
    out.set_categories(categories)
    with tempfile.TemporaryDirectory(dir=out.folder) as scratch, connect(Path(scratch), 1, {}) as duck:
        _prepare(duck, raw, categories)
        for day in (d for d in days if d.replace(day=1) < logical_date or d <= logical_date):
            if day <= logical_date:
                _add_snapshot(day, duck.frame("ingest/berka_snapshot", day=day), out)
            month = {"first": day.replace(day=1), "after": day + timedelta(days=1)}
            out.add_events(f"{day:%Y-%m}", duck.frame("ingest/berka_event", **month))


def _prepare(duck: Duck, raw: dict[str, pl.DataFrame], categories: pl.DataFrame) -> None:
    for stem in ("account", "disposition", "client", "card", "loan"):
        duck.register(stem, raw[stem])
    duck.register("raw_transaction", raw["transaction_1993q1_1994q1"])
    types = pl.DataFrame({"code": [c[0] for c in CATEGORIES], "event_type": [c[4] for c in CATEGORIES]})
    duck.register("category", categories.select("mcc_idx", "code").join(types, on="code", how="inner"))
    rank = pl.col("region").rank("dense").cast(pl.Int16)
    duck.register("region", raw["district"].select("district_id", province_id=rank))
    duck.table("stream", "ingest/berka_stream")
    duck.table("holding", "ingest/berka_holding")


def _add_snapshot(day: date, rows: pl.DataFrame, out: SourceTables) -> None:
    out.counts["age: outside 18..100 to null"] += rows.get_column("age").null_count()
    out.add_snapshot(day, rows)


def _check(raw: dict[str, pl.DataFrame]) -> None:
    """Keys unique, references whole, codes known: or the mapping above would drop or double rows in silence."""
    for stem, rows in raw.items():
        readers.require_no_nulls(stem, rows, [c for c in rows.columns if c not in _MAY_BE_NULL])
        readers.require_unique(stem, rows, [_KEYS[stem]])
        for column in (name for name, dtype in rows.schema.items() if dtype == _TIME):
            readers.require_past(stem, rows, column)
    accounts, dispositions = raw["account"].get_column("account_id"), raw["disposition"]
    owners = dispositions.filter(pl.col("type") == "OWNER")
    readers.require_unique("disposition (OWNER)", owners, ["account_id"])
    readers.require_unique("disposition (OWNER)", owners, ["client_id"])
    readers.require_references("account", raw["account"], "account_id", owners.get_column("account_id"), "disposition")
    readers.require_references(
        "disposition", dispositions, "client_id", raw["client"].get_column("client_id"), "client"
    )
    readers.require_references("card", raw["card"], "disp_id", dispositions.get_column("disp_id"), "disposition")
    readers.require_references("loan", raw["loan"], "account_id", accounts, "account")
    readers.require_references("client", raw["client"], "district_id", raw["district"]["district_id"], "district")
    stream = raw["transaction_1993q1_1994q1"]
    readers.require_references("transaction", stream, "account_id", accounts, "account")
    readers.require_codes("client", raw["client"], "gender", ("F", "M"))
    readers.require_codes("disposition", dispositions, "type", ("OWNER", "DISPONENT"))
    readers.require_codes("transaction", stream, "type", ("PRIJEM", "VYDAJ", "VYBER"))
    operations = ("VKLAD", "VYBER", "VYBER KARTOU", "PREVOD Z UCTU", "PREVOD NA UCET")
    readers.require_codes("transaction", stream, "operation", operations)
    symbols = ("SIPO", "POJISTNE", "UVER", "DUCHOD", "SLUZBY", "UROK", "SANKC. UROK")
    readers.require_codes("transaction", stream, "k_symbol", symbols)
