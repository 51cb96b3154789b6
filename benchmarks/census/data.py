"""Census-Income as the multi-task papers use it: 39 inputs, two tasks, 60/20/20 by the hash of a row's inputs.

The set of the library has a third task, college, and so hides education from the model. The papers' two tasks do
not: here education is an input and college is no task. Everything learnt (ids, bins, moments) is of train rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import torch
from torch import Tensor

from pipeline_lib import settings
from pipeline_lib.ingest.adapters import benchmark_set
from pipeline_lib.settings.benchmark import Benchmark
from pipeline_lib.teacher.classic.bins import Fields, learn

TASKS = ("income_50k", "never_married")


@dataclass(frozen=True)
class Part:
    """Rows of one split: ids (N, F) in one table, numbers (N, V), y (N, 2)."""

    ids: Tensor
    numbers: Tensor
    y: Tensor


@dataclass(frozen=True)
class Census:
    fields: Fields
    categories: tuple[str, ...]
    numbers: tuple[str, ...]
    frames: Mapping[str, pl.DataFrame]
    """Split -> the raw table, for trees."""
    parts: Mapping[str, Part]


def policy() -> Benchmark:
    """The library's set with education handed to the model."""
    body = settings.load_benchmark("census").model_dump()
    body["columns"]["education"]["role"] = "feature"
    del body["tasks"]["college"]
    return Benchmark.model_validate(body)


def read(folder: Path, bins: int, rows: int | None = None) -> Census:
    """All splits; ``rows``: only the first of each, for a quick look."""
    asked = policy()
    tables = benchmark_set.read(asked, folder)
    frames = {name: getattr(tables, name)[:rows] for name in benchmark_set.SPLITS}
    by_kind = {kind: tuple(f for f in tables.features if (asked.columns[f].type == "category") == kind)
               for kind in (True, False)}  # fmt: skip
    train = _columns(frames["train"], tables.features)
    fields = learn(train, by_kind[True], by_kind[False], bins)
    parts = {name: _part(frame, fields, tables.features) for name, frame in frames.items()}
    return Census(fields, by_kind[True], by_kind[False], frames, parts)


def _columns(frame: pl.DataFrame, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    return {n: (c.to_numpy().astype(str) if c.dtype == pl.String else c.to_numpy()) for n in names for c in [frame[n]]}


def _part(frame: pl.DataFrame, fields: Fields, names: tuple[str, ...]) -> Part:
    ids, numbers = fields.encode(_columns(frame, names))
    y = frame.select(f"y_{task}" for task in TASKS).to_numpy().astype(np.float32)
    return Part(torch.from_numpy(ids), torch.from_numpy(numbers), torch.from_numpy(y))
