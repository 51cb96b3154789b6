"""Every known kind of dirt of the Santander CSV, in two dozen hand-written lines."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipeline_lib import settings
from pipeline_lib.errors import SchemaError
from pipeline_lib.ingest.adapters import provinces, santander
from pipeline_lib.ingest.load import ingest
from pipeline_lib.ingest.source_tables import SourceTables
from pipeline_lib.runs import RunContext
from pipeline_lib.settings import Settings

ASSETS = Path(__file__).parents[2] / "assets" / "santander"
SOURCE = settings.load("santander").source


def read(folder: Path, scratch: Path, until: date = date(2015, 12, 31)) -> SourceTables:
    out = SourceTables(scratch / "parts")
    out.folder.mkdir(parents=True)
    santander.read(SOURCE, folder, until, out)
    return out


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> SourceTables:
    return read(ASSETS / "all_dirt", tmp_path_factory.mktemp("santander"))


def silver(tables: SourceTables) -> pl.DataFrame:
    """All months as text, products as the list of those held."""
    frames = []
    for day in tables.months("snapshot"):
        rows = pl.read_parquet(tables.parts(f"snapshot/{day}"))
        segments = pl.read_parquet(tables.parts(f"segment/{day}"))
        flags = [c for c in rows.columns if c.startswith("prod_")]
        held = pl.concat_list(
            pl.when(pl.col(f) == 1).then(pl.lit(f.removeprefix("prod_"))).otherwise(None) for f in flags
        )
        frames.append(
            rows.join(segments, on="customer_id")
            .with_columns(held=held.list.drop_nulls().list.join("+"), snapshot_date=pl.lit(day))
            .drop(flags)
        )
    return pl.concat(frames).sort("snapshot_date", "customer_id")


def test_dirty_rows_become_the_silver_table_written_by_hand(tables: SourceTables) -> None:
    expected = pl.read_csv(ASSETS / "all_dirt_silver.csv", infer_schema=False)
    found = silver(tables).select(pl.col(c).cast(pl.String) for c in expected.columns)
    found = found.with_columns(pl.col("held").replace("", None))
    differing = [
        (row["customer_id"], row["snapshot_date"], column, row[column], want[column])
        for row, want in zip(found.iter_rows(named=True), expected.iter_rows(named=True), strict=True)
        for column in expected.columns
        if row[column] != want[column]
    ]
    assert differing == []


def test_repairs_are_counted(tables: SourceTables) -> None:
    assert dict(tables.counts) == {
        "exact duplicate rows: collapsed": 1,
        "age: outside 18..100 to null": 2,
        "fecha_alta: after the snapshot, ignored": 1,
        "is_active: null to 0": 2,
        "is_new_customer: null to 1 below six months of history, else 0": 2,
        "product flags: blank to 0": 4,
        "province: name does not belong to the code, code kept": 1,
    }


def test_refused_rows_keep_line_and_reason_but_not_the_customer(tables: SourceTables) -> None:
    rows = pl.concat(pl.read_parquet(p) for p in tables.parts("quarantine"))
    assert rows.select("source", "month", "line_no", "reason").rows() == [
        ("all_dirt.csv", "2015-01", 14, "conflicting rows for one customer and month"),
        ("all_dirt.csv", "2015-01", 15, "conflicting rows for one customer and month"),
        ("all_dirt.csv", "2015-01", 16, "age: 'abc' is not a number"),
        ("all_dirt.csv", "2015-02", 25, "cod_prov: '99' is not a code of 1 to 52"),
    ]
    assert json.loads(rows.get_column("raw")[2])["age"] == "abc"
    assert not any("ncodpers" in raw or "1013" in raw for raw in rows.get_column("raw"))


def test_months_after_the_logical_date_are_not_read(tmp_path: Path) -> None:
    assert read(ASSETS / "all_dirt", tmp_path, date(2015, 2, 27)).months("snapshot") == ["2015-01-28"]


def test_a_file_per_month_gives_the_same_tables_as_one_file(tables: SourceTables, tmp_path: Path) -> None:
    header, *lines = (ASSETS / "all_dirt" / "all_dirt.csv").read_text(encoding="utf-8").splitlines()
    folder = tmp_path / "months"
    folder.mkdir()
    for name, month in (("b.csv", "2015-01"), ("a.csv", "2015-02")):
        chosen = [line for line in reversed(lines) if line.startswith(month)]
        (folder / name).write_text("\n".join([header, *chosen]) + "\n", encoding="utf-8")
    assert silver(read(folder, tmp_path)).equals(silver(tables))


def flawed(tmp_path: Path, change: Callable[[bytes], bytes]) -> Path:
    folder = tmp_path / "flawed"
    folder.mkdir()
    data = (ASSETS / "all_dirt" / "all_dirt.csv").read_bytes()
    (folder / "flawed.csv").write_bytes(change(data))
    return folder


FLAWS: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "column_missing": (
        lambda d: d.replace(b"renta,", b"", 1),
        r"flawed.csv: header has 47 columns, expected the 48 .* missing \['renta'\]",
    ),
    "columns_shuffled": (lambda d: d.replace(b"sexo,age,", b"age,sexo,", 1), "flawed.csv: header has 48 columns"),
    "cut_in_a_line": (lambda d: d[:-20], r"flawed.csv: not a readable CSV file: .*25"),
    "latin_1": (lambda d: d.decode().replace("Ã‘", "Ñ").encode("latin-1"), "flawed.csv: not a readable CSV file"),
    "utf_16": (lambda d: d.decode().encode("utf-16"), "flawed.csv: the header is not UTF-8"),
    "no_rows": (lambda d: d.split(b"\n", 1)[0] + b"\n", "flawed.csv: found 0 rows under the header"),
    "no_date": (
        lambda d: d.replace(b"2015-01-28,1005", b"soon,1005", 1),
        "flawed.csv: fecha_dato in line 6 is 'soon', expected a date",
    ),
}


@pytest.mark.parametrize("flaw", FLAWS)
def test_flawed_file_is_refused_by_name(flaw: str, tmp_path: Path) -> None:
    change, message = FLAWS[flaw]
    with pytest.raises(SchemaError, match=message) as caught:
        read(flawed(tmp_path, change), tmp_path)
    assert "87218" not in str(caught.value)


def test_folder_without_csv_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match=r"found no \*.csv file"):
        santander.files(SOURCE, tmp_path)


def context(make_settings: Callable[..., Settings], folder: Path, **data: Any) -> RunContext:
    return RunContext.open(
        make_settings("santander", {"data": data} if data else None, source=folder), date(2015, 3, 2)
    )


def test_more_refused_rows_than_the_policy_allows_fail_the_load(make_settings: Callable[..., Settings]) -> None:
    with pytest.raises(SchemaError) as caught:
        ingest(context(make_settings, ASSETS / "all_dirt"))
    assert caught.value.message.startswith(
        "customer_snapshot 2015-01: 3 rows refused, share 0.200000, expected at most 0.0001;"
    )
    reason = "conflicting rows for one customer and month: 2 rows, first all_dirt.csv line 14"
    assert reason in caught.value.findings


def test_load_keeps_segments_apart_and_has_no_events(make_settings: Callable[..., Settings]) -> None:
    stage = ingest(context(make_settings, ASSETS / "all_dirt", max_quarantine_share=0.5))
    assert (stage.facts["customers"], stage.facts["rows"], stage.facts["events"]) == (14, 19, 0)
    assert stage.facts["quarantined"] == 4
    snapshot = pl.read_parquet(stage.path("customer_snapshot/2015-02-28.parquet"))
    assert "segment" not in snapshot.columns
    assert pl.read_parquet(stage.path("customer_segment.parquet")).height == 19
    assert pl.read_parquet(stage.path("transaction_event/2015-02.parquet")).is_empty()
    suites = {v["suite"] for v in json.loads(stage.path("dq_report.json").read_bytes())}
    assert "raw_snapshot" in suites
    manifest = pl.read_parquet(stage.path("ingest_manifest.parquet"))
    assert manifest.select("path", "rows").rows() == [("all_dirt.csv", 24)]


def test_raw_suite_stops_a_newest_month_with_an_impossible_flag(
    make_settings: Callable[..., Settings], tmp_path: Path
) -> None:
    folder = flawed(tmp_path, lambda d: d.replace(b",0,0,0\n2015-02-28,1017", b",0,0,7\n2015-02-28,1017", 1))
    with pytest.raises(SchemaError) as caught:
        ingest(context(make_settings, folder, max_quarantine_share=0.5))
    finding = next(f for f in caught.value.findings if f.check == "raw_snapshot.recibo")
    assert (finding.column, finding.value) == ("ind_recibo_ult1", "1 of 8 rows, first in row 6, e.g. 7")


@pytest.mark.parametrize(
    ("code", "name", "belongs"),
    [
        (15, "CORUÑA, A", True),
        (15, "CORUÃ‘A, A", True),
        (7, "BALEARS, ILLES", True),
        (3, "ALICANTE/ALACANT", True),
        (26, "RIOJA, LA", True),
        (28, "SEVILLA", False),
        (0, "MADRID", False),
    ],
)
def test_province_names_in_all_their_spellings(code: int, name: str, belongs: bool) -> None:
    assert provinces.belongs(code, name) is belongs


def test_policy_names_the_products_of_the_file_in_its_order() -> None:
    assert len(SOURCE.products) == len(santander.PRODUCT_COLUMNS) == 24
    shipped = settings.load("santander").data.suites["raw_snapshot"]["columns"].args["column_list"]
    assert shipped == santander.RAW_COLUMNS


def test_assets_are_not_the_test_of_themselves(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(ASSETS / "all_dirt", copy)
    data = (copy / "all_dirt.csv").read_text(encoding="utf-8").replace(",V, 23,", ",H, 23,")
    (copy / "all_dirt.csv").write_text(data, encoding="utf-8")
    changed = silver(read(copy, tmp_path))
    assert changed.filter(pl.col("customer_id") == "1002").get_column("sex").to_list() == ["F", "F"]
