"""The serving tables of a place: what the function may look up, by pseudonym.

``serving/<dataset>/feature_rows.sqlite`` is written whole and replaced atomically; ``state.sqlite`` (opt-outs,
switches, contact, suitability, stored answers) is created once, empty, and then belongs to oversight. They are
state of the place and no artefact of a run: pseudonyms depend on the pepper. A place with tables in DynamoDB gets the
same rows there, from that file (``dynamo_rows.py``). Source: serving.md 3 and 14.
"""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from pipeline_lib.canonical import digest
from pipeline_lib.contracts import rule_inputs
from pipeline_lib.errors import ObjectMissing, SwapLost
from pipeline_lib.items import FEATURES, SqliteItems, meta
from pipeline_lib.publish import dynamo_rows
from pipeline_lib.publish.baked import newest_snapshot, serving_schema_hash
from pipeline_lib.runs import RunContext, StageOutput, code_version

log = logging.getLogger(__name__)

KEYS = ("customer_key", "cutoff_date", "split", "part")
AGE_CUTS = (25, 35, 45, 55, 65)
"""Bands of the protected attribute, in whole years; the last is 65 and older."""
INCOME_TIERS = 5

FEATURE_TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, meta_id TEXT NOT NULL, body TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE feature_row (
    meta_id TEXT NOT NULL,
    subject_ref TEXT PRIMARY KEY, features BLOB NOT NULL, snapshot_date TEXT NOT NULL, held TEXT NOT NULL,
    age INTEGER, income REAL, protected TEXT NOT NULL, gates BLOB, rule_inputs TEXT,
    ood_distance REAL) WITHOUT ROWID;
