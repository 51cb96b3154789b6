"""Rows at the gate on which every metric has the value it is told to have, to the last pair of customers.

Scores are placed so that of the m x n pairs of a positive and a negative customer exactly AUC x m x n are in order;
errors are scaled to an NMAE; of the predicted classes a share is right. What is ``shuffled`` gives the two models
errors of different customers, so that the same difference may be chance.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import numpy as np
import polars as pl

from pipeline_lib.runs import Out
from tests.unit.gate.promotion_world import BINARY, CLASSES, REGRESSION, World

ROWS, POSITIVES = 2000, 200
NEGATIVES = ROWS - POSITIVES


@dataclass(frozen=True)
class Figures:
    """What one model achieves: one value for every task of a kind, others by name."""

    auc: float = 0.70
    f1: float = 0.30
    nmae: float = 0.40
    of: Mapping[str, float] = field(default_factory=dict)
    shuffled: frozenset[str] = frozenset()

    def value(self, task: str) -> float:
        usual = self.f1 if task in CLASSES else self.nmae if task in REGRESSION else self.auc
        return self.of.get(task, usual)


def present(world: World, champion: Figures, challenger: Figures) -> None:
    """Replace this week's labels and scores by rows with these figures."""
    seen = world.seen
    made_for = {"for": f"{seen.version}@{seen.generation}@{challenger!r}@{champion!r}"}

    def scores(out: Out) -> None:
        outputs(challenger).write_parquet(out.path("challenger.parquet"))
        outputs(champion).write_parquet(out.path("champion.parquet"))
        out.facts |= {"champion": seen.version, "champion_generation": seen.generation, "bundle_digest": "b"}

    world.ctx.produce("labels", lambda out: labels().write_parquet(out.path("label_table.parquet")), sources=made_for)
    world.ctx.produce("score", scores, [world.ctx.read("package")], made_for)


def labels() -> pl.DataFrame:
    """The first customers are the positive ones, classes take turns, values are spread evenly."""
    columns = {task: np.r_[np.ones(POSITIVES), np.zeros(NEGATIVES)].astype(np.int16) for task in BINARY}
    columns |= {task: (np.arange(ROWS) % k).astype(np.int16) for task, k in CLASSES.items()}
    columns |= {task: _truth() for task in REGRESSION}
    mature = pl.Series(["mature"] * ROWS)
    return _keys().with_columns(label_status=mature, **{name: pl.Series(v) for name, v in columns.items()})


def outputs(figures: Figures) -> pl.DataFrame:
    """Scores of one model."""
    columns: dict[str, Any] = {}
    for task in (*BINARY, *CLASSES, *REGRESSION):
        order = np.random.default_rng(1).permutation if task in figures.shuffled else _as_it_is
        value = figures.value(task)
        if task in CLASSES:
            chosen = _classes(value, CLASSES[task])
            columns |= {f"s_{task}_{k}": (chosen == k).astype(float) for k in range(CLASSES[task])}
        else:
            columns[f"s_{task}"] = _ranked(value, order) if task in BINARY else _erring(value, order)
    return _keys().with_columns(**{name: pl.Series(values) for name, values in columns.items()})


Order = Callable[[Any], Any]


def _ranked(auc: float, order: Order) -> Any:
    """Negatives stand at 0, 1, 2, ...; a positive with c of them below stands at c - 1/2. Sum of c = AUC x m x n."""
    pairs = round(auc * POSITIVES * NEGATIVES)
    middle = pairs / POSITIVES
    width = 0.95 * min(middle, NEGATIVES - middle)
    below = np.round(np.linspace(middle - width, middle + width, POSITIVES)).astype(int)
    rest = pairs - int(below.sum())
    below[: abs(rest)] += np.sign(rest)
    assert below.sum() == pairs
    return np.r_[order(below) - 0.5, order(np.arange(NEGATIVES))].astype(float)


def _erring(nmae: float, order: Order) -> Any:
    """Errors of all sizes whose mean is ``nmae`` standard deviations."""
    sizes = -np.log((np.arange(ROWS) + 0.5) / ROWS)
    return _truth() + order(sizes / sizes.mean()) * nmae * _truth().std()


def _classes(share: float, k: int) -> Any:
    """``share`` of all rows right, the others one class too high."""
    right = np.arange(ROWS) < round(share * ROWS)
    return np.where(right, np.arange(ROWS), np.arange(ROWS) + 1) % k


def _truth() -> Any:
    return np.random.default_rng(7).permutation(np.linspace(-1, 1, ROWS))


def _as_it_is(values: Any) -> Any:
    return values


def _keys() -> pl.DataFrame:
    keys = pl.Series("customer_key", np.arange(ROWS), dtype=pl.Int32)
    return pl.DataFrame({"customer_key": keys}).with_columns(cutoff_date=pl.lit(date(2026, 9, 30)))
