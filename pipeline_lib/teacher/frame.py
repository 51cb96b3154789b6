"""The training frame: artefacts of the features and labels stages as tensors, one row per (customer, cutoff).

Rows keep the order of the features tables. Sequences stay ragged and are padded per batch, so memory grows with
events and not with the longest customer. Shapes: N rows, F features, I items, M elements of ragged lists in all, B
batch, L steps, P bars, C channels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
import torch
from torch import Tensor

from pipeline_lib.errors import SchemaError
from pipeline_lib.runs import StageOutput
from pipeline_lib.teacher.contract import Inputs, TaskSpec

KEYS = ["customer_key", "cutoff_date"]
FIT, STOP, CALIB, FIDELITY, GATE, SERVE = "fit", "stop", "calib", "fidelity", "gate", "serve"


@dataclass(frozen=True)
class Bars:
    """Persistence diagrams of some rows: (birth, death, dimension) of the leading ``count`` points, then padding."""

    points: Tensor  # (B, P, 3)
    count: Tensor  # (B,) int64

    def to(self, device: torch.device) -> Bars:
        return Bars(self.points.to(device, non_blocking=True), self.count.to(device, non_blocking=True))


@dataclass(frozen=True)
class Batch:
    """Inputs of some rows. ``length`` counts the valid leading steps; the rest is zero padding."""

    x: Tensor  # (B, F)
    steps: Tensor  # (B, L, C)
    days: Tensor  # (B, L) days since the step before
    length: Tensor  # (B,) int64
    gap: Tensor  # (B,) days from the last step to the cutoff
    edges: Tensor  # (B, I)
    bars: Mapping[str, Bars]  # window -> diagrams

    def to(self, device: torch.device) -> Batch:
        own = {n: getattr(self, n).to(device, non_blocking=True) for n in self.__dataclass_fields__ if n != "bars"}
        return Batch(**own, bars={window: bars.to(device) for window, bars in self.bars.items()})


@dataclass(frozen=True)
class Ragged:
    """Lists of different lengths, one per row, end to end; one spare element, so that an empty list has a place."""

    values: Tensor  # (M + 1, C)
    offsets: Tensor  # (N + 1,) int64

    @classmethod
    def of(cls, values: np.ndarray, length: np.ndarray) -> Ragged:
        spare = np.zeros((1, values.shape[1]), np.float32)
        joined = np.concatenate([values.astype(np.float32), spare])
        return cls(torch.from_numpy(joined), torch.from_numpy(np.concatenate([[0], np.cumsum(length)])))

    def padded(self, rows: Tensor, most: int, newest: bool) -> tuple[Tensor, Tensor]:
        """At most ``most`` elements of each row, the last or the first ones, zeros behind. -> (B, L, C), (B,)."""
        start, end = self.offsets[rows], self.offsets[rows + 1]
        length = (end - start).clamp(max=most)
        place = torch.arange(max(1, int(length.max())))  # (L,)
        valid = place < length[:, None]  # (B, L)
        first = end - length if newest else start
        at = (first[:, None] + place).where(valid, torch.zeros(()).long())
        return self.values[at] * valid[..., None], length


@dataclass(frozen=True)
class Frame:
    """All rows of a run. ``labels`` are float64 with NaN where a task is masked for a row."""

    keys: pl.DataFrame  # customer_key, cutoff_date, split, part
    x: Tensor  # (N, F)
    edges: Tensor  # (N, I)
    steps: Ragged  # channels, then days since the step before
    gap: Tensor  # (N,)
    bars: Mapping[str, tuple[Ragged, int]]  # window -> diagrams and the most bars of a row
    labels: Mapping[str, Tensor]  # task -> (N,)
    max_steps: int

    @property
    def rows(self) -> int:
        return int(self.x.shape[0])

    def part(self, *names: str) -> Tensor:
        """Row numbers of the parts, in row order."""
        inside = self.keys["part"].is_in(list(names)).to_numpy()
        return torch.from_numpy(np.flatnonzero(inside))

    def batch(self, rows: Tensor) -> Batch:
        """The newest ``max_steps`` steps of each row and its diagrams, padded with zeros to the batch's longest."""
        steps, length = self.steps.padded(rows, self.max_steps, newest=True)
        bars = {name: Bars(*found.padded(rows, most, newest=False)) for name, (found, most) in self.bars.items()}
        return Batch(self.x[rows], steps[..., :-1], steps[..., -1], length, self.gap[rows], self.edges[rows], bars)

    def targets(self, rows: Tensor) -> dict[str, Tensor]:
        return {task: label[rows] for task, label in self.labels.items()}


