"""What the suites of ``ingest`` are shown: raw rows, the newest partitions, and a profile of all partitions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from pipeline_lib.expectations import stage, suites
from pipeline_lib.ingest.duck import connect
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
        duck.view("snapshot", list(snapshots))
        frames["customer_snapshot.profile"] = duck.frame("ingest/profile_customer_snapshot")
        if events:
            frames["transaction_event"] = pl.read_parquet(events[-1])
            duck.view("event", list(events))
            frames["transaction_event.profile"] = duck.frame("ingest/profile_transaction_event")
    stage.judge(ctx, "ingest", frames, out)
