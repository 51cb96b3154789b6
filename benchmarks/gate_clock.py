"""How long a verdict takes, from the stage's call to its durable row, and beside what a bootstrap would take."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import polars as pl
from sklearn.metrics import roc_auc_score

from benchmarks.gate_law import SHAPES, Law, draw
from pipeline_lib import settings, signing
from pipeline_lib.audit import session
from pipeline_lib.gate import evidence, trial
from pipeline_lib.gate.evidence import Tables
from pipeline_lib.keys import KeyFolder
from pipeline_lib.registry import versions
from pipeline_lib.runs import Out
from pipeline_lib.settings import Place
from tests.unit.gate.promotion_world import BINARY, CLASSES, REGRESSION, Tweaks, World

NAMES = dict(zip(SHAPES, (*BINARY, *CLASSES, *REGRESSION), strict=True))
"""Task of the law -> task of the policy."""
PARTS: Mapping[str, tuple[Any, str]] = {
    "verify packages": (versions, "verify"),
    "collect the bundle": (evidence, "collect"),
    "measure and compare": (trial, "judge"),
    "audit append": (session, "record_once"),
}
RESAMPLES = 200


@dataclass
class Timed:
    seconds: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    parts: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in PARTS})

    def row(self, name: str, rows: int) -> str:
        """One line of the table."""
        ordered = sorted(self.seconds)
        late = ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]
        whole = [statistics.median(ordered), late, statistics.median(self.cpu)]
        cells = " ".join(f"{value:>9.3f}" for value in [*whole, *(statistics.median(v) for v in self.parts.values())])
        share = statistics.median(self.parts["audit append"]) / whole[0]
        return f"{name:<12} {rows:>7} {len(ordered):>5} {cells} {share:>7.0%}"


COLUMNS = ("median", "p95", "CPU", *(name.split()[0] for name in PARTS))
HEAD = f"{'set':<12} {'rows':>7} {'runs':>5} " + " ".join(f"{name:>9}" for name in COLUMNS) + f" {'audit':>7}"


def named(tables: Tables) -> Tables:
    """The law's tasks under the names of the policy's."""

    def renamed(table: pl.DataFrame) -> pl.DataFrame:
        fits = {}
        for column in table.columns:
            for task, name in NAMES.items():
                if column.removeprefix("s_") == task or column.removeprefix("s_").startswith(f"{task}_"):
                    fits[column] = column.replace(task, name)
        return table.rename(fits).with_columns(cutoff_date=pl.lit(date(2026, 9, 30)))

    return Tables(renamed(tables.challenger), renamed(tables.champion), renamed(tables.labels))


def of_bank(home: Path) -> Tables:
    """The newest bundle of a finished bank, beside a champion that scores it a little differently."""
    folder = max((home / "store" / "registry" / "evidence").iterdir(), key=lambda path: path.stat().st_mtime)
    challenger, labels = (pl.read_parquet(folder / f"{name}.parquet") for name in ("challenger", "labels"))
    random = np.random.default_rng(1)
    scores = [column for column in challenger.columns if column.startswith("s_")]
    noise = {c: challenger[c] * pl.Series(random.normal(1, 0.05, challenger.height)) for c in scores}
    return Tables(challenger, challenger.with_columns(**noise), labels)


def clock(tables: Tables, runs: int) -> Timed:
    """Judge the same rows ``runs`` times, each time as another week's challenger in a bank of its own."""
    timed = Timed()
    with bank() as (world, tmp):
        world.bootstrap(tmp, _like(tables))
        for _ in range(runs):
            world.next_week()
            world.package(_like(tables), tmp)
            _present(world, tables)
            with _watched(timed):
                began, used = time.perf_counter(), time.process_time()
                world.judge()
                timed.seconds.append(time.perf_counter() - began)
                timed.cpu.append(time.process_time() - used)
    return timed


def bootstrap_seconds(tables: Tables, resamples: int) -> tuple[float, int]:
    """What sklearn's AUC with a paired customer bootstrap takes [s], and how many resamples were really drawn."""
    random, rows = np.random.default_rng(0), tables.rows
    binary = [task for task in BINARY if task in tables.labels.columns and f"s_{task}" in tables.challenger.columns]
    truth = {task: tables.labels[task].cast(pl.Float64).fill_null(0).to_numpy() for task in binary}
    sides = [{task: side[f"s_{task}"].to_numpy() for task in binary} for side in (tables.champion, tables.challenger)]
    began = time.perf_counter()
    for _ in range(resamples):
        drawn = random.integers(0, rows, rows)
        for task in binary:
            for side in sides:
                roc_auc_score(truth[task][drawn], side[task][drawn])
    return (time.perf_counter() - began) * RESAMPLES / resamples, resamples


def simulated(rows: int) -> Tables:
    return named(draw(Law(rows), np.random.default_rng(rows)))


@contextmanager
def bank() -> Iterator[tuple[World, Path]]:
    """A bank on this machine's disk: its appends wait for the disk."""
    with tempfile.TemporaryDirectory() as folder:
        tmp = Path(folder)
        layer = tmp / "layer.yaml"
        layer.write_text("promotion: {min_gate_rows: 500, min_positives: 25}\n")
        policy = settings.load("synthetic", Place(dataset="synthetic", home=tmp / "home", threads=1, overrides=layer))
        keys = KeyFolder(policy.place.keys)
        keys.create_secrets(policy.audit.key_id)
        signing.create_keys(keys)
        yield World(policy), tmp


def _like(tables: Tables) -> Tweaks:
    """A package whose tasks have the class lists of these rows; what has no scores is answered by rules."""
    columns = tables.challenger.columns
    counts = {task: sum(c.startswith(f"s_{task}_") for c in columns) for task in CLASSES}
    absent = [task for task in (*BINARY, *REGRESSION) if f"s_{task}" not in columns or _unknown(tables, f"s_{task}")]
    absent += [task for task, count in counts.items() if not count or _unknown(tables, f"s_{task}_0")]
    return Tweaks(classes={task: count for task, count in counts.items() if count}, by_rules=tuple(absent))


def _unknown(tables: Tables, column: str) -> bool:
    return tables.challenger[column].null_count() > 0


def _present(world: World, tables: Tables) -> None:
    """The rows as this week's stages leave them."""
    seen, mature = world.seen, pl.lit("mature").alias("label_status")

    def scores(out: Out) -> None:
        for name in ("challenger", "champion"):
            getattr(tables, name).write_parquet(out.path(f"{name}.parquet"), compression="zstd")
        out.facts |= {"champion": seen.version, "champion_generation": seen.generation, "bundle_digest": "b"}

    def labels(out: Out) -> None:
        tables.labels.with_columns(mature).write_parquet(out.path("label_table.parquet"))

    made_for = {"for": str(world.monday)}
    world.ctx.produce("labels", labels, sources=made_for)
    world.ctx.produce("score", scores, [world.ctx.read("package")], made_for)


@contextmanager
def _watched(timed: Timed) -> Iterator[None]:
    """Note what the parts of one verdict take."""
    spent = dict.fromkeys(PARTS, 0.0)

    def watch(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*given: Any, **named: Any) -> Any:
            began = time.perf_counter()
            try:
                return call(*given, **named)
            finally:
                spent[name] += time.perf_counter() - began

        return watched

    patches = [mock.patch.object(at, what, watch(name, getattr(at, what))) for name, (at, what) in PARTS.items()]
    for patch in patches:
        patch.start()
    try:
        yield
    finally:
        for patch in patches:
            patch.stop()
        for name, seconds in spent.items():
            timed.parts[name].append(seconds)
