"""Stage ``labels``: splits by time and customer, and the labels of all tasks, for every source by one code path.

1. cutoffs and their gap   2. split_assignment   3. one statement per label family (``sql/labels``)   4. viability:
tasks with too few labels are masked   5. suites   6. publish. Features never read what is written here but the
rows of split_assignment. Source: data.md 6, 7.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl

from pipeline_lib.contracts.tables import ROW_GROUP_ROWS
from pipeline_lib.errors import SettingsError
from pipeline_lib.expectations import stage
from pipeline_lib.ingest.duck import connect
from pipeline_lib.ingest.label_families import derive, label_version
from pipeline_lib.ingest.splits import Cutoff, plan, require_gap
from pipeline_lib.ingest.viability import judge_tasks, rates
from pipeline_lib.runs import Out, RunContext, StageOutput
from pipeline_lib.settings import Settings

STAGE = "labels"

SEGMENT_CLASSES = ("TOP", "PARTICULARES", "UNIVERSITARIO")


def label(ctx: RunContext) -> StageOutput:
    """Assign customers to splits and derive the labels of the run's canonical tables.

    Raises:
        SettingsError: a task is neither derived nor explained by the source.
        ContractError: too few snapshots, or a gap between splits below the policy.
        SchemaError: a critical expectation on the labels failed.
    """
    ingested = ctx.read("ingest")
    _require_all_tasks(ctx.settings)

    def make(out: Out) -> None:
        with ctx.objects.scratch() as scratch:
            _make(ctx, ingested, scratch, out)

    return ctx.produce(STAGE, make, inputs=[ingested])


def _make(ctx: RunContext, ingested: StageOutput, scratch: Path, out: Out) -> None:
    settings = ctx.settings
    cutoffs, gap = _plan(settings, ingested)
    derived = derive(settings, ingested, cutoffs, scratch)
    labels = pl.read_parquet(derived.labels)
    verdicts = _verdicts(settings, labels, derived.vocabulary)
    masked = [name for name, verdict in verdicts.items() if verdict["status"] == "disabled"]
    labels = labels.with_columns(pl.lit(None, dtype=labels.schema[n]).alias(n) for n in masked)
    assignment = pl.read_parquet(derived.assignment)
    out.rows["split_assignment.parquet"] = assignment.height
    derived.assignment.rename(out.path("split_assignment.parquet"))
    table = labels.drop("shuffle_key", "split")
    table.write_parquet(
        out.path("label_table.parquet", table.height), compression="zstd", row_group_size=ROW_GROUP_ROWS
    )
    stage.judge(ctx, STAGE, _frames(settings, assignment, labels, scratch, out), out)
    out.facts |= {
        "tasks": verdicts,
        "cutoffs": _cutoffs_by_split(cutoffs),
        "gap_days": gap,
        "rows": dict(sorted(assignment.group_by("split").len().iter_rows())),
        "status": dict(sorted(labels.group_by("label_status").len().iter_rows())),
        "label_version": label_version(settings),
    }


def _plan(settings: Settings, ingested: StageOutput) -> tuple[list[Cutoff], int]:
    """The cutoffs of every split and the smallest gap between splits [d]."""
    splits = settings.data.splits
    cutoffs = plan(
        [date.fromisoformat(day) for day in ingested.facts["snapshots"]],
        date.fromisoformat(ingested.facts["loaded_through"]),
        step_months=splits.step_months,
        train_cutoffs=splits.train_cutoffs,
        min_history=splits.min_history_months,
    )
    return cutoffs, require_gap(cutoffs, splits.gap_days)


def _verdicts(settings: Settings, labels: pl.DataFrame, vocabulary: pl.DataFrame) -> dict[str, dict[str, Any]]:
    return judge_tasks(
        labels,
        settings.tasks.tasks,
        settings.source.tasks_absent_because,
        {
            "segment_prediction": SEGMENT_CLASSES,
            "nba_primary": settings.source.nba_classes,
            "next_mcc": vocabulary.sort("class").get_column("code").to_list(),
        },
        settings.tasks.viability,
    )


def _frames(
    settings: Settings, assignment: pl.DataFrame, labels: pl.DataFrame, scratch: Path, out: Out
) -> dict[str, pl.DataFrame]:
    """What the suites of this stage are shown: a sample of customers (rows lie by shuffle_key), and profiles of all."""
    splits = settings.data.splits
    buckets = {"train_buckets": splits.train_buckets, "val_buckets": splits.val_buckets}
    with connect(scratch, settings.place.threads, buckets) as duck:
        duck.view("assignment", [out.folder / "split_assignment.parquet"])
        duck.view("label_table", [out.folder / "label_table.parquet"])
        return {
            "label_table": labels.drop("shuffle_key", "split").head(ROW_GROUP_ROWS),
            "label_table.profile": duck.frame("labels/profile_label_table"),
            "label_table.rates": rates(labels.drop("split"), assignment, settings.tasks.tasks),
            "split_assignment": assignment.head(ROW_GROUP_ROWS),
            "split_assignment.profile": duck.frame("labels/profile_split_assignment"),
        }


def _cutoffs_by_split(cutoffs: Sequence[Cutoff]) -> dict[str, list[str]]:
    splits = dict.fromkeys(c.split for c in cutoffs)
    return {split: [c.cutoff_date.isoformat() for c in cutoffs if c.split == split] for split in splits}


def _require_all_tasks(settings: Settings) -> None:
    explained = {*settings.source.tasks, *settings.source.tasks_absent_because}
    known = set(settings.tasks.names())
    if explained != known:
        raise SettingsError(
            f"sources/{settings.source.name}.yaml: tasks neither derived nor absent with a reason "
            f"{sorted(known - explained)}, unknown tasks {sorted(explained - known)}"
        )