def read_frame(features: StageOutput, labels: StageOutput, inputs: Inputs, tasks: Sequence[TaskSpec]) -> Frame:
    """Join the feature tables by position, and the labels by key.

    Raises:
        SchemaError: tables disagree on rows, a value is not finite, or a class is out of range.
    """
    x_norm = pl.read_parquet(features.path("x_norm.parquet"))
    sequences = pl.read_parquet(features.path("sequences.parquet"))
    edges = pl.read_parquet(features.path("edges.parquet"))
    keys = pl.read_parquet(features.path("feature_matrix.parquet"), columns=[*KEYS, "split", "part"])
    for name, table in {"x_norm": x_norm, "sequences": sequences, "edges": edges}.items():
        if not table.select(KEYS).equals(keys.select(KEYS)):
            raise SchemaError(f"{name}.parquet: rows differ from those of feature_matrix.parquet")
    steps, gap = _steps(sequences, inputs.channels)
    return Frame(
        keys=keys,
        x=_matrix(x_norm.drop(KEYS), "x_norm.parquet", inputs.columns),
        edges=_matrix(edges.drop(KEYS), "edges.parquet", len(inputs.items)),
        steps=steps,
        gap=gap,
        bars=_diagrams(features, keys, inputs),
        labels=_labels(keys, pl.read_parquet(labels.path("label_table.parquet")), tasks),
        max_steps=inputs.max_steps,
    )


def with_statistics(
    tasks: Sequence[TaskSpec], frame: Frame, power: float, bounds: tuple[float, float]
) -> list[TaskSpec]:
    """Tasks with the statistics of their train labels: mean and std, or class weights (n / (C n_c)) ** power."""
    rows = frame.part(FIT)
    return [_with_statistics(task, frame.labels[task.name][rows], power, bounds) for task in tasks]


def _with_statistics(task: TaskSpec, label: Tensor, power: float, bounds: tuple[float, float]) -> TaskSpec:
    known = label[~label.isnan()]
    if not len(known):
        raise SchemaError(f"labels: task {task.name} is active but no train row carries it")
    if task.kind == "regression":
        return replace(task, mean=float(known.mean()), std=max(float(known.std(correction=0)), 1e-6))
    if task.kind == "binary":
        return replace(task, positives=float(known.mean()))
    counts = torch.bincount(known.long(), minlength=task.out).clamp(min=1).double()
    weights = (len(known) / (task.out * counts)).pow(power).clamp(*bounds)
    return replace(task, class_weights=tuple(round(float(w), 6) for w in weights))


def _matrix(table: pl.DataFrame, name: str, columns: int) -> Tensor:
    if table.width != columns:
        raise SchemaError(f"{name}: found {table.width} value columns, the schema has {columns}")
    found = np.ascontiguousarray(table.cast(pl.Float32).to_numpy())  # (N, columns)
    bad = np.flatnonzero(~np.isfinite(found).all(axis=0))
    if len(bad):
        raise SchemaError(f"{name}: not finite in columns {[table.columns[i] for i in bad[:10]]}")
    return torch.from_numpy(found.copy())


