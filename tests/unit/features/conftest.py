from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipeline_lib import settings
from pipeline_lib.features.build import build
from pipeline_lib.features.plants.world import World, make_world
from pipeline_lib.runs import Out, RunContext, StageOutput
from pipeline_lib.settings import Place

LOGICAL_DATE = date(2026, 11, 23)
WORLD = World(customers=150, months=13, events_per_month=10.0)
Change = Callable[[str, pl.DataFrame], pl.DataFrame]


@dataclass(frozen=True, repr=False)
class Bank:
    """A small bank with finished ingest, labels and features."""

    ctx: RunContext

    @property
    def features(self) -> StageOutput:
        return self.ctx.read("features")

    def table(self, name: str, stage: str = "features") -> pl.DataFrame:
        return pl.read_parquet(self.ctx.read(stage).path(name))

    def digests(self, stage: str = "features") -> dict[str, str]:
        return {e.path.split("/", 1)[1]: e.sha256 for e in self.ctx.read(stage).manifest.outputs}

    def stages(self) -> list[str]:
        folder = f"runs/{self.ctx.dataset}/{self.ctx.logical_date}/"
        return [key.split("/")[-2] for key in self.ctx.objects.list(folder) if key.endswith("/manifest.json")]


GROUPS = list(settings.load("synthetic", Place(dataset="synthetic")).features.groups)
CORE = ("demographics", "relationship", "product_holdings", "txn_behavior", "derived_temporal", "economics",
        "txn_rolling", "mcc_multihot", "product_history_multihot")  # fmt: skip
"""What the small bank makes unless a test asks for more: cheap, and nothing drawn at random."""


def only(*names: str) -> dict[str, list[str]]:
    """The policy with these groups alone."""
    return {"without": ["product_lag", *(name for name in GROUPS if name not in names)]}


def open_run(home: Path, threads: int = 1, overrides: dict[str, Any] | None = None) -> RunContext:
    """Few rows are made again in every build here; a test of its own looks at that."""
    body: dict[str, Any] = {"features": {**only(*CORE), "work": {"recheck_rows": 2}}}
    for section, own in (overrides or {}).items():
        base = body.get(section, {})
        body[section] = {**base, **own, "work": {**base.get("work", {}), **own.get("work", {})}}
    (home / "small.yaml").write_text(json.dumps(body))
    place = Place(dataset="synthetic", home=home, threads=threads, overrides=home / "small.yaml")
    return RunContext.open(settings.load("synthetic", place), LOGICAL_DATE)


@pytest.fixture(scope="session")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Bank:
    ctx = open_run(tmp_path_factory.mktemp("bank"))
    make_world(ctx, WORLD)
    build(ctx)
    return Bank(ctx)


@pytest.fixture
def rebuilt(bank: Bank, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Bank]:
    """Features of the same bank with its tables changed: ``rebuilt(ingest=change, labels=change, facts={...})``."""

    def make(
        ingest: Change | None = None,
        labels: Change | None = None,
        facts: dict[str, object] | None = None,
        threads: int = 1,
        overrides: dict[str, Any] | None = None,
    ) -> Bank:
        ctx = open_run(tmp_path_factory.mktemp("rebuilt"), threads, overrides)
        first = _copied(ctx, bank.ctx.read("ingest"), ingest, facts or {}, [])
        _copied(ctx, bank.ctx.read("labels"), labels, {}, [first])
        build(ctx)
        return Bank(ctx)

    return make


def _copied(
    ctx: RunContext, stage: StageOutput, change: Change | None, facts: dict[str, object], inputs: list[StageOutput]
) -> StageOutput:
    def make(out: Out) -> None:
        for name in stage.names():
            table = pl.read_parquet(stage.path(name))
            table = change(name, table) if change else table
            table.write_parquet(out.path(name, rows=len(table)))
        out.facts.update({**stage.facts, **facts})

    return ctx.produce(stage.stage, make, inputs=inputs)
