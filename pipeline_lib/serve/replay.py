"""Logged answers asked again: what champion and challenger would have shown, by the code that serves.

The context is the recorded one: the feature row with the recorded hash, the channel, the messages, the day, the
switches, and the candidates that passed suitability. A candidate the record does not have (dropped before the score, or
not in that package) cannot be judged. Runs in a DAG task, not in the function. Source: promotion.md 10.
"""

from __future__ import annotations

import hashlib
import logging
from array import array
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from pipeline_lib.business_time import SEOUL
from pipeline_lib.contracts import rule_inputs
from pipeline_lib.keys import KeyFolder
from pipeline_lib.objects import Objects
from pipeline_lib.registry import versions
from pipeline_lib.runs import Out, RunContext, StageOutput
from pipeline_lib.serve import slate, transform
from pipeline_lib.serve.batch import NOT_FEATURES
from pipeline_lib.serve.bundle import open_bundle
from pipeline_lib.serve.decide import scores
from pipeline_lib.serve.layers import Overrides, Row
from pipeline_lib.serve.policy import Policy
from pipeline_lib.serve.predictor import Predictor
from pipeline_lib.serve.slate import Exploration
from pipeline_lib.serve.tables import Contact
from pipeline_lib.settings import Settings

log = logging.getLogger(__name__)

TABLE = "replay.parquet"
SCHEMA = {"prediction_id": pl.String, "product_id": pl.String, "champion": pl.Float64, "challenger": pl.Float64}
ROLES = ("champion", "challenger")
ASKED = ("usable", "not_drawn")
"""States of logged answers that are asked again."""
SLICE = 50_000
"""Feature rows looked at together."""
Context = tuple[Row, Mapping[str, float]]
"""A served feature row, and what rules read beside it."""


@dataclass
class Replayed:
    """Probabilities of being rank 1, one row for each candidate of each replayed answer."""

    rows: pl.DataFrame
    counts: dict[str, int] = field(default_factory=dict)
    """asked, replayed, context_gone (no run has the feature row any more), other_columns (a model reads others)."""


def replay(ctx: RunContext) -> StageOutput:
    """Stage ``replay``: the answers of stage ``logged`` by the champion and the challenger of stage ``score``."""
    logged, scored = ctx.read("logged"), ctx.read("score")
    roles = {"champion": scored.facts["champion"], "challenger": scored.facts["challenger"]}
    return ctx.produce("replay", partial(_make, ctx, logged, roles), [logged, scored])


def replay_rows(objects: Objects, settings: Settings, roles: Mapping[str, str], asked: pl.DataFrame) -> Replayed:
    """Replay the answers that models gave and that were delivered, drawn or not.

    Args:
        roles: champion and challenger -> version. asked: ``logged.parquet``.

    Raises:
        ManifestMismatch, SignatureInvalid: a version is not what was registered.
        ObjectMissing: there is no such version.
    """
    wanted = asked.filter(pl.col("state").is_in(ASKED))
    if wanted.is_empty():
        return Replayed(pl.DataFrame(schema=SCHEMA), {"asked": 0, "replayed": 0, "context_gone": 0, "other_columns": 0})
    found = _contexts(objects, settings, wanted)
    with ExitStack() as stack:
        policies = {role: stack.enter_context(_opened(objects, settings, roles[role])) for role in ROLES}
        return _replayed(policies, found, wanted)


def probabilities(
    policy: Policy, row: Row, asked: Mapping[str, Any], measures: Mapping[str, float] | None = None
) -> dict[str, float]:
    """Item -> probability of being rank 1 in one logged context, had this package answered; 0 below its limits.

    Args:
        measures: what rules read beside the row then. The tolerance for risk is not in the log, so not here.
    """
    known = set(asked["items"])
    candidates = [item for item in policy.items if item.item_id in known and not policy.suitability.out_of_scope(item)]
    switched = {one["task"]: one["reason"] for one in asked["switched"]}
    given = {**(measures or {}), "month": float(_seoul_day(asked).month)}
    answers = policy.models.answer(row, Overrides(None, switched), given)
    contact = None if asked["messages_7d"] is None else Contact(True, False, int(asked["messages_7d"]))
    features = transform.named(row.values, row.columns)
    scored, _, churn = scores(policy, asked["channel"], contact, features, answers, candidates, _seoul_day(asked))
    kept, _ = slate.ranked(scored, churn, policy.serving["filters"])
    chances = slate.propensities(kept, Exploration.of(policy.serving))
    shown = {item.item_id: p for (item, _), p in zip(kept, chances, strict=True)}
    return {item: shown.get(item, 0.0) for item in asked["items"]}


