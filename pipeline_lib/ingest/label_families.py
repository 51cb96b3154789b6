"""Splits and labels by one statement per family, a slice of customers at a time: the only derivation there is.

What a family computes from one customer's own rows is made slice by slice (a slice is a range of shards, so that it
reads only its row groups); what needs everybody, a train frequency or a quantile, is made from the small tables that
the slices leave. Memory is bounded by a slice, whatever the number of customers. Source: data.md 6, 7.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from pipeline_lib import sql
from pipeline_lib.canonical import digest
from pipeline_lib.contracts.tables import SHARDS
from pipeline_lib.ingest.duck import Duck, connect
from pipeline_lib.ingest.splits import BUCKETS, Cutoff, plan_frame
from pipeline_lib.runs import StageOutput
from pipeline_lib.settings import Settings

OF_A_SLICE = (
    ("slice", "slice"),
    ("spine", "spine"),
    ("holding", "holding"),
    ("holding_change", "holding_change"),
    ("added", "added"),
    ("churn", "churn"),
    ("stability", "stability"),
    ("segment_label", "segment"),
    ("purchase", "purchase"),
    ("first_act", "first_act"),
    ("diversity", "diversity"),
    ("shift", "shift"),
)
KEPT = ("spine", "added", "churn", "stability", "segment_label", "first_act", "diversity", "shift")
OF_ALL = (
    ("additions", "additions"),
    ("vocabulary", "vocabulary"),
    ("next_mcc", "next_mcc"),
    ("clip", "clip"),
)
"""Table -> statement under ``sql/labels``, in the order in which they need one another; KEPT outlive their slice."""

LABEL_TABLE = "label_table"
SLICE_CUSTOMERS = 40_000


@dataclass(frozen=True)
class Derived:
    """What the statements give, before any task is masked; rows by shuffle_key, customer_key, cutoff_date."""

    assignment: Path
    """``split_assignment``."""
    labels: Path
    """``label_table``, with split and shuffle_key of each row."""
    vocabulary: pl.DataFrame


def derive(settings: Settings, ingested: StageOutput, cutoffs: Sequence[Cutoff], scratch: Path) -> Derived:
    """Splits and labels of canonical tables, for every source.

    Args:
        cutoffs: the plan of ``splits.plan``.
        scratch: an empty folder: the results and what the statements spill lie in it.
    """
    parameters = _parameters(settings, ingested.facts)
    assignment, labels = scratch / "assignment.parquet", scratch / "labels.parquet"
    with connect(scratch, settings.place.threads, parameters) as duck:
        _open_small(duck, ingested)
        snapshots = [ingested.path(name) for name in ingested.names("customer_snapshot/")]
        events = _events(ingested, cutoffs, settings.data.labels.recent_days)
        duck.register("plan", plan_frame(cutoffs, settings.data.splits))
        duck.view("snapshot", snapshots)
        duck.write(assignment, "labels/split_assignment")
        duck.view("assignment", [assignment])
        for number, shards in enumerate(_slices(int(ingested.facts["customers"]))):
            duck.view("snapshot", snapshots, shards)
            duck.view("event", events, shards)
            for table, statement in OF_A_SLICE:
                duck.table(table, f"labels/{statement}", first_shard=shards[0], last_shard=shards[1])
            for table in KEPT:
                duck.save(table, scratch / table / f"{number:04d}.parquet")
    with connect(scratch, settings.place.threads, parameters) as duck:
        _open_small(duck, ingested)
        for table in KEPT:
            duck.view(table, sorted((scratch / table).glob("*.parquet")))
        for table, statement in OF_ALL:
            duck.table(table, f"labels/{statement}")
        duck.write(labels, f"labels/{LABEL_TABLE}")
        return Derived(assignment, labels, duck.rows("vocabulary"))


def label_version(settings: Settings) -> str:
    """16 hex of the statements and the policy: the same version means the same definition of every label."""
    names = [*(name for _, name in (*OF_A_SLICE, *OF_ALL)), LABEL_TABLE]
    statements = {name: sql.load(f"labels/{name}").digest for name in names}
    policy = {name: str(value) for name, value in settings.data.labels.model_dump().items()}
    return digest({"statements": statements, "policy": policy})[:16]


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
        "label_version": label_version(settings),
    }


def _slices(customers: int) -> Iterator[tuple[int, int]]:
    """First and last shard of every slice. How many there are changes no label."""
    count = min(SHARDS, -(-customers // SLICE_CUSTOMERS))
    for number in range(count):
        yield number * SHARDS // count, (number + 1) * SHARDS // count - 1


def _open_small(duck: Duck, ingested: StageOutput) -> None:
    duck.view("product", [ingested.path("dim_product.parquet")])
    duck.view("category", [ingested.path("dim_mcc.parquet")])
    if ingested.names("customer_segment.parquet"):
        duck.view("segment", [ingested.path("customer_segment.parquet")])
    else:
        schema = {"customer_key": pl.Int32, "snapshot_date": pl.Date, "segment": pl.String}
        duck.register("segment", pl.DataFrame(schema=schema))


def _events(ingested: StageOutput, cutoffs: Sequence[Cutoff], recent_days: int) -> list[Path]:
    """Files of the months that a label looks at: from the recent days of the first cutoff to the last label date."""
    first = min(c.cutoff_date for c in cutoffs) - timedelta(days=recent_days)
    last = max(c.label_date for c in cutoffs if c.label_date)
    names = ingested.names("transaction_event/")
    return [ingested.path(n) for n in names if f"{first:%Y-%m}" <= Path(n).stem <= f"{last:%Y-%m}"]
