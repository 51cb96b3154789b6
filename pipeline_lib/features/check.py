"""The two leakage checks that stop a run: ``check_tables`` after labels, ``check_features`` before training.

These functions read the artefacts; every rule is in ``contracts/leakage`` and sees plain values only.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import date

import polars as pl

from pipeline_lib.contracts import leakage
from pipeline_lib.contracts.leakage import Coverage, FileRange, TableSet, TrainingFrame
from pipeline_lib.errors import ContractError
from pipeline_lib.records import Finding
from pipeline_lib.runs import Out, RunContext, StageOutput
from pipeline_lib.settings import Settings

KEYS = ["customer_key", "cutoff_date"]
REPORT = "leakage_report.json"
COVERAGE = "coverage.json"
SOURCE_PREFIX = "source:"
NOT_LABELS = {*KEYS, "label_end_date", "label_status", "label_version"}


def check_tables(ctx: RunContext) -> StageOutput:
    """Judge splits, files, dates and label status.

    Raises:
        ContractError: nothing to judge.
        LeakageError: with every finding; the stage has no manifest then.
    """
    ingest, labels = ctx.read("ingest"), ctx.read("labels")

    def make(out: Out) -> None:
        tables = tables_of(ctx, ingest, labels)
        _report(out, *leakage.require_no_leakage_tables(tables, ctx.settings.leakage))

    return ctx.produce("check_tables", make, inputs=[ingest, labels])


def check_features(ctx: RunContext) -> StageOutput:
    """Judge features against labels, lineage and splits.

    Raises:
        ContractError: nothing to judge, or the artefacts do not hold the same rows.
        LeakageError: with every finding; the stage has no manifest then.
    """
    labels, features = ctx.read("labels"), ctx.read("features")

    def make(out: Out) -> None:
        frame = frame_of(ctx.settings, labels, features)
        _report(out, *leakage.require_no_leakage_frame(frame, ctx.settings.leakage))

    return ctx.produce("check_features", make, inputs=[labels, features])


def tables_of(ctx: RunContext, ingest: StageOutput, labels: StageOutput) -> TableSet:
    """Everything ``check_tables`` judges."""
    splits = ctx.settings.data.splits
    listed = pl.read_parquet(ingest.path("ingest_manifest.parquet"))
    return TableSet(
        name=f"{ctx.dataset} {ctx.logical_date} tables",
        logical_date=ctx.logical_date,
        newest_snapshot=date.fromisoformat(ingest.facts["newest_snapshot"]),
        gap_days=splits.gap_days,
        bucket_salt=splits.bucket_salt,
        order_salt=splits.order_salt,
        train_buckets=splits.train_buckets,
        val_buckets=splits.val_buckets,
        splits=pl.read_parquet(labels.path("split_assignment.parquet")),
        labels=pl.read_parquet(labels.path("label_table.parquet")),
        tasks=active_tasks(ctx.settings, labels),
        snapshots=_ranges(ingest, "customer_snapshot/", "snapshot_date"),
        events=_ranges(ingest, "transaction_event/", "event_ts"),
        read_files={
            name.removeprefix(SOURCE_PREFIX): digest
            for name, digest in ingest.manifest.inputs.items()
            if name.startswith(SOURCE_PREFIX)
        },
        listed_files=dict(zip(listed["path"], listed["sha256"], strict=True)),
        outputs=tuple(ingest.names()),
        columns=_columns(ingest),
    )


def frame_of(settings: Settings, labels: StageOutput, features: StageOutput) -> TrainingFrame:
    """Everything ``check_features`` judges.

    Raises:
        ContractError: the feature tables do not hold the rows of split_assignment in its order.
    """
    schema = json.loads(features.path("schema.json").read_bytes())
    names = [column["name"] for column in schema["columns"]]
    raw = pl.read_parquet(features.path("feature_matrix.parquet"))
    scaled = pl.read_parquet(features.path("x_norm.parquet"))
    sequences = pl.read_parquet(features.path("sequences.parquet"), columns=[*KEYS, "asof_gap"])
    rows = pl.read_parquet(labels.path("split_assignment.parquet"), columns=KEYS)
    for name, table in (("feature_matrix", raw), ("x_norm", scaled), ("sequences", sequences)):
        if not table.select(KEYS).equals(rows):
            raise ContractError(f"{name}: expected the {len(rows)} rows of split_assignment in order, found others")
    table = pl.read_parquet(labels.path("label_table.parquet"))
    labelled = rows.join(table, on=KEYS, how="left", maintain_order="left")
    return TrainingFrame(
        name=f"{features.manifest.dataset} {features.manifest.logical_date} features",
        keys=raw.select(*KEYS, "split", "part"),
        raw=raw.select(names).to_numpy(),
        scaled=scaled.select(names).to_numpy(),
        schema=schema,
        labels=labelled.select([name for name in labelled.columns if name not in NOT_LABELS]),
        tasks=active_tasks(settings, labels),
        asof_gap=sequences["asof_gap"].to_numpy(),
        opened=tuple(features.facts["opened"]),
        min_std=settings.features.min_std,
        clip_z=settings.features.clip_z,
    )


def active_tasks(settings: Settings, labels: StageOutput) -> dict[str, str]:
    """Task -> kind, of the tasks this run trains."""
    facts = labels.facts["tasks"]
    return {
        name: task.kind for name, task in settings.tasks.tasks.items() if facts.get(name, {}).get("status") == "active"
    }


def _ranges(ingest: StageOutput, folder: str, column: str) -> tuple[FileRange, ...]:
    return tuple(_range(ingest, name, column) for name in sorted(ingest.names(folder)))


def _range(ingest: StageOutput, name: str, column: str) -> FileRange:
    scan = pl.scan_parquet(ingest.path(name))
    if column not in scan.collect_schema():
        return FileRange(name, 0, None, None)
    values = pl.col(column)
    rows, oldest, newest = (
        scan.select(pl.len().alias("rows"), values.min().alias("a"), values.max().alias("b")).collect().row(0)
    )
    return FileRange(name, rows, oldest, newest)


def _columns(ingest: StageOutput) -> dict[str, tuple[str, ...]]:
    """Columns of every table of ingest; a folder of partitions is one table."""
    found: dict[str, tuple[str, ...]] = {}
    for name in ingest.names():
        if name.endswith(".parquet"):
            table = name.split("/")[0].removesuffix(".parquet")
            columns = pl.read_parquet_schema(ingest.path(name)).keys()
            found[table] = tuple(dict.fromkeys([*found.get(table, ()), *columns]))
    return found


def _report(out: Out, coverage: Coverage, found: Sequence[Finding]) -> None:
    rows = [{**asdict(f), "n": coverage.rows} for f in found]
    out.path(REPORT).write_text(json.dumps(rows, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    body = {**asdict(coverage), "checks": list(coverage.checks), "labels": list(coverage.labels)}
    out.path(COVERAGE).write_text(json.dumps(body, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    out.facts.update(
        warnings=[f"{f.check} {f.column}" + (f" against {f.label}" if f.label else "") for f in found],
        checks=len(coverage.checks),
        labels=list(coverage.labels),
        not_judged=dict(coverage.not_judged),
        columns=coverage.columns,
        rows=coverage.rows,
    )
