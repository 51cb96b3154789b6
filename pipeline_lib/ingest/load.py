"""Stage ``ingest``: one source's raw files become checked canonical tables.

1. find the adapter, digest the raw files   2. the adapter reads them into parts   3. keys in order of appearance
4. canonical tables, month by month         5. few refused rows, or stop           6. suites   7. restricted index
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path
from types import ModuleType

import polars as pl

from pipeline_lib.contracts.tables import CATEGORY, ROW_GROUP_ROWS
from pipeline_lib.errors import SchemaError, SettingsError
from pipeline_lib.ingest import canonical_frames as canonical
from pipeline_lib.ingest import quality, quarantine
from pipeline_lib.ingest.canonical_events import Events
from pipeline_lib.ingest.customer_keys import assign_keys, write_index
from pipeline_lib.ingest.duck import connect
from pipeline_lib.ingest.previous import named_when_refused
from pipeline_lib.ingest.source_tables import SourceTables
from pipeline_lib.keys import KeyFolder
from pipeline_lib.manifest import file_sha256
from pipeline_lib.runs import Out, RunContext, StageOutput
from pipeline_lib.settings.source import Product

STAGE = "ingest"


def ingest(ctx: RunContext) -> StageOutput:
    """Load the run's source up to its logical date.

    Raises:
        SettingsError: no adapter of that name, or the folder of raw files is missing.
        SchemaError: a raw file or a canonical table is not as declared; names file, row or key, found, expected.
        ContractError: customers would get other keys than an earlier run gave them.
    """
    source, folder = ctx.settings.source, ctx.settings.place.source
    adapter = _adapter(source.adapter)
    with named_when_refused(ctx, STAGE):
        files = {f"source:{path.name}": path for path in adapter.files(source, folder)}
    digests = {name: file_sha256(path) for name, path in files.items()}

    def make(out: Out) -> None:
        with ctx.objects.scratch() as scratch:
            tables = SourceTables(scratch)
            adapter.read(source, folder, ctx.logical_date, tables)
            keys = _canonical_tables(ctx, tables, scratch, out)
            _write(out, "ingest_manifest.parquet", _manifest(files, digests, tables.file_rows))
        pepper = KeyFolder(ctx.settings.place.keys).pepper()
        # A generated bank may be replaced by another one; a real bank's customers keep their keys for good.
        write_index(ctx.objects, ctx.dataset, keys, pepper, may_replace=source.origin == "synthetic")

    with named_when_refused(ctx, STAGE):
        return ctx.produce(STAGE, make, sources=digests)


def _canonical_tables(ctx: RunContext, tables: SourceTables, scratch: Path, out: Out) -> pl.DataFrame:
    """Write every table but the manifest; returns customer_id and customer_key."""
    source = ctx.settings.source
    shape = canonical.Shape([p.short for p in source.products], source.unavailable_columns)
    days = _days(tables, ctx.logical_date)
    keys = _keys(ctx, tables, days, scratch)
    categories = _write_dimensions(out, source.products, tables)
    snapshot_rows = {
        f"{day:%Y-%m}": _write(
            out,
            f"customer_snapshot/{day}.parquet",
            canonical.snapshot_frame(day, tables.parts(f"snapshot/{day}"), keys, shape),
        )
        for day in days
    }
    _write_segment(out, tables, days, keys)
    with connect(scratch, ctx.settings.place.threads, {}) as duck:
        duck.register("key", keys)
        duck.register("category", categories)
        events = Events(duck, tables, tables.event_origin or source.origin, ctx.logical_date, days)
        event_rows = {month: _write_events(out, month, events) for month in events.all}
    refused = quarantine.collected([*(pl.read_parquet(p) for p in tables.parts("quarantine")), *events.refused])
    quarantine.require_few(refused, snapshot_rows, event_rows, ctx.settings.data.max_quarantine_share)
    _write(out, "quarantine_row.parquet", refused.drop("month"))
    snapshots = [out.folder / f"customer_snapshot/{day}.parquet" for day in days]
    filled = [out.folder / f"transaction_event/{month}.parquet" for month in events.all if event_rows[month]]
    quality.judge(ctx, tables, snapshots, filled, scratch, out)
    out.facts |= {
        "snapshots": [day.isoformat() for day in days],
        "newest_snapshot": days[-1].isoformat(),
        "loaded_through": (ctx.logical_date - timedelta(days=1)).isoformat(),
        "rows": sum(snapshot_rows.values()),
        "customers": keys.height,
        "events": sum(event_rows.values()),
        "quarantined": refused.height,
        "repaired": dict(sorted(tables.counts.items())),
        "unavailable": dict(source.unavailable_columns),
    }
    return keys.select("customer_id", "customer_key")


def _days(tables: SourceTables, logical_date: date) -> list[date]:
    given = [date.fromisoformat(name) for name in tables.months("snapshot")]
    days = [day for day in given if day <= logical_date]
    if not days:
        first = f", the first is {given[0]}" if given else ""
        raise SchemaError(f"customer_snapshot: found no snapshot up to {logical_date}{first}; expected at least one")
    canonical.require_consecutive(days)
    return days


def _keys(ctx: RunContext, tables: SourceTables, days: list[date], scratch: Path) -> pl.DataFrame:
    """customer_id, customer_key, shuffle_key of every customer of these days."""
    keys = assign_keys({day: tables.parts(f"snapshot/{day}") for day in days})
    salt = ctx.settings.data.splits.order_salt
    with connect(scratch, ctx.settings.place.threads, {"order_salt": salt}) as duck:
        duck.register("keys", keys)
        return duck.frame("ingest/customer_order")


def _write_dimensions(out: Out, products: list[Product], tables: SourceTables) -> pl.DataFrame:
    schema = {
        "product_idx": pl.Int32,
        "short": pl.String,
        "meaning": pl.String,
        "nba_class": pl.Int32,
        "acquire_group": pl.String,
        "risk_grade": pl.Int32,
    }
    rows = [{"product_idx": i, **product.model_dump()} for i, product in enumerate(products)]
    _write(out, "dim_product.parquet", pl.DataFrame(rows, schema=schema))
    parts = tables.parts("dim_mcc")
    empty = pl.DataFrame(schema={c.name: c.dtype for c in CATEGORY})
    categories = pl.read_parquet(parts[-1]).sort("mcc_idx") if parts else empty
    _write(out, "dim_mcc.parquet", categories)
    return categories


def _write_segment(out: Out, tables: SourceTables, days: list[date], keys: pl.DataFrame) -> None:
    given = set(tables.months("segment"))
    frames = [
        pl.concat([pl.read_parquet(part) for part in tables.parts(f"segment/{day}")])
        .join(keys, on="customer_id", how="inner")
        .sort("shuffle_key", "customer_key")
        .select("customer_key", pl.lit(day).alias("snapshot_date"), "segment")
        for day in days
        if day.isoformat() in given
    ]
    if frames:
        _write(out, "customer_segment.parquet", pl.concat(frames))


def _write(out: Out, name: str, frame: pl.DataFrame) -> int:
    frame.write_parquet(out.path(name, frame.height), compression="zstd", row_group_size=ROW_GROUP_ROWS)
    return frame.height


def _write_events(out: Out, month: str, events: Events) -> int:
    name = f"transaction_event/{month}.parquet"
    out.rows[name] = events.write(month, out.path(name))
    return out.rows[name]


def _adapter(name: str) -> ModuleType:
    module = f"pipeline_lib.ingest.adapters.{name}"
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        raise SettingsError(f"source adapter {name!r}: no module {module}") from None


def _manifest(files: Mapping[str, Path], digests: Mapping[str, str], rows: Mapping[str, int]) -> pl.DataFrame:
    records = [
        {"path": path.name, "sha256": digests[name], "bytes": path.stat().st_size, "rows": rows.get(path.name)}
        for name, path in sorted(files.items())
    ]
    return pl.DataFrame(records, schema={"path": pl.String, "sha256": pl.String, "bytes": pl.Int64, "rows": pl.Int64})
