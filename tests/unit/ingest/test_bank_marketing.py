"""Telemarketing contacts: seen before the call, and once more with its outcome."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from pipeline_lib.errors import SchemaError
from pipeline_lib.ingest.adapters import bank_marketing
from pipeline_lib.ingest.labels import label
from pipeline_lib.ingest.load import ingest
from pipeline_lib.ingest.source_tables import SourceTables
from pipeline_lib.runs import RunContext
from pipeline_lib.settings import Settings
from tests.unit.ingest.family import FAMILY, policy

REPO = Path(__file__).resolve().parents[3]
FOLDER = Path(os.environ.get("BANK_MARKETING_SOURCE") or REPO.parent / "shared" / "data" / "bank_marketing")
real_files = pytest.mark.skipif(
    not (FOLDER / bank_marketing.FILE).is_file(), reason=f"the contacts are not at {FOLDER}: set BANK_MARKETING_SOURCE"
)
SOURCE = policy("bank_marketing").source


def read(
    tmp_path: Path, change: Callable[[pl.DataFrame], pl.DataFrame] = lambda rows: rows, until: date = date(2008, 12, 1)
) -> SourceTables:
    folder, out = tmp_path / "raw", SourceTables(tmp_path / "parts")
    for path in (folder, out.folder):
        path.mkdir()
    member = FAMILY["bank_marketing"]
    member.make(folder)
    member.put(folder, change(member.table(folder)))
    bank_marketing.read(SOURCE, folder, until, out)
    return out


def held(tables: SourceTables, day: str) -> dict[str, int]:
    rows = pl.read_parquet(tables.parts(f"snapshot/{day}"))
    return dict(rows.select("customer_id", "prod_deposit").sort(pl.col("customer_id").cast(pl.Int64)).iter_rows())


def test_deposit_is_held_from_the_month_after_the_call(tmp_path: Path) -> None:
    tables = read(tmp_path)
    assert tables.months("snapshot") == ["2008-05-31", "2008-06-30", "2008-07-31", "2008-08-31", "2008-09-30"]
    assert held(tables, "2008-05-31") == {"0": 0, "1": 0, "2": 0, "3": 0, "4": 0}
    assert held(tables, "2008-06-30") == {"0": 0, "1": 1, "2": 0, "3": 0, "4": 0, **{str(k): 0 for k in range(5, 10)}}
    assert held(tables, "2008-09-30") == {"15": 0, "16": 1, "17": 0, "18": 0, "19": 0}


def test_outcomes_after_the_logical_date_are_not_read(tmp_path: Path) -> None:
    assert read(tmp_path, until=date(2008, 6, 29)).months("snapshot") == ["2008-05-31"]


def test_month_without_calls_still_carries_the_outcomes_of_the_month_before(tmp_path: Path) -> None:
    tables = read(tmp_path, lambda rows: rows.filter(pl.col("month") != "jul"))
    assert held(tables, "2008-07-31") == {"5": 0, "6": 1, "7": 0, "8": 0, "9": 0}


def test_a_day_that_no_calendar_has_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match="column date is null in 5 rows, first in row 5"):
        read(tmp_path, lambda rows: rows.with_columns(day=pl.when(pl.col("month") == "jun").then(31).otherwise("day")))


def test_what_the_call_revealed_is_not_read() -> None:
    declared = SOURCE.raw[Path(bank_marketing.FILE).stem]
    later = {name for name, column in declared.items() if column.known == "after_outcome"}
    assert later - set(bank_marketing.COLUMNS) == {"duration", "campaign"}
    assert later & set(bank_marketing.COLUMNS) == {"y"}
    assert declared["y"].role == "label"


@real_files
def test_real_contacts_carry_one_honest_label_and_their_drift_is_a_warning(
    make_settings: Callable[..., Settings],
) -> None:
    ctx = RunContext.open(make_settings("bank_marketing", source=FOLDER), date(2009, 6, 1))
    facts = ingest(ctx).facts
    assert (facts["customers"], facts["rows"], facts["events"]) == (39752, 73929, 0)
    stage = label(ctx)
    tasks = stage.facts["tasks"]
    assert [n for n, v in tasks.items() if v["status"] == "active"] == ["will_acquire_deposits"]
    assert (tasks["will_acquire_deposits"]["train_rows"], tasks["will_acquire_deposits"]["positives"]) == (13899, 702)
    verdicts = json.loads(stage.path("dq_report.json").read_bytes())
    drift = next(v for v in verdicts if v["suite"] == "label_table.rates")
    assert (drift["success"], drift["severity"], drift["observed"][:11]) == (False, "warning", "2 of 2 rows")
    labels = pl.read_parquet(stage.path("label_table.parquet"))
    absent = labels.filter(pl.col("label_status") == "absent")
    assert absent.height > 10000
    assert absent.get_column("will_acquire_deposits").null_count() == absent.height
