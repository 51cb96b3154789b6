"""Past weeks of a small bank: fabricated up to the students, real from the package to the verdict."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import yaml

from pipeline_lib import settings as settings_module
from pipeline_lib import signing
from pipeline_lib.audit import session
from pipeline_lib.gate import decide
from pipeline_lib.keys import KeyFolder
from pipeline_lib.monitor import successive
from pipeline_lib.publish import package, tables
from pipeline_lib.publish import release as releases
from pipeline_lib.registry import pointer, states
from pipeline_lib.runs import Out, RunContext
from pipeline_lib.serve import batch
from pipeline_lib.settings import Place
from tests.unit.serve import conftest as bank

CHAMPION = date(2026, 10, 12)
WEEKS = tuple(CHAMPION + timedelta(days=7 * k) for k in (1, 2, 3, 4))
POLICY = {
    "promotion": {"min_gate_rows": 30, "min_positives": 2, "min_powered_tasks": 1, "harm_test": False},
    "monitoring": {"drift": {"min_rows": 100}},
}
STAGES = ("package", "score", "drift", "gate")


def make_home(home: Path, weeks: Sequence[date] = WEEKS) -> Path:
    """A bank with a champion, and past weeks whose students are fitted and not yet packaged."""
    home.mkdir(parents=True, exist_ok=True)
    (home / "policy.yaml").write_text(yaml.safe_dump(POLICY))
    ctx = open_week(home, CHAMPION)
    keys = KeyFolder(ctx.settings.place.keys)
    keys.create_secrets(ctx.settings.audit.key_id)
    signing.create_keys(keys)
    for day in (CHAMPION, *weeks):
        _fabricate(open_week(home, day), keys)
    run_week(ctx, "evaluate")
    releases.publish(ctx)
    return home


def open_week(home: Path, day: date) -> RunContext:
    place = Place(dataset="synthetic", home=home, threads=1, overrides=home / "policy.yaml")
    return RunContext.open(settings_module.load("synthetic", place), day)


def run_week(ctx: RunContext, mode: decide.Mode = "dry_run", until: str = "gate") -> None:
    """The stages of one week from its package to ``until``; a whole week closes its record."""
    steps = {
        "package": lambda: package.package(ctx),
        "score": lambda: batch.score(ctx),
        "drift": lambda: successive.drift(ctx),
        "gate": lambda: decide.decide(ctx, mode),
    }
    for stage in STAGES[: STAGES.index(until) + 1]:
        steps[stage]()
    if until == STAGES[-1]:
        session.commit(ctx.settings)


def outcome(home: Path, day: date) -> dict[str, Any]:
    """Everything of a week that must not depend on the order: hashes, numbers, the bytes that people see."""
    ctx = open_week(home, day)
    version = ctx.read("package").facts["version"]
    gate = ctx.read("gate")
    judged = [
        {name: value for name, value in row.payload.items() if name != "salt"}  # random, so that rows stay erasable
        for row in session.rows(ctx.settings)
        if row.header["event"] == "gate_dry_run" and row.payload["object_id"] == version
    ]
    return {
        "manifests": {stage: ctx.read(stage).content_hash for stage in _finished(ctx)},
        "verdict": dict(gate.facts),
        "comparison.md": gate.path("comparison.md").read_bytes(),
        "package manifest": ctx.objects.get(f"registry/versions/{version}/manifest.json"),
        "drift.json": ctx.read("drift").path("drift.json").read_bytes(),
        "drift.png": ctx.read("drift").path("drift.png").read_bytes(),
        "record": judged,
    }


def _finished(ctx: RunContext) -> list[str]:
    prefix = f"runs/{ctx.dataset}/{ctx.logical_date}/"
    stages = [key.removeprefix(prefix).removesuffix("/manifest.json") for key in ctx.objects.list(prefix)]
    return [stage for stage in stages if "/" not in stage]


def serves(home: Path) -> dict[str, Any]:
    """What a backfill must leave alone, and the date of the rows that answers are given from."""
    ctx = open_week(home, CHAMPION)
    seen = pointer.read(ctx.objects, KeyFolder(ctx.settings.place.keys))
    return {
        "pointer": ctx.objects.get(pointer.KEY),
        "champion": {key: value for key, value in states.read(ctx.objects, str(seen.version)).items()},
        "live": (home / "releases" / "live.json").read_bytes(),
        "decisions": ctx.objects.list("registry/decisions"),
        "effects": ctx.objects.list("registry/effects"),
        "rows as of": tables.refreshed_on(ctx),
    }


def _fabricate(ctx: RunContext, keys: KeyFolder) -> None:
    """As the bank of the serving tests, with other customers' features and other students every week."""
    frame = _frame(ctx.logical_date)
    ingest = ctx.produce("ingest", lambda out: bank._ingest(ctx, out), sources={"day": ctx.logical_date.isoformat()})
    labels = ctx.produce("labels", lambda out: _labels(out, frame), [ingest])
    features = ctx.produce("features", lambda out: bank._features(out, frame), [labels])
    teacher = ctx.produce("teacher", lambda out: bank._teacher(out, frame), [features])
    students = [
        ctx.produce(f"student.{task}", lambda out, t=task: bank._student(out, t, _fit(ctx, frame)), [teacher])  # type: ignore[misc]
        for task in bank.STUDENTS
    ]
    ctx.produce("distill", lambda out: _distill(ctx, out), [labels, *students])
    bank._index(ctx, keys)


def _frame(day: date) -> pl.DataFrame:
    """Spending grows by two in a hundred a week."""
    weeks = (day - CHAMPION).days / 7
    return bank.matrix().with_columns((pl.col(n) * (1 + 0.02 * weeks)).cast(pl.Float32) for n in bank.NAMES[6:])


def _fit(ctx: RunContext, frame: pl.DataFrame) -> pl.DataFrame:
    """What students see: the champion's saw noise, so that any later one is better."""
    spread = 25.0 if ctx.logical_date == CHAMPION else 2.0
    random = np.random.default_rng(ctx.logical_date.toordinal())
    noise = {n: random.normal(0, spread, frame.height).astype(np.float32) for n in bank.NAMES}
    return frame.with_columns((pl.col(n) + pl.Series(values)).alias(n) for n, values in noise.items())


def _labels(out: Out, frame: pl.DataFrame) -> None:
    rows = frame.filter(pl.col("part") != "serve")
    x = rows.select(bank.NAMES).to_numpy().astype(np.float32)
    truth = {task: pl.Series(bank.targets(task, x)) for task in bank.STUDENTS}
    whole = {task: values.cast(pl.Int16) for task, values in truth.items() if bank.STUDENTS[task] != "regression"}
    table = rows.select("customer_key", "cutoff_date").with_columns(label_status=pl.lit("mature"), **{**truth, **whole})
    table.write_parquet(out.path("label_table.parquet", rows=table.height))
    out.facts.update(
        tasks={
            name: {"status": "active", "kind": kind, "classes": bank.CLASSES.get(name, [])}
            for name, kind in bank.STUDENTS.items()
        }
    )


def _distill(ctx: RunContext, out: Out) -> None:
    """Every distilled student passes, so that the competition is reached."""
    bank._distill(ctx, out)
    verdicts = {**out.facts["verdicts"], "will_acquire_deposits": "pass"}
    reports = {
        task: {"verdict": verdict, "metrics": {"kl": 0.05} if verdict == "pass" else {}}
        for task, verdict in verdicts.items()
    }
    out.path("fidelity.json").write_text(json.dumps({"tasks": reports}))
    out.facts.update(verdicts=verdicts, failed=[])
