"""The two stages: what they publish, and that a leak leaves no manifest."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from pipeline_lib.contracts.leakage import judge_frame, judge_tables, require_no_leakage
from pipeline_lib.errors import ContractError, LeakageError
from pipeline_lib.features.check import check_features, check_tables
from pipeline_lib.features.plants.run import LOGICAL_DATE, small_settings
from pipeline_lib.runs import Out, RunContext, StageOutput


def with_stage(small: RunContext, folder: Path, stage: str, name: str, change) -> RunContext:
    """A run whose file ``name`` of ``stage`` is changed; the other stages are copied as they are."""
    ctx = RunContext.open(small_settings(folder), LOGICAL_DATE)
    done: list[StageOutput] = []
    for each in ("ingest", "labels", "features"):
        source = small.read(each)

        def make(out: Out, source: StageOutput = source, each: str = each) -> None:
            for file in source.names():
                data = source.path(file).read_bytes()
                if (each, file) == (stage, name):
                    change(source.path(file), out.path(file))
                else:
                    out.path(file).write_bytes(data)
            out.facts.update(source.facts)

        origins = {"source:bank.csv": source.manifest.inputs["source:bank.csv"]} if each == "ingest" else {}
        done.append(ctx.produce(each, make, inputs=done, sources=origins))
    return ctx


def test_a_clean_run_publishes_report_and_coverage(small):
    for stage in (check_tables(small), check_features(small)):
        report = json.loads(stage.path("leakage_report.json").read_bytes())
        assert all(row["verdict"] == "WARN" for row in report)
        coverage = json.loads(stage.path("coverage.json").read_bytes())
        assert len(coverage["checks"]) == stage.facts["checks"] > 10
        assert coverage["labels"] == list(small.settings.tasks.tasks)


def test_a_leak_in_the_tables_stops_the_run_and_leaves_no_manifest(small, tmp_path):
    def no_gap(source: Path, target: Path) -> None:
        rows = pl.read_parquet(source)
        first = rows.filter(pl.col("split") == "val")["cutoff_date"].min()
        date = pl.when(pl.col("split") == "train").then(pl.lit(first)).otherwise(pl.col("label_date"))
        rows.with_columns(date.alias("label_date")).write_parquet(target)

    ctx = with_stage(small, tmp_path, "labels", "split_assignment.parquet", no_gap)
    with pytest.raises(LeakageError, match=r"L07 FAIL: cutoff_date: gap in days = 0, limit >= 28"):
        check_tables(ctx)
    assert not ctx.has("check_tables")


def test_a_label_among_the_features_stops_the_run(small, tmp_path):
    labels = pl.read_parquet(small.read("labels").path("label_table.parquet"))

    def copied(source: Path, target: Path) -> None:
        """Holdings of the label month instead of the cutoff: here, the label itself in the column of a product."""
        rows = pl.read_parquet(source)
        label = labels.select("customer_key", "cutoff_date", "will_acquire_accounts")
        found = rows.join(label, on=["customer_key", "cutoff_date"], how="left", maintain_order="left")
        leak = pl.col("will_acquire_accounts").cast(pl.Float32).fill_null(pl.col("hold_checking"))
        found.with_columns(leak.alias("hold_checking")).drop("will_acquire_accounts").write_parquet(target)

    ctx = with_stage(small, tmp_path, "features", "feature_matrix.parquet", copied)
    with pytest.raises(LeakageError, match="L01 FAIL: hold_checking against will_acquire_accounts") as caught:
        check_features(ctx)
    assert not ctx.has("check_features")
    page = ctx.objects.get(f"work/{ctx.dataset}/{ctx.logical_date}/check_features/leakage_report.html")
    assert b"hold_checking" in page
    assert pickle.loads(pickle.dumps(caught.value)).findings == caught.value.findings


def test_all_findings_are_on_the_error(small, tables):
    broken = replace(tables, outputs=("stray.parquet",), read_files={"other.csv": "0"})
    _, found = judge_tables(broken, small.settings.leakage)
    with pytest.raises(LeakageError) as caught:
        require_no_leakage("tables", found)
    assert {f.column for f in caught.value.findings} == {"stray.parquet", "other.csv"}


def test_feature_rows_in_another_order_are_refused(small, tmp_path):
    def reversed_rows(source: Path, target: Path) -> None:
        pl.read_parquet(source).reverse().write_parquet(target)

    ctx = with_stage(small, tmp_path, "features", "x_norm.parquet", reversed_rows)
    with pytest.raises(ContractError, match="x_norm: expected the .* rows of split_assignment in order"):
        check_features(ctx)


def test_nothing_to_check_is_a_failure(small, tables, frame):
    limits = small.settings.leakage
    with pytest.raises(ContractError, match="0 active tasks"):
        judge_tables(replace(tables, tasks={}), limits)
    with pytest.raises(ContractError, match="0 features"):
        judge_frame(replace(frame, schema={**frame.schema, "columns": []}), limits)


def test_a_label_too_rare_to_judge_stops_the_run(small, frame):
    few = pl.Series("will_acquire_accounts", [1] * 10 + [None] * (len(frame.keys) - 10), dtype=pl.Int16)
    _, found = judge_frame(replace(frame, labels=frame.labels.with_columns(few)), small.settings.leakage)
    with pytest.raises(LeakageError, match="UNJUDGED: all features against will_acquire_accounts: rows = "):
        require_no_leakage("features", found)


def test_an_inactive_task_is_listed_as_not_judged(small, frame):
    tasks = {name: kind for name, kind in frame.tasks.items() if name != "churn_signal"}
    coverage, _ = judge_frame(replace(frame, tasks=tasks), small.settings.leakage)
    assert "churn_signal" in coverage.not_judged


def test_warnings_do_not_stop_the_run(small, tables):
    jumped = (replace(tables.snapshots[0], rows=10), *tables.snapshots[1:])
    coverage, found = judge_tables(replace(tables, snapshots=jumped), small.settings.leakage)
    require_no_leakage("tables", found)
    assert {(f.check, f.verdict) for f in found} >= {("L20", "WARN")}
    assert coverage.rows == len(tables.splits)


def test_holdings_joined_by_position_stop_the_run(small, tmp_path):
    """The holdings of the next row: right column, right month, another customer."""

    def shifted(source: Path, target: Path) -> None:
        rows = pl.read_parquet(source)
        rows.with_columns(pl.col("^hold_.*$").shift(1, fill_value=0)).write_parquet(target)

    ctx = with_stage(small, tmp_path, "features", "feature_matrix.parquet", shifted)
    with pytest.raises(LeakageError) as caught:
        check_features(ctx)
    assert ("L22", "holdings (train)") in {(f.check, f.column) for f in caught.value.findings}


def test_holdings_of_the_label_month_stop_the_run(small, tmp_path):
    dates = pl.read_parquet(small.read("labels").path("split_assignment.parquet"))

    def later(source: Path, target: Path) -> None:
        rows = pl.read_parquet(source)
        held = [name for name in rows.columns if name.startswith("hold_")]
        products = [name.replace("hold_", "prod_") for name in held]
        names = small.read("ingest").names("customer_snapshot/")
        then = pl.concat(
            pl.read_parquet(small.read("ingest").path(name), columns=["customer_key", "snapshot_date", *products])
            for name in names
        ).rename(dict(zip(products, held, strict=True)))
        keys = rows.select("customer_key").with_columns(snapshot_date=dates["label_date"])
        found = keys.join(then, on=["customer_key", "snapshot_date"], how="left", maintain_order="left")
        new = found.select(pl.col(held).cast(pl.Float32))
        rows.with_columns(*(new[name].fill_null(rows[name]) for name in held)).write_parquet(target)

    ctx = with_stage(small, tmp_path, "features", "feature_matrix.parquet", later)
    with pytest.raises(LeakageError) as caught:
        check_features(ctx)
    assert ("L06", "holdings (train)") in {(f.check, f.column) for f in caught.value.findings}


def test_a_feature_stage_that_made_no_row_again_stops_the_run(small, frame):
    _, found = judge_frame(replace(frame, rechecks=()), small.settings.leakage)
    unjudged = {(f.check, f.statistic) for f in found if f.verdict == "UNJUDGED"}
    assert unjudged == {("L21", "rows made again"), ("L23", "rows made again")}
