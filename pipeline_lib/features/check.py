"""The leakage checks that stop a run: ``check_tables`` after labels, ``check_features`` before training.

These functions read the artefacts; every rule is in ``contracts/leakage`` and sees plain values only.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from datetime import date

import polars as pl

from pipeline_lib.contracts import leakage
from pipeline_lib.contracts.leakage import Coverage, FileRange, TableSet, TrainingFrame
from pipeline_lib.expectations import stage as expectations
from pipeline_lib.expectations.feature_profile import SUITE, feature_profile
from pipeline_lib.features import leak_acks, leak_plots, leak_report
from pipeline_lib.features import leak_inputs as inputs
from pipeline_lib.features.check_worth import with_feature_checks
from pipeline_lib.features.diagram_files import DIAGRAMS, require_diagrams
from pipeline_lib.features.leak_inputs import KEYS
from pipeline_lib.features.matrix_files import matrix_of
from pipeline_lib.records import Finding
from pipeline_lib.runs import Out, RunContext, StageOutput
from pipeline_lib.settings import Settings

REPORT = "leakage_report.json"
PAGE = "leakage_report.html"
COVERAGE = "coverage.json"
SOURCE_PREFIX = "source:"
NOT_LABELS = {*KEYS, "label_end_date", "label_status", "label_version"}
Judged = tuple[Coverage, list[Finding]]


def check_tables(ctx: RunContext) -> StageOutput:
    """Judge splits, files, dates, label status and raw tables.

    Raises:
        ContractError: nothing to judge.
        LeakageError: with every finding; the stage has no manifest then.
    """
    ingest, labels = ctx.read("ingest"), ctx.read("labels")
    limits = ctx.settings.leakage

    def judge() -> Judged:
        tables = tables_of(ctx, ingest, labels)
        raw, skipped = inputs.raw_set_of(ctx.settings.source, ctx.settings.place.source, limits.raw.sample_rows)
        coverage, found = leakage.judge_tables(tables, limits, raw)
        return replace(coverage, not_judged={**coverage.not_judged, **skipped}), found

    return publish(ctx, "check_tables", judge, [ingest, labels], leak_plots.of_tables)


def check_features(ctx: RunContext) -> StageOutput:
    """Judge features against labels, lineage, splits and the way they were made, and the gold suite on their matrix.

    Raises:
        ContractError: nothing to judge, or the artefacts do not hold the same rows.
        SchemaError: a critical expectation on the matrix failed.
        LeakageError: with every finding; the stage has no manifest then.
    """
    ingest, labels, features = ctx.read("ingest"), ctx.read("labels"), ctx.read("features")

    def judge() -> Judged:
        frame = frame_of(ctx.settings, ingest, labels, features)
        judged = leakage.judge_frame(frame, ctx.settings.leakage)
        return with_feature_checks(judged, frame, features, ctx.settings.features.checks)

    def matrix(out: Out) -> None:
        paths = features.path("feature_matrix.parquet"), features.path("x_norm.parquet")
        schema = json.loads(features.path("schema.json").read_bytes())
        expectations.judge(ctx, "check_features", {SUITE: feature_profile(*paths, schema)}, out)

    return publish(ctx, "check_features", judge, [ingest, labels, features], leak_plots.of_frame, matrix)


def publish(
    ctx: RunContext,
    stage: str,
    judge: Callable[[], Judged],
    stages: Sequence[StageOutput],
    draw: Callable[..., dict[str, str]],
    before: Callable[[Out], None] = lambda out: None,
) -> StageOutput:
    """Judge, write the report, and refuse to finish when a finding stops the run.

    The report of a run that was stopped lies under ``work/``: a stage without a manifest has no outputs.
    """
    seen = leak_acks.acknowledged(ctx.objects, ctx.settings.config_hash)

    def make(out: Out) -> None:
        before(out)
        coverage, found = judge()
        pictures = draw(coverage.measures, ctx.settings.leakage)
        page = leak_report.page(coverage, found, seen, pictures).encode()
        if any(f.verdict in leakage.STOPS for f in found):
            ctx.objects.put(f"work/{ctx.dataset}/{ctx.logical_date}/{stage}/{PAGE}", page)
        leakage.require_no_leakage(coverage.name, found)
        out.path(PAGE).write_bytes(page)
        _report(out, coverage, found, seen)

    return ctx.produce(stage, make, inputs=stages, sources={"acknowledged": leak_acks.state_of(seen)})


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
        declared_rates=inputs.declared_rates_of(ctx.settings, inputs.dates_of(labels)),
        bookings=inputs.bookings_of(ingest),
    )


def frame_of(settings: Settings, ingest: StageOutput, labels: StageOutput, features: StageOutput) -> TrainingFrame:
    """Everything ``check_features`` judges.

    Raises:
        ContractError: the feature tables do not hold the rows of split_assignment in its order, or a bar of the
            diagrams is not one.
    """
    schema = json.loads(features.path("schema.json").read_bytes())
    names = [column["name"] for column in schema["columns"]]
    matrix, held = features.path("feature_matrix.parquet"), [n for n in names if n.startswith(inputs.HOLDING)]
    dates = inputs.dates_of(labels)
    rows = dates.select(KEYS)
    if schema["diagrams"]:
        require_diagrams(features.path(DIAGRAMS), schema["diagrams"], rows)
    raw = matrix_of(matrix, names, rows)
    table = pl.read_parquet(labels.path("label_table.parquet"))
    labelled = rows.join(table, on=KEYS, how="left", maintain_order="left")
    return TrainingFrame(
        name=f"{features.manifest.dataset} {features.manifest.logical_date} features",
        keys=pl.read_parquet(matrix, columns=[*KEYS, "split", "part"]).with_columns(dates["shuffle_key"]),
        raw=raw,
        scaled=matrix_of(features.path("x_norm.parquet"), names, rows),
        schema=schema,
        labels=labelled.select([name for name in labelled.columns if name not in NOT_LABELS]),
        tasks=active_tasks(settings, labels),
        asof_gap=matrix_of(features.path("sequences.parquet"), ["asof_gap"], rows)[:, 0],
        opened=tuple(features.facts["opened"]),
        min_std=settings.features.min_std,
        clip_z=settings.features.clip_z,
        fit_customers=settings.features.work.fit_customers,
        raw_columns=None if settings.source.generator else settings.source.raw,
        rechecks=inputs.rechecks_of(features),
        holdings=inputs.holdings_of(ingest, dates, pl.read_parquet(matrix, columns=held)),
        absent=dict(ingest.facts["unavailable"]),
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


def _report(out: Out, coverage: Coverage, found: Sequence[Finding], seen: leak_acks.Acks) -> None:
    opened = leak_acks.open_warnings(found, seen)
    rows = [{**asdict(f), "n": coverage.rows, "acknowledged": f.verdict == "WARN" and f not in opened} for f in found]
    out.path(REPORT).write_text(_json(rows), encoding="utf-8")
    out.path(COVERAGE).write_text(_json(asdict(coverage)), encoding="utf-8")
    out.facts.update(
        warnings=[_short(f) for f in found],
        open_warnings=[_short(f) for f in opened],
        checks=len(coverage.checks),
        labels=list(coverage.labels),
        not_judged=dict(coverage.not_judged),
        columns=coverage.columns,
        rows=coverage.rows,
    )


def _short(f: Finding) -> str:
    return f"{f.check} {f.column}" + (f" against {f.label}" if f.label else "")


def _json(body: object) -> str:
    return json.dumps(body, indent=1, sort_keys=True, allow_nan=False) + "\n"
