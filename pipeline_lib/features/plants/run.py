"""Plant every leak into a clean run of a small bank and see which check stops it."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import NamedTuple

from pipeline_lib import settings
from pipeline_lib.contracts.leakage import TableSet, TrainingFrame, frame_findings, table_findings
from pipeline_lib.features.build import build
from pipeline_lib.features.check import frame_of, tables_of
from pipeline_lib.features.plants.leaky_frames import FRAME_PLANTS
from pipeline_lib.features.plants.leaky_tables import TABLE_PLANTS
from pipeline_lib.features.plants.world import World, make_world
from pipeline_lib.records import Finding
from pipeline_lib.runs import RunContext
from pipeline_lib.settings import Place
from pipeline_lib.settings.leakage import Leakage

DATASET = "synthetic"
LOGICAL_DATE = date(2026, 11, 23)
SMALL = World(customers=700, months=13, events_per_month=14.0)
CLEAN = "nothing planted"


class PlantResult(NamedTuple):
    plant: str
    check: str
    verdict: str
    """CAUGHT, MISSED; PASSED or ACCUSED for the clean twin."""
    message: str


def run_plants() -> list[PlantResult]:
    """One row per planted leak, after a row for the clean tables and one for the clean features."""
    with tempfile.TemporaryDirectory() as folder:
        ctx = small_run(Path(folder))
        tables, frame = clean_twins(ctx)
        return judge_plants(tables, frame, ctx.settings.leakage)


def small_run(home: Path) -> RunContext:
    """A run of the small bank with features, made under ``home``."""
    place = Place(dataset=DATASET, home=home, threads=1)
    ctx = RunContext.open(settings.load(DATASET, place), LOGICAL_DATE)
    make_world(ctx, SMALL)
    build(ctx)
    return ctx


def clean_twins(ctx: RunContext) -> tuple[TableSet, TrainingFrame]:
    ingest, labels, features = (ctx.read(stage) for stage in ("ingest", "labels", "features"))
    return tables_of(ctx, ingest, labels), frame_of(ctx.settings, ingest, labels, features)


def judge_plants(tables: TableSet, frame: TrainingFrame, limits: Leakage) -> list[PlantResult]:
    rows = [
        _clean("tables", table_findings(tables, limits)),
        _clean("features", frame_findings(frame, limits)),
    ]
    for plant in TABLE_PLANTS:
        found = table_findings(plant.plant(tables), limits)
        rows.append(_planted(plant.name, plant.check, plant.statistic, found))
    for leak in FRAME_PLANTS:
        found = frame_findings(leak.plant(frame), limits)
        rows.append(_planted(leak.name, leak.check, leak.statistic, found))
    return rows


def _clean(what: str, found: Sequence[Finding]) -> PlantResult:
    accused = [str(f) for f in found if f.verdict != "WARN"]
    return PlantResult(f"{CLEAN} ({what})", "-", "ACCUSED" if accused else "PASSED", "; ".join(accused))


def _planted(name: str, check: str, statistic: str, found: Sequence[Finding]) -> PlantResult:
    hits = [str(f) for f in found if f.check == check and f.statistic == statistic and f.verdict == "FAIL"]
    others = sorted({f.check for f in found if f.verdict == "FAIL"})
    message = hits[0] if hits else f"failed instead: {', '.join(others) or 'nothing'}"
    return PlantResult(name, check, "CAUGHT" if hits else "MISSED", message)
