"""The Santander product-recommendation set: monthly customer snapshots as CSV, 48 columns, 24 products.

Every ``*.csv`` of the folder is read (one file with all months, or a file per month), as text first; the typing rules
and every known kind of dirt are in ``sql/ingest/santander_*.sql``. A month never is in Python's memory.

There are no events in this set: without a folder ``events`` the event tables stay empty. Generated ones may lie there,
as ``events/*.parquet`` of contract B; they are stamped ``origin = synthetic``. Source: data.md 2 and 4.
"""

from __future__ import annotations

import tempfile
from datetime import date
from pathlib import Path

import duckdb
import polars as pl

from pipeline_lib.business_time import utc_now
from pipeline_lib.contracts.tables import EVENT_TYPES, PROFILE, QUARANTINE, product_column
from pipeline_lib.errors import SchemaError
from pipeline_lib.ingest import readers
from pipeline_lib.ingest.adapters import provinces
from pipeline_lib.ingest.duck import Duck, connect
from pipeline_lib.ingest.source_tables import SourceTables, category_table
from pipeline_lib.ingest.synthetic import frames
from pipeline_lib.settings.source import Source

PROFILE_COLUMNS = (
    "fecha_dato ncodpers ind_empleado pais_residencia sexo age fecha_alta ind_nuevo antiguedad indrel ult_fec_cli_1t "
    "indrel_1mes tiprel_1mes indresi indext conyuemp canal_entrada indfall tipodom cod_prov nomprov "
    "ind_actividad_cliente renta segmento"
).split()
PRODUCT_CODES = (
    "ahor_fin aval_fin cco_fin cder_fin cno_fin ctju_fin ctma_fin ctop_fin ctpp_fin deco_fin deme_fin dela_fin "
    "ecue_fin fond_fin hip_fin plan_fin pres_fin reca_fin tjcr_fin valo_fin viv_fin nomina nom_pens recibo"
).split()
PRODUCT_COLUMNS = [f"ind_{code}_ult1" for code in PRODUCT_CODES]
RAW_COLUMNS = [*PROFILE_COLUMNS, *PRODUCT_COLUMNS]
"""The header of every file, in this order. Source: data.md 2."""

EVENT_FOLDER = "events"
EVENT_COLUMNS: dict[str, pl.DataType] = {
    "event_id": pl.String(),
    "ncodpers": pl.Int64(),
    "event_ts": pl.Datetime("us"),
    "event_type": pl.String(),
    "mcc": pl.Int32(),
    "merchant_id": pl.String(),
    "amount": pl.Decimal(12, 2),
    "channel": pl.String(),
}
"""Columns of the event files. Source: data.md 4."""

RAW_SUITE = "raw_snapshot"
SAMPLE_ROWS = 100_000
"""About as many raw rows of the newest month are shown to the row-level suite."""
REPAIRS = {
    "copies": "exact duplicate rows: collapsed",
    "age_out_of_range": "age: outside 18..100 to null",
    "joined_in_future": "fecha_alta: after the snapshot, ignored",
    "active_missing": "is_active: null to 0",
    "new_missing": "is_new_customer: null to 1 below six months of history, else 0",
    "blank_flags": "product flags: blank to 0",
}


def files(source: Source, folder: Path | None) -> list[Path]:
    """Every CSV of the folder, by name, with its header checked, then the event files, if there are any."""
    base = readers.required_folder(source.name, folder)
    found = sorted(base.glob("*.csv"))
    if not found:
        raise SchemaError(f"{base.name}/: found no *.csv file, expected the monthly snapshots")
    for path in found:
        _require_header(path)
    return [*found, *_event_files(base)]


