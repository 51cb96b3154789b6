"""What the suites of ``ingest`` are shown: raw rows, the newest partitions (of events, a part) and profiles of all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from pipeline_lib.contracts.tables import ROW_GROUP_ROWS
from pipeline_lib.expectations import stage, suites
from pipeline_lib.ingest.duck import Duck, connect
from pipeline_lib.ingest.source_tables import SourceTables
from pipeline_lib.runs import Out, RunContext


def judge(
    ctx: RunContext, tables: SourceTables, snapshots: Sequence[Path], events: Sequence[Path], scratch: Path, out: Out
) -> None:
    """Judge bronze and silver tables; writes ``dq_report.json``.

    Args:
        snapshots, events: canonical files by date; ``events`` without empty months.

    Raises:
        SchemaError: a critical expectation failed.
    """
    frames = {suite: pl.read_parquet(tables.parts(f"raw/{suite}")) for suite in tables.months("raw")}
    frames["customer_snapshot"] = pl.read_parquet(snapshots[-1])
    frames["customer_snapshot.columns"] = suites.columns_of(frames["customer_snapshot"])
    with connect(scratch, ctx.settings.place.threads, {}) as duck:
        duck.view("snapshot", snapshots)
        frames["customer_snapshot.profile"] = duck.frame("ingest/profile_customer_snapshot")
        if events:
            # Rows lie by shuffle_key: the first ones are all events of some customers taken at random.
            frames["transaction_event"] = pl.read_parquet(events[-1], n_rows=ROW_GROUP_ROWS)
            frames["transaction_event.profile"] = _event_profile(duck, events)
    stage.judge(ctx, "ingest", frames, out)


def _event_profile(duck: Duck, events: Sequence[Path]) -> pl.DataFrame:
    """One row per month, counted a month at a time: what repeats in a month is the size of its events."""
    for number, path in enumerate(events):
        duck.view("event", [path])
        duck.fill("monthly", "ingest/profile_event_month", first=number == 0)
    duck.view("event", events)
    return duck.frame("ingest/profile_transaction_event")
