"""Stage ``labels``: splits by time and customer, and the labels of all tasks, for every source by one code path.

1. cutoffs and their gap   2. split_assignment   3. one statement per label family (``sql/labels``)   4. viability:
tasks with too few labels are masked   5. suites   6. publish. Features never read what is written here but the
rows of split_assignment. Source: data.md 6, 7.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl

from pipeline_lib import sql
from pipeline_lib.canonical import digest
from pipeline_lib.errors import SettingsError
from pipeline_lib.expectations import stage
from pipeline_lib.ingest.duck import Duck, connect
from pipeline_lib.ingest.splits import BUCKETS, Cutoff, plan, plan_frame, require_gap
from pipeline_lib.ingest.viability import judge_tasks, rates
from pipeline_lib.runs import Out, RunContext, StageOutput
from pipeline_lib.settings import Settings

STAGE = "labels"

FAMILIES = (
    ("spine", "spine"),
    ("holding", "holding"),
    ("holding_change", "holding_change"),
    ("churn", "churn"),
    ("stability", "stability"),
    ("additions", "additions"),
    ("segment_label", "segment"),
    ("purchase", "purchase"),
    ("first_act", "first_act"),
    ("vocabulary", "vocabulary"),
    ("next_mcc", "next_mcc"),
    ("diversity", "diversity"),
    ("shift", "shift"),
    ("clip", "clip"),
    ("label_table", "label_table"),
)
"""Table -> statement under ``sql/labels``, in the order in which they need one another."""

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


@dataclass(frozen=True)
class Derived:
    """What the statements give, before any task is masked: all by cutoff_date, shuffle_key, customer_key."""

    assignment: pl.DataFrame
    labels: pl.DataFrame
    vocabulary: pl.DataFrame


def derive(settings: Settings, ingested: StageOutput, cutoffs: Sequence[Cutoff], scratch: Path) -> Derived:
    """Splits and labels of canonical tables: the only derivation there is, for every source.

    Args:
        cutoffs: the plan of ``splits.plan``.
        scratch: an empty folder to spill into.
    """
    with connect(scratch, settings.place.threads, _parameters(settings, ingested.facts)) as duck:
        _open_tables(duck, ingested)
        duck.register("plan", plan_frame(cutoffs, settings.data.splits))
        duck.table("assignment", "labels/split_assignment")
        for table, statement in FAMILIES:
            duck.table(table, f"labels/{statement}")
        return Derived(duck.rows("assignment"), duck.rows("label_table"), duck.rows("vocabulary"))


def _make(ctx: RunContext, ingested: StageOutput, scratch: Path, out: Out) -> None:
    settings, splits = ctx.settings, ctx.settings.data.splits
    cutoffs = plan(
        [date.fromisoformat(day) for day in ingested.facts["snapshots"]],
        date.fromisoformat(ingested.facts["loaded_through"]),
        step_months=splits.step_months,
        train_cutoffs=splits.train_cutoffs,
        min_history=splits.min_history_months,
    )
    gap = require_gap(cutoffs, splits.gap_days)
    derived = derive(settings, ingested, cutoffs, scratch)
    verdicts = _verdicts(settings, derived)
    masked = [name for name, verdict in verdicts.items() if verdict["status"] == "disabled"]
    labels = derived.labels.with_columns(pl.lit(None, dtype=derived.labels.schema[n]).alias(n) for n in masked)
    for name, table in (("split_assignment", derived.assignment), ("label_table", labels)):
        table.write_parquet(out.path(f"{name}.parquet", table.height), compression="zstd")
    stage.judge(ctx, STAGE, _frames(settings, derived.assignment, labels, scratch), out)
    out.facts |= {
        "tasks": verdicts,
        "cutoffs": _cutoffs_by_split(cutoffs),
        "gap_days": gap,
        "rows": dict(sorted(derived.assignment.group_by("split").len().iter_rows())),
        "status": dict(sorted(labels.group_by("label_status").len().iter_rows())),
        "label_version": _label_version(settings),
    }


def _verdicts(settings: Settings, derived: Derived) -> dict[str, dict[str, Any]]:
    key = ["customer_key", "cutoff_date"]
    return judge_tasks(
        derived.labels.join(derived.assignment.select(*key, "split"), on=key),
        settings.tasks.tasks,
        settings.source.tasks_absent_because,
        {
            "segment_prediction": SEGMENT_CLASSES,
            "nba_primary": settings.source.nba_classes,
            "next_mcc": derived.vocabulary.sort("class").get_column("code").to_list(),
        },
        settings.tasks.viability,
    )


def _frames(
    settings: Settings, assignment: pl.DataFrame, labels: pl.DataFrame, scratch: Path
) -> dict[str, pl.DataFrame]:
    """What the suites of this stage are shown."""
    splits = settings.data.splits
    buckets = {"train_buckets": splits.train_buckets, "val_buckets": splits.val_buckets}
    with connect(scratch, settings.place.threads, buckets) as duck:
        duck.register("assignment", assignment)
        duck.register("label_table", labels)
        return {
            "label_table": labels,
            "label_table.profile": duck.frame("labels/profile_label_table"),
            "label_table.rates": rates(labels, assignment, settings.tasks.tasks),
            "split_assignment": assignment,
            "split_assignment.profile": duck.frame("labels/profile_split_assignment"),
        }


def _parameters(settings: Settings, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Every named parameter of the statements; a statement takes those that it names."""
    splits, labels = settings.data.splits, settings.data.labels
    return {
        **splits.model_dump(include={"bucket_salt", "order_salt", "part_salt"}),
        **labels.model_dump(),
        "gate_buckets": round(splits.gate_share * BUCKETS),
        "loaded_through": date.fromisoformat(facts["loaded_through"]),
        "purchase_types": list(settings.source.purchase_types),
        "max_classes": settings.tasks.tasks["next_mcc"].classes,
        "label_version": _label_version(settings),
    }


def _label_version(settings: Settings) -> str:
    """16 hex of the statements and the policy: the same version means the same definition of every label."""
    statements = {name: sql.load(f"labels/{name}").digest for _, name in FAMILIES}
    policy = {name: str(value) for name, value in settings.data.labels.model_dump().items()}
    return digest({"statements": statements, "policy": policy})[:16]


def _open_tables(duck: Duck, ingested: StageOutput) -> None:
    for table, folder in (("snapshot", "customer_snapshot/"), ("event", "transaction_event/")):
        duck.view(table, [ingested.path(name) for name in ingested.names(folder)])
    duck.view("product", [ingested.path("dim_product.parquet")])
    duck.view("category", [ingested.path("dim_mcc.parquet")])
    if ingested.names("customer_segment.parquet"):
        duck.view("segment", [ingested.path("customer_segment.parquet")])
    else:
        schema = {"customer_key": pl.Int32, "snapshot_date": pl.Date, "segment": pl.String}
        duck.register("segment", pl.DataFrame(schema=schema))


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