"""
STATE_TABLES = """
CREATE TABLE optout (subject_ref TEXT PRIMARY KEY, fallback TEXT, since TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE kill_switch (id TEXT PRIMARY KEY, scope TEXT NOT NULL, target TEXT NOT NULL, fallback TEXT NOT NULL,
    active INTEGER NOT NULL, version INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE contact (subject_ref TEXT PRIMARY KEY, consent INTEGER NOT NULL, do_not_contact INTEGER NOT NULL,
    messages_7d INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE suitability (subject_ref TEXT PRIMARY KEY, tolerance INTEGER, assessed_at TEXT) WITHOUT ROWID;
CREATE TABLE idempotency (key TEXT PRIMARY KEY, request_digest TEXT NOT NULL, response TEXT NOT NULL,
    stored_at REAL NOT NULL) WITHOUT ROWID;
"""
FAIRNESS = """
CREATE TABLE IF NOT EXISTS fairness_state (id TEXT PRIMARY KEY, task TEXT NOT NULL, attribute TEXT NOT NULL,
    grp TEXT NOT NULL, state TEXT NOT NULL) WITHOUT ROWID;
"""
"""Written by the monitors: BREACH or MARGIN of one task (* = all) and group; also added to a state from before it."""


def export(ctx: RunContext) -> None:
    """Refresh the feature rows unless those there are newer or already these; create the state if it is missing.

    Runs of several weeks end with the rows of the newest, in whatever order or however close together they come.
    """
    create_state(ctx)
    _export_file(ctx)
    if ctx.settings.place.tables:
        dynamo_rows.copy(ctx)


def _export_file(ctx: RunContext) -> None:
    made_from = _made_from(ctx)
    if _is_kept(ctx, _there(ctx)[0], made_from):
        return
    with ctx.objects.scratch() as folder:
        path = folder / "feature_rows.sqlite"
        count = _write_rows(ctx, path, made_from)
        if _replaced(ctx, path.read_bytes(), made_from):
            log.info("serving rows: %d customers as of %s", count, ctx.logical_date)


def _replaced(ctx: RunContext, rows: bytes, made_from: str) -> bool:
    """Put the rows in place; whether they were still wanted."""
    while True:
        there, tag = _there(ctx)
        if _is_kept(ctx, there, made_from):
            return False
        try:
            ctx.objects.swap(_key(ctx, "feature_rows"), rows, tag)
        except SwapLost:  # a run of another week wrote in between: look again, it may be a newer one
            continue
        return True


def _is_kept(ctx: RunContext, there: Mapping[str, Any], made_from: str) -> bool:
    if there.get("made_from") == made_from:
        return True
    if there.get("as_of", "") <= ctx.logical_date.isoformat():
        return False
    log.info("serving rows are of %s, newer than %s: kept", there["as_of"], ctx.logical_date)
    return True


def _made_from(ctx: RunContext) -> str:
    stages = {stage: ctx.read(stage).content_hash for stage in ("ingest", "features", "teacher")}
    return digest({**stages, "as_of": ctx.logical_date.isoformat(), "code": code_version()})


def _write_rows(ctx: RunContext, path: Path, made_from: str) -> int:
    features, teacher = ctx.read("features"), ctx.read("teacher")
    schema = json.loads(features.path("schema.json").read_text(encoding="utf-8"))
    columns = [column["name"] for column in schema["columns"]]
    rows = _joined(ctx, features, columns)
    tasks, experts, gates = _gates(teacher)
    about = {
        "schema_hash": serving_schema_hash(schema),
        "columns": columns,
        "as_of": ctx.logical_date.isoformat(),
        "currency": ctx.settings.source.currency,
        "gate_tasks": tasks,
        "gate_experts": experts,
        "gates_as_of": ctx.logical_date.isoformat(),
        "made_from": made_from,
        **_limits(ctx, teacher),
    }
    with closing(sqlite3.connect(path)) as database, database:
        database.executescript(FEATURE_TABLES)
        meta_id = meta.named(str(about["as_of"]), made_from)
        database.executemany("INSERT INTO meta VALUES (:key, :meta_id, :body)", meta.items_of(meta_id, about))
        database.executemany(
            "INSERT INTO feature_row VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            ((meta_id, *row) for row in _rows(rows, columns, gates, _shorts(ctx))),
        )
    return rows.height


def _joined(ctx: RunContext, features: StageOutput, columns: Sequence[str]) -> pl.DataFrame:
    """Served customers with their pseudonym, raw features and newest snapshot; by pseudonym."""
    index = pl.read_parquet(ctx.objects.local_path(f"restricted/{ctx.dataset}/customer_index.parquet"))
    matrix = pl.scan_parquet(features.path("feature_matrix.parquet")).filter(pl.col("part") == "serve")
    matrix = matrix.select("customer_key", "cutoff_date", pl.concat_list(columns).alias("features"))
    snapshot = pl.read_parquet(newest_snapshot(ctx.read("ingest")))
    protected = _protected(snapshot, ctx.settings.source.protected)
    facts = snapshot.select("customer_key", "age", "income", *(f"prod_{short}" for short in _shorts(ctx))).with_columns(
        protected
    )
    rows = matrix.collect().join(facts, on="customer_key", how="left").join(index, on="customer_key", how="inner")
    measures = rule_inputs.table(ctx.read("ingest"), ctx.settings.source)
    for beside in (measures, _distances(ctx.read("teacher"))):
        rows = rows.join(beside, on="customer_key", how="left")
    return rows.with_columns(pl.col("rule_inputs").fill_null("{}")).sort("customer_digest")


def _rows(
    table: pl.DataFrame, columns: Sequence[str], gates: Mapping[int, bytes], shorts: Sequence[str]
) -> Iterator[tuple[Any, ...]]:
    for row in table.iter_rows(named=True):
        features = np.array(row["features"], dtype="<f4")
        assert len(features) == len(columns)
        yield (
            row["customer_digest"],
            features.tobytes(),
            row["cutoff_date"].isoformat(),
            json.dumps([short for short in shorts if row[f"prod_{short}"] == 1]),
            row["age"],
            row["income"],
            row["protected"],
            gates.get(row["customer_key"]),
            row["rule_inputs"],
            row["ood_distance"],
        )


def _gates(teacher: StageOutput) -> tuple[list[str], list[str], dict[int, bytes]]:
    """Tasks, experts, and per customer ``tasks x (experts + entropy)`` float32 of the newest cutoff."""
    table = pl.read_parquet(teacher.path("gate_weights.parquet"))
    table = table.filter(pl.col("cutoff_date") == pl.col("cutoff_date").max())
    beside = ("customer_key", "cutoff_date", "task", "entropy", "private_share", "lens")
    experts = [name for name in table.columns if name not in beside]
    tasks = table["task"].unique(maintain_order=True).to_list()
    packed: dict[int, bytes] = {}
    for (customer,), own in table.group_by(["customer_key"], maintain_order=True):
        if own["task"].to_list() == tasks:
            packed[int(str(customer))] = own.select(*experts, "entropy").to_numpy().astype("<f4").tobytes()
    return tasks, experts, packed


def _distances(teacher: StageOutput) -> pl.DataFrame:
    """customer_key, ood_distance of the newest cutoff; nobody where the teacher explained nothing."""
    if not teacher.names("explanations.parquet"):
        return pl.DataFrame(schema={"customer_key": pl.Int32, "ood_distance": pl.Float64})
    table = pl.scan_parquet(teacher.path("explanations.parquet"))
    newest = table.filter(pl.col("cutoff_date") == pl.col("cutoff_date").max())
    return newest.select("customer_key", ood_distance=pl.col("ood_score").cast(pl.Float64)).collect()


def _limits(ctx: RunContext, teacher: StageOutput) -> dict[str, str]:
    """The limits of the same distance, calibrated by the same teacher, and the day it looked at the rows."""
    if not teacher.names("checkpoint/explain.json"):
        return {}
    body = json.loads(teacher.path("checkpoint/explain.json").read_text(encoding="utf-8"))
    found = body.get("out_of_distribution") or {}
    limits = {"ood_flag": found.get("threshold"), "ood_override": found.get("override")}
    known = {name: repr(float(limit)) for name, limit in limits.items() if limit is not None}
    return {"ood_as_of": ctx.logical_date.isoformat(), **known}


def _protected(snapshot: pl.DataFrame, columns: Mapping[str, str]) -> pl.Series:
    """Coarse codes of the protected attributes the source has, as JSON text; what is missing is ``unknown``."""
    codes = {name: _coded(snapshot[column]) for name, column in sorted(columns.items())}
    lines = [json.dumps(dict(zip(codes, values, strict=True))) for values in zip(*codes.values(), strict=True)] or [
        "{}"
    ] * snapshot.height
    return pl.Series("protected", lines, dtype=pl.String)


def _coded(values: pl.Series) -> list[str]:
    if values.name == "age":
        return ["unknown" if v is None else _band(int(v)) for v in values]
    if values.name == "income":
        return _tiers(values)
    return ["unknown" if v is None else str(v) for v in values]


def _band(age: int) -> str:
    low = max((cut for cut in AGE_CUTS if age >= cut), default=0)
    high = min((cut for cut in AGE_CUTS if age < cut), default=None)
    return f"{low}+" if high is None else f"{low}-{high - 1}"


def _tiers(values: pl.Series) -> list[str]:
    """Fifths of the known incomes of the snapshot, 1 = lowest."""
    known = values.drop_nulls().sort()
    cuts = [float(known[len(known) * k // INCOME_TIERS]) for k in range(1, INCOME_TIERS)] if len(known) else []
    return ["unknown" if v is None else str(1 + sum(v >= cut for cut in cuts)) for v in values]


def _shorts(ctx: RunContext) -> list[str]:
    return [product.short for product in ctx.settings.source.products]


def create_state(ctx: RunContext) -> None:
    """The tables of oversight, empty; kept when they are there, or when another run creates them just now."""
    key = _key(ctx, "state")
    if ctx.objects.exists(key):
        _add_fairness(ctx, key)
        return
    with closing(sqlite3.connect(":memory:")) as database:
        database.executescript(STATE_TABLES + FAIRNESS)
        empty = database.serialize()
    try:
        ctx.objects.swap(key, empty, None)
    except SwapLost:
        log.info("serving state was created by another run")


def _add_fairness(ctx: RunContext, key: str) -> None:
    """A state from before the monitors' flags gets their table; without it every answer would wait for a person."""
    state, tag = ctx.objects.get_tagged(key)
    with closing(sqlite3.connect(":memory:")) as database:
        database.deserialize(state)
        before = database.execute("SELECT count(*) FROM sqlite_master WHERE name = 'fairness_state'").fetchone()
        if before == (1,):
            return
        database.executescript(FAIRNESS)
        state = database.serialize()
    try:
        ctx.objects.swap(key, state, tag)
    except SwapLost:
        log.warning("serving state was written just now: its table fairness_state is added by the next run")


def _there(ctx: RunContext) -> tuple[Mapping[str, Any], str | None]:
    """What is said about the feature rows that are there, and the tag that replaces exactly those."""
    try:
        data, tag = ctx.objects.get_tagged(_key(ctx, "feature_rows"))
    except ObjectMissing:
        return {}, None
    with ctx.objects.scratch() as folder:
        (folder / FEATURES).write_bytes(data)
        return meta.newest(SqliteItems(folder)) or {}, tag


def _key(ctx: RunContext, table: str) -> str:
    return f"serving/{ctx.dataset}/{table}.sqlite"


def refreshed_on(ctx: RunContext) -> date | None:
    """Date of the rows that serve now, or None when there are none."""
    as_of = _there(ctx)[0].get("as_of")
    return date.fromisoformat(as_of) if as_of else None