def read(source: Source, folder: Path | None, logical_date: date, out: SourceTables) -> None:
    """Snapshots and segments of every month up to ``logical_date``, and events where there are files of them."""
    base = readers.required_folder(source.name, folder)
    snapshots = [path for path in files(source, folder) if path.suffix == ".csv"]
    with tempfile.TemporaryDirectory(dir=out.folder) as name, connect(Path(name), 1, {}) as duck:
        parts = [_split_by_month(duck, path, Path(name) / f"{i:04d}", out) for i, path in enumerate(snapshots)]
        months: dict[date, list[Path]] = {}
        for day, part in sorted(pair for pairs in parts for pair in pairs):
            months.setdefault(day, []).append(part)
        due = {day: paths for day, paths in months.items() if day <= logical_date}
        if due:
            duck.view("raw", [path for paths in due.values() for path in paths])
            duck.table("first_seen", "ingest/santander_first_seen")
        for day, paths in due.items():
            rows = _add_month(duck, source, day, paths, out)
            if day == max(due):
                sample = duck.frame("ingest/santander_sample", every=-(-rows // SAMPLE_ROWS))
                out.add_raw(RAW_SUITE, sample.select(RAW_COLUMNS))
        if events := _event_files(base):
            _add_events(duck, events, out)


def _require_header(path: Path) -> None:
    with open(path, "rb") as file:
        line = file.readline()
    try:
        header = line.decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise SchemaError(f"{path.name}: the header is not UTF-8 as expected: found {error}") from None
    names = [name.strip('"') for name in header.split(",")]
    if names != RAW_COLUMNS:
        missing = [n for n in RAW_COLUMNS if n not in names]
        extra = [n for n in names if n not in RAW_COLUMNS]
        raise SchemaError(
            f"{path.name}: header has {len(names)} columns, expected the {len(RAW_COLUMNS)} of the contract in its "
            f"order; missing {missing}, not in the contract {extra[:5]}"
        )


def _split_by_month(duck: Duck, path: Path, folder: Path, out: SourceTables) -> list[tuple[date, Path]]:
    """The file as text, one Parquet part per month."""
    try:
        duck.write_by(
            "fecha_dato",
            folder,
            "ingest/santander_file",
            path=str(path),
            name=path.name,
            columns=dict.fromkeys(RAW_COLUMNS, "VARCHAR"),
        )
    except duckdb.Error as error:
        # DuckDB quotes the offending line, which belongs to a customer: keep what it says about where and why.
        said = [line for line in str(error).splitlines() if line and "Original Line" not in line]
        raise SchemaError(f"{path.name}: not a readable CSV file: {' '.join(said[:3])}") from None
    found: list[tuple[date, Path]] = []
    rows = 0
    for part in sorted(folder.rglob("*.parquet")):
        stamp = part.parent.name.removeprefix("fecha_dato=")
        rows += pl.scan_parquet(part, hive_partitioning=False).select(pl.len()).collect().item()
        found.append((_day(path, stamp, part), part))
    if not rows:
        raise SchemaError(f"{path.name}: found 0 rows under the header, expected at least 1")
    out.file_rows[path.name] = rows
    return found


def _day(path: Path, stamp: str, part: Path) -> date:
    today, day = utc_now().date(), _date(stamp)
    if day is None or day > today:
        lines = pl.read_parquet(part, columns=["line_no"], hive_partitioning=False).get_column("line_no").sort()
        found, expected = f"fecha_dato in line {lines[0]} is {stamp!r}", "expected a date like 2015-01-28"
        raise SchemaError(f"{path.name}: {found}, {expected}, not after {today}")
    return day


def _date(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def _add_month(duck: Duck, source: Source, day: date, paths: list[Path], out: SourceTables) -> int:
    """One month's accepted and refused rows; returns how many raw rows there were."""
    duck.view("raw_month", paths)
    duck.table("clean", "ingest/santander_clean")
    duck.table("typed", "ingest/santander_typed", day=day)
    duck.table("refused", "ingest/santander_refused")
    raw = duck.frame("ingest/santander_raw_text").with_columns(month=pl.lit(f"{day:%Y-%m}"))
    if raw.height:
        out.add_quarantine(raw.select(pl.col(c.name).cast(c.dtype) for c in QUARANTINE))
    shorts = dict(zip(PRODUCT_COLUMNS, (product_column(p.short) for p in source.products), strict=True))
    profile = ["customer_id", *(c.name for c in PROFILE)]
    for rows in duck.batches("ingest/santander_kept"):
        out.add_snapshot(day, rows.rename(shorts).select(*profile, *shorts.values()))
        out.add_segment(day, rows.select("customer_id", "segment"))
    return _count_repairs(duck, out)


def _count_repairs(duck: Duck, out: SourceTables) -> int:
    found = duck.frame("ingest/santander_repairs").row(0, named=True)
    for column, what in REPAIRS.items():
        out.counts[what] += found[column]
    names = duck.frame("ingest/santander_province_name").iter_rows()
    wrong = sum(count for code, name, count in names if not provinces.belongs(code, name))
    out.counts["province: name does not belong to the code, code kept"] += wrong
    return int(found["raw_rows"])


def _event_files(base: Path) -> list[Path]:
    return sorted((base / EVENT_FOLDER).glob("*.parquet"))


def _add_events(duck: Duck, paths: list[Path], out: SourceTables) -> None:
    """Generated events beside the real snapshots, a batch at a time."""
    categories = category_table(frames.categories())
    out.set_categories(categories)
    out.event_origin = "synthetic"
    duck.register("category", categories)
    for path in paths:
        found = dict(readers.parquet_schema(path))
        if found != EVENT_COLUMNS:
            raise SchemaError(f"{EVENT_FOLDER}/{path.name}: found columns {found}, expected {EVENT_COLUMNS}")
        duck.view("raw_event", [path])
        out.file_rows[path.name] = 0
        for rows in duck.batches("ingest/santander_event"):
            _require_known(path, rows)
            out.file_rows[path.name] += rows.height
            for (month,), part in rows.group_by(pl.col("event_ts").dt.strftime("%Y-%m"), maintain_order=True):
                out.add_events(str(month), part)


def _require_known(path: Path, rows: pl.DataFrame) -> None:
    """Raises SchemaError naming the first event whose category or type no table knows."""
    for column, bad, expected in (
        ("mcc", pl.col("mcc_idx").is_null(), "a code of dim_mcc, or 0"),
        ("event_type", ~pl.col("event_type").is_in(EVENT_TYPES), f"one of {list(EVENT_TYPES)}"),
    ):
        wrong = rows.filter(bad)
        if wrong.height:
            event = wrong.get_column("event_id")[0]
            raise SchemaError(
                f"{EVENT_FOLDER}/{path.name}: {column} is unknown in {wrong.height} events, first in {event}; "
                f"expected {expected}"
            )
