"""Fixtures over the fabricated bank of ``bank.py``."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from pipeline_lib.runs import RunContext
from pipeline_lib.settings import Place, Settings, load
from pipeline_lib.teacher.train import train
from tests.unit.teacher.bank import MONDAY, SMALL, World, fabricate, merged, world_of


@pytest.fixture
def make_context(make_settings: Callable[..., Settings]) -> Callable[..., RunContext]:
    """``make_context({"teacher": ...}, rows=300)``: a run with finished features and labels stages."""

    def make(overrides: dict[str, Any] | None = None, rows: int = 300) -> RunContext:
        body = json.loads(json.dumps(SMALL))
        for section, values in (overrides or {}).items():
            body[section] = merged(body.get(section, {}), values)
        ctx = RunContext.open(make_settings("synthetic", body), MONDAY)
        fabricate(ctx, rows)
        return ctx

    return make


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> RunContext:
    """A run whose teacher stage is finished; only read from it."""
    home = tmp_path_factory.mktemp("trained")
    (home / "small.yaml").write_text(json.dumps(SMALL))
    place = Place(dataset="synthetic", home=home, overrides=home / "small.yaml")
    ctx = RunContext.open(load("synthetic", place), MONDAY)
    fabricate(ctx, 300)
    train(ctx)
    return ctx


@pytest.fixture
def context(make_context: Callable[..., RunContext]) -> RunContext:
    return make_context()


@pytest.fixture
def world(context: RunContext) -> World:
    """Model and data in hand, without the stage around them."""
    return world_of(context)
