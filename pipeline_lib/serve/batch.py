"""Challenger, champion and anchor on the gate's rows, scored by the code that serves.

One row per customer of part ``gate`` (its newest cutoff), answered as routed. The anchor is the version that served
13 weeks before the run: drift is read against it, the gate does not look at it. A run that was judged is not scored
again when the pointer has moved since: the verdict's evidence is replayed. Runs in a DAG task, not in the function.
The challenger's compiled models are asked beside LightGBM on some of the rows first: what differs is not judged.
"""

from __future__ import annotations

import logging
from array import array
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from pipeline_lib.business_time import promotion_moment
from pipeline_lib.canonical import digest
from pipeline_lib.errors import ContractError, ManifestMismatch, ObjectMissing, SignatureInvalid
from pipeline_lib.keys import KeyFolder
from pipeline_lib.registry import decisions, pointer, reigns, versions
from pipeline_lib.runs import Out, RunContext, StageOutput
from pipeline_lib.serve.bundle import open_bundle
from pipeline_lib.serve.kernel import LibraryFailed
from pipeline_lib.serve.layers import Models, Overrides, Row
from pipeline_lib.serve.oracle import require_lightgbms_scores
from pipeline_lib.serve.policy import open_models
from pipeline_lib.serve.predictor import Predictor
from pipeline_lib.serve.rules import Task

log = logging.getLogger(__name__)

KEYS = ("customer_key", "cutoff_date")
NOT_FEATURES = (*KEYS, "split", "part")
ASKED = 256
"""Rows the challenger's models and LightGBM both answer; a tree that was compiled wrongly shows on the first ones."""


def score(ctx: RunContext) -> StageOutput:
    """Score the challenger of this run, and the champion and the anchor if there are any.

    Raises:
        ManifestMismatch, SignatureInvalid: a version is not what was registered.
        ContractError: a compiled model of the challenger does not score as LightGBM does.
        GateCannotJudge: the registry cannot say who the champion is.
    """
    package, features, labels = ctx.read("package"), ctx.read("features"), ctx.read("labels")
    if (judged := _judged(ctx, package)) is not None:
        log.info("score: this package was judged already, its evidence is kept")
        return judged
    seen = pointer.read(ctx.objects, KeyFolder(ctx.settings.place.keys))
    anchor = anchor_of(ctx)
    predecessors = {"champion": f"{seen.version}@{seen.generation}", "anchor": f"{anchor}"}
    make = partial(_make, ctx, package, features, seen, anchor)
    return ctx.produce("score", make, [package, features, labels], predecessors)


def anchor_of(ctx: RunContext) -> str | None:
    """The version that served ``monitoring.successive.anchor_days`` before the run, or None."""
    then = ctx.logical_date - timedelta(days=ctx.settings.monitoring.successive.anchor_days)
    return reigns.champion_at(ctx.objects, promotion_moment(then))


def score_rows(models: Models, columns: Sequence[str], rows: pl.DataFrame) -> pl.DataFrame:
    """Served values of every row: ``s_<task>``, or ``s_<task>_<k>``; null where nothing is known.

    Args:
        columns: names of the raw features, in the order of ``rows``' feature columns.
    """
    names = tuple(columns)
    answered: list[list[float | None]] = []
    for values in rows.select(columns).iter_rows():
        row = Row(array("f", values), names, "")
        answers = models.answer(row, Overrides())
        answered.append([v for name, task in models.tasks.items() for v in _flat(task, answers[name].values)])
    fields = [field for task in models.tasks.values() for field in _fields(task)]
    scores = pl.DataFrame(answered, schema=dict.fromkeys(fields, pl.Float64), orient="row")
    return pl.concat([rows.select(KEYS), scores], how="horizontal")


def gate_rows(matrix: Path) -> pl.DataFrame:
    """One row per customer of part ``gate``: the newest cutoff, in the order of the feature tables."""
    rows = pl.scan_parquet(matrix).filter(pl.col("part") == "gate")
    newest = pl.col("cutoff_date") == pl.col("cutoff_date").max().over("customer_key")
    return rows.filter(newest).collect()