def _steps(table: pl.DataFrame, channels: int) -> tuple[Ragged, Tensor]:
    values, length = _flat(table, "txn_seq", "sequences.parquet")
    days, gaps = _flat(table, "txn_dt", "sequences.parquet")
    steps = table["txn_len"].to_numpy().astype(np.int64)
    if (length != steps * channels).any() or (gaps != steps).any():
        raise SchemaError(f"sequences.parquet: lists do not match txn_len with {channels} channels")
    gap = table["asof_gap"].fill_null(0.0).fill_nan(0.0).to_numpy()
    if not np.isfinite(gap).all():
        raise SchemaError("sequences.parquet: asof_gap is not finite")
    joined = np.concatenate([values.reshape(-1, channels), days[:, None]], axis=1)
    return Ragged.of(joined, steps), torch.from_numpy(gap.astype(np.float32))


def _diagrams(features: StageOutput, keys: pl.DataFrame, inputs: Inputs) -> dict[str, tuple[Ragged, int]]:
    """Window -> bars of every row and the most that a row may have."""
    if not inputs.bars:
        return {}
    table = pl.read_parquet(features.path("diagrams.parquet"))
    if not table.select(KEYS).equals(keys.select(KEYS)):
        raise SchemaError("diagrams.parquet: rows differ from those of feature_matrix.parquet")
    found = {}
    for window, most, dimensions in inputs.bars:
        values, length = _flat(table, f"tda_{window}", "diagrams.parquet")
        if (length % 3).any():
            raise SchemaError(f"diagrams.parquet: tda_{window} holds a list that is no list of triples")
        bars = values.reshape(-1, 3)
        if not ((bars[:, 0] <= bars[:, 1]).all() and np.isin(bars[:, 2], dimensions).all()):
            raise SchemaError(f"diagrams.parquet: tda_{window} has a death before its birth, or not of {dimensions}")
        found[window] = (Ragged.of(bars, length // 3), most)
    return found


def _flat(table: pl.DataFrame, column: str, file: str) -> tuple[np.ndarray, np.ndarray]:
    """All numbers of a list column, and how many each row has.

    Raises:
        SchemaError: a list or one of its numbers is null or not finite: what follows would shift to other rows.
    """
    lists = table[column]
    if lists.null_count():
        raise SchemaError(f"{file}: {column} has {lists.null_count()} rows without a list")
    length = lists.list.len().to_numpy().astype(np.int64)
    values = lists.filter(lists.list.len() > 0).explode()
    if values.null_count() or len(values) != length.sum() or not np.isfinite(values.to_numpy()).all():
        raise SchemaError(f"{file}: {column} holds a number that is null or not finite")
    return values.to_numpy(), length


def _labels(keys: pl.DataFrame, table: pl.DataFrame, tasks: Sequence[TaskSpec]) -> dict[str, Tensor]:
    """A label that is not mature counts as unknown. Rows without a label row (``serve``) are masked."""
    names = [task.name for task in tasks]
    mature = table.filter(pl.col("label_status") == "mature").select([*KEYS, *names])
    if mature.select(KEYS).is_duplicated().any():
        raise SchemaError("label_table.parquet: a (customer_key, cutoff_date) occurs twice")
    joined = keys.select(KEYS).join(mature, on=KEYS, how="left", maintain_order="left")
    found = {name: joined[name].cast(pl.Float64).fill_null(float("nan")).to_numpy().copy() for name in names}
    for task in tasks:
        _require_range(task, found[task.name])
    return {name: torch.from_numpy(values) for name, values in found.items()}


def _require_range(task: TaskSpec, values: np.ndarray) -> None:
    known = values[~np.isnan(values)]
    top = {"binary": 1, "multiclass": task.out - 1}.get(task.kind)
    if top is not None and len(known) and not np.isin(known, np.arange(top + 1)).all():
        raise SchemaError(f"label_table.parquet: task {task.name} has values outside 0..{top}")
    if not np.isfinite(known).all():
        raise SchemaError(f"label_table.parquet: task {task.name} has an infinite value")
