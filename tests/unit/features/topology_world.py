"""Rows for the groups of topology: events from a seed, ages and holdings, and the groups fitted on them."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import polars as pl

from pipeline_lib.features.generator import Arrays, Generator
from pipeline_lib.features.material import Material
from pipeline_lib.features.stream import Events
from pipeline_lib.features.topology import groups
from pipeline_lib.features.topology.bars import Bars, bars_of
from pipeline_lib.settings.features import Features
from tests.unit.features.event_world import make_events, material, policy, shape, some_bank

ROWS = 60
FACTORIES = {
    "tda_short": groups.tda_short,
    "tda_long": groups.tda_long,
    "phase_transition": groups.phase_transition,
}


def with_profile(m: Material) -> Material:
    rng = np.random.default_rng(8)
    ages = pl.Series([None, *rng.integers(18, 90, len(m) - 1).tolist()], dtype=pl.Int16)
    held = rng.integers(0, 7, len(m)).astype(np.int8)
    return replace(m, profile=m.profile.with_columns(ages.alias("age"), pl.Series("num_products", held)))


@cache
def bank() -> Material:
    return with_profile(some_bank(ROWS))


@cache
def fitted(name: str) -> tuple[Generator, Arrays]:
    generator = FACTORIES[name](shape(), small_cohorts())
    return generator, generator.fit(bank(), {})


def small_cohorts() -> Features:
    own = policy()
    return own.model_copy(update={"topology": own.topology.model_copy(update={"cohort_min_rows": 5})})


def spending(rows: list[Events]) -> Material:
    return with_profile(material(rows))


def varied(n: int, seed: int = 0, days: int = 90, timed: bool = True) -> Events:
    """n different events within some days."""
    rng = np.random.default_rng(seed)
    return make_events(
        sorted(rng.integers(0, days, n).tolist(), reverse=True),
        np.round(np.exp(rng.normal(3, 1, n)), 2).tolist(),
        rng.integers(0, 20, n).tolist(),
        second=rng.integers(0, 86_400, n).tolist() if timed else None,
    )


def bars(*rows: list[tuple[float, float]]) -> Bars:
    row = np.repeat(np.arange(len(rows)), [len(own) for own in rows])
    flat = np.array([bar for own in rows for bar in own]).reshape(-1, 2)
    return bars_of(len(rows), row, flat[:, 0], flat[:, 1])
