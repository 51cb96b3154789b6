"""Plant every leak into a clean run of a small bank and see which check stops it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import NamedTuple

from pipeline_lib import settings
from pipeline_lib.contracts import leakage
from pipeline_lib.contracts.leakage import TableSet, TrainingFrame
from pipeline_lib.features.build import build
from pipeline_lib.features.check import frame_of, tables_of
from pipeline_lib.features.plants import leaky_raw, leaky_scores
from pipeline_lib.features.plants.leaky_frames import BINARY, CLASSES, FRAME_PLANTS, REGRESSION, SEGMENT
from pipeline_lib.features.plants.leaky_makers import MAKER_PLANTS
from pipeline_lib.features.plants.leaky_tables import TABLE_PLANTS
from pipeline_lib.features.plants.world import World, make_world
from pipeline_lib.records import Finding
from pipeline_lib.runs import RunContext
from pipeline_lib.settings import Place, Settings
from pipeline_lib.settings.leakage import Leakage

DATASET = "synthetic"
LOGICAL_DATE = date(2026, 11, 23)
SMALL = World(customers=700, months=13, events_per_month=14.0)
CLEAN = "nothing planted"
PLANTED = (BINARY, CLASSES, REGRESSION, SEGMENT)
"""Labels that leaks are planted for; the clean twin is judged with all."""


ABOUT_LABELS = {"L01", "L05", "L10", "L11", "L29"}


GROUPS = (
    "demographics", "relationship", "product_holdings", "txn_behavior", "derived_temporal", "economics", "txn_rolling",
    "mcc_multihot", "product_history_multihot",
)  # fmt: skip


class PlantResult(NamedTuple):
    plant: str
    check: str
    verdict: str
    """CAUGHT, MISSED; PASSED or ACCUSED for the clean twin."""
    message: str


def run_plants() -> list[PlantResult]:
    """One row per planted leak, after a row for each of the clean twins."""
    with tempfile.TemporaryDirectory() as folder:
        ctx = small_run(Path(folder))
        tables, frame = clean_twins(ctx)
        return judge_plants(tables, frame, ctx.settings.leakage)


def small_run(home: Path) -> RunContext:
    """A run of the small bank with features, made under ``home``."""
    ctx = RunContext.open(small_settings(home), LOGICAL_DATE)
    make_world(ctx, SMALL)
    build(ctx)
    return ctx


def small_settings(home: Path) -> Settings:
    """The policy, with the groups that leaks are planted into: 500 train rows cannot carry 400 columns."""
    loaded = settings.load(DATASET, Place(dataset=DATASET, home=home, threads=1))
    groups = {name: group for name, group in loaded.features.groups.items() if name in GROUPS}
    return loaded.model_copy(update={"features": loaded.features.model_copy(update={"groups": groups})})


def clean_twins(ctx: RunContext) -> tuple[TableSet, TrainingFrame]:
    ingest, labels, features = (ctx.read(stage) for stage in ("ingest", "labels", "features"))
    frame = frame_of(ctx.settings, ingest, labels, features)
    return tables_of(ctx, ingest, labels), frame


def judge_plants(tables: TableSet, frame: TrainingFrame, limits: Leakage) -> list[PlantResult]:
    raw = leaky_raw.honest()
    clean = (
        ("tables", leakage.table_findings(tables, limits)),
        ("features", leakage.frame_findings(frame, limits)),
        ("raw tables", leakage.raw_findings(raw, limits)),
        ("scores", leakage.score_findings(leaky_scores.HONEST, limits)),
    )
    return [_clean(what, found) for what, found in clean] + list(_leaky(tables, frame, limits))


def _leaky(tables: TableSet, frame: TrainingFrame, limits: Leakage) -> Iterator[PlantResult]:
    for one in TABLE_PLANTS:
        yield _planted(
            one.name, one.check, one.statistic, one.verdict, leakage.table_findings(one.plant(tables), limits)
        )
    one_label, few_labels = (replace(frame, tasks={n: frame.tasks[n] for n in names}) for names in ((BINARY,), PLANTED))
    for leak in (*FRAME_PLANTS, *MAKER_PLANTS):
        clean = few_labels if leak.check in ABOUT_LABELS else one_label
        found = leakage.frame_findings(leak.plant(clean), limits)
        yield _planted(leak.name, leak.check, leak.statistic, leak.verdict, found)
    for trap in leaky_raw.RAW_PLANTS:
        found = leakage.raw_findings(trap.plant(leaky_raw.honest()), limits)
        yield _planted(trap.name, trap.check, trap.statistic, trap.verdict, found)
    for score in leaky_scores.SCORE_PLANTS:
        found = leakage.score_findings(score.plant(), limits)
        yield _planted(score.name, score.check, score.statistic, score.verdict, found)


def _clean(what: str, found: Sequence[Finding]) -> PlantResult:
    accused = [str(f) for f in found if f.verdict != "WARN"]
    return PlantResult(f"{CLEAN} ({what})", "-", "ACCUSED" if accused else "PASSED", "; ".join(accused))


def _planted(name: str, check: str, statistic: str, verdict: str, found: Sequence[Finding]) -> PlantResult:
    hits = [str(f) for f in found if (f.check, f.statistic, f.verdict) == (check, statistic, verdict)]
    others = sorted({f.check for f in found if f.verdict == "FAIL"})
    message = hits[0] if hits else f"failed instead: {', '.join(others) or 'nothing'}"
    return PlantResult(name, check, "CAUGHT" if hits else "MISSED", message)