def _judged(ctx: RunContext, package: StageOutput) -> StageOutput | None:
    """The scores of a verdict that stands; a dry run is no verdict, and one that is over is decided afresh."""
    if not (ctx.has("gate") and ctx.has("score")):
        return None
    verdict, found = ctx.read("gate").facts, ctx.read("score")
    if verdict["mode"] == "dry_run" or decisions.over(ctx.objects, verdict["decision_id"]):
        return None
    return found if found.facts["challenger_manifest_sha256"] == package.facts["manifest_sha256"] else None


def _make(
    ctx: RunContext, package: StageOutput, features: StageOutput, seen: pointer.Seen, anchor: str | None, out: Out
) -> None:
    rows = gate_rows(features.path("feature_matrix.parquet"))
    columns = [name for name in rows.columns if name not in NOT_FEATURES]
    scored = {"challenger": str(package.facts["version"])}
    _require_lightgbms(ctx, scored["challenger"], columns, rows)
    if seen.version is not None:
        scored["champion"] = seen.version
    tables = {role: _scored(ctx, version, columns, rows) for role, version in scored.items()}
    old, why = _anchored(ctx, anchor, {scored[role]: table for role, table in tables.items()}, columns, rows)
    if old is not None:
        tables["anchor"] = old
    for role, table in tables.items():
        table.write_parquet(out.path(f"{role}.parquet", rows=table.height), compression="zstd")
    out.facts.update(
        challenger=scored["challenger"],
        challenger_manifest_sha256=package.facts["manifest_sha256"],
        champion=seen.version,
        champion_generation=seen.generation,
        anchor=anchor if old is not None else None,
        anchor_why=why,
        rows=rows.height,
        cutoff=str(rows["cutoff_date"].max()),
        bundle_digest=digest({role: version for role, version in scored.items()} | {"features": features.content_hash}),
    )


def _anchored(
    ctx: RunContext,
    version: str | None,
    known: Mapping[str, pl.DataFrame],
    columns: Sequence[str],
    rows: pl.DataFrame,
) -> tuple[pl.DataFrame | None, str | None]:
    """The anchor's scores, or why there are none: no verdict rests on them, so their absence stops nothing.

    Args:
        known: version -> its scores, of those that were scored already.
    """
    if version is None:
        return None, f"nothing served {ctx.settings.monitoring.successive.anchor_days} days before"
    try:
        return known[version] if version in known else _scored(ctx, version, columns, rows), None
    except (ManifestMismatch, SignatureInvalid, ObjectMissing, ContractError, LibraryFailed) as error:
        log.warning("score: the anchor %s cannot be scored: %s", version, error)
        return None, f"{version} cannot be scored: {type(error).__name__}"


def _scored(ctx: RunContext, version: str, columns: Sequence[str], rows: pl.DataFrame) -> pl.DataFrame:
    with versions.opened(ctx.objects, KeyFolder(ctx.settings.place.keys), version) as local:
        bundle = open_bundle(local.folder, local.package.sha256)
        return score_rows(open_models(bundle, Predictor.of(bundle), None), columns, rows)


def _require_lightgbms(ctx: RunContext, version: str, columns: Sequence[str], rows: pl.DataFrame) -> None:
    """Rows are spread over the table, whose order is the customers'."""
    some = rows.select(columns).gather_every(max(1, rows.height // ASKED)).head(ASKED)
    with versions.opened(ctx.objects, KeyFolder(ctx.settings.place.keys), version) as local:
        bundle = open_bundle(local.folder, local.package.sha256)
        asked = require_lightgbms_scores(bundle, Predictor.of(bundle), tuple(columns), some.rows())
    log.info("score: %d models of %s score %d rows as LightGBM does", asked, version, some.height)


def _fields(task: Task) -> list[str]:
    return [f"s_{task.name}_{k}" for k in range(len(task.classes))] if task.classes else [f"s_{task.name}"]


def _flat(task: Task, values: Sequence[float]) -> list[Any]:
    """One value per field; null when nothing is known, or when a rule answers in another shape than a score."""
    fields = len(_fields(task))
    return list(values) if len(values) == fields else [None] * fields