def _make(ctx: RunContext, logged: StageOutput, roles: Mapping[str, Any], out: Out) -> None:
    asked = pl.read_parquet(logged.path("logged.parquet"))
    found = replay_rows(ctx.objects, ctx.settings, roles, asked if all(roles.values()) else asked.clear())
    found.rows.write_parquet(out.path(TABLE, rows=found.rows.height), compression="zstd")
    out.facts.update(**roles, **found.counts)
    log.info("replay: %s", found.counts)


def _replayed(policies: Mapping[str, Policy], found: Mapping[str, Context], wanted: pl.DataFrame) -> Replayed:
    counts = {"asked": wanted.height, "replayed": 0, "context_gone": 0, "other_columns": 0}
    rows: list[tuple[str, str, float, float]] = []
    for asked in wanted.iter_rows(named=True):
        row, measures = found.get(asked["feature_hash"], (None, {}))
        if row is None:
            counts["context_gone"] += 1
        elif any(tuple(p.models.bundle.policy["features"]["columns"]) != row.columns for p in policies.values()):
            counts["other_columns"] += 1
        else:
            counts["replayed"] += 1
            champion, challenger = (probabilities(policies[role], row, asked, measures) for role in ROLES)
            rows += [(asked["prediction_id"], item, champion[item], challenger[item]) for item in asked["items"]]
    return Replayed(pl.DataFrame(rows, schema=SCHEMA, orient="row"), counts)


@contextmanager
def _opened(objects: Objects, settings: Settings, version: str) -> Iterator[Policy]:
    with versions.opened(objects, KeyFolder(settings.place.keys), version) as local:
        bundle = open_bundle(local.folder, local.package.sha256)
        yield Policy.open(bundle, Predictor.of(bundle), None)


def _contexts(objects: Objects, settings: Settings, wanted: pl.DataFrame) -> dict[str, Context]:
    """Feature hash -> its row and the measures beside it, from the runs whose rows may have been served then, newest
    first.
    """
    hashes = set(wanted["feature_hash"].drop_nulls().to_list())
    served = wanted["served_at"].dt.date()
    oldest = served.min() - timedelta(days=settings.serving.feature.hard_max_age_d + 1)  # type: ignore[operator]
    found: dict[str, Context] = {}
    for day in _feature_days(objects, settings.source.name):
        if oldest <= day <= served.max() + timedelta(days=1) and found.keys() != hashes:  # type: ignore[operator]
            run = RunContext(settings, day, objects)
            rows = _hashed(run.read("features"), hashes - found.keys())
            measures = (
                rule_inputs.by_customer(run.read("ingest"), settings.source) if rows and run.has("ingest") else {}
            )
            found |= {key: (row, measures.get(customer, {})) for key, (customer, row) in rows.items()}
    return found


def _feature_days(objects: Objects, dataset: str) -> list[date]:
    """Dates of the runs with finished features, newest first."""
    parts = (key.split("/") for key in objects.list(f"runs/{dataset}"))
    days = {p[2] for p in parts if len(p) == 5 and p[3:] == ["features", "manifest.json"]}
    return sorted((date.fromisoformat(day) for day in days), reverse=True)


def _hashed(features: StageOutput, wanted: set[str]) -> dict[str, tuple[int, Row]]:
    """Feature hash -> customer key and row."""
    matrix = pq.ParquetFile(features.path("feature_matrix.parquet"))
    columns = tuple(name for name in matrix.schema_arrow.names if name not in NOT_FEATURES)
    found = {}
    for batch in matrix.iter_batches(SLICE, columns=["part", "customer_key", *columns]):
        served = pl.DataFrame(batch).filter(pl.col("part") == "serve")
        values = np.ascontiguousarray(served.select(columns).to_numpy(), dtype=np.float32)
        for customer, row in zip(served["customer_key"], values, strict=True):
            if (key := hashlib.sha256(row.tobytes()).hexdigest()) in wanted:
                found[key] = customer, Row(array("f", row.tobytes()), columns, "")
    return found


def _seoul_day(asked: Mapping[str, Any]) -> date:
    served: datetime = asked["served_at"]
    return served.replace(tzinfo=UTC).astimezone(SEOUL).date()
