"""One task's rows by partition: raw features, hard label, teacher's answer. The only reader of upstream tables.

Tables are joined by key, never by position. Rows without the label are left out: labels are masked, not filled.
NaN in a feature stays NaN. Partitions: fit, stop, calib, fidelity, and route = stop + calib (distillation.md 3).
The partition ``gate`` is never read here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import expit, softmax

from pipeline_lib.distill.metrics import Ints, Reals
from pipeline_lib.distill.routing import undetermined
from pipeline_lib.errors import SchemaError
from pipeline_lib.settings.tasks import Kind

KEYS = ["customer_key", "cutoff_date"]
PARTS = ("fit", "stop", "calib", "fidelity")
EVALUATION = ("route", "stop", "calib", "fidelity")
DEGENERATE_STD = 1e-6
"""A teacher whose output varies less than this is constant. Source: distillation.md 4."""


@dataclass(frozen=True)
class Rows:
    """n labelled rows of one partition, K classes, d columns."""

    x: NDArray[np.float32]
    """(n, d) raw features, NaN = undefined."""
    y: NDArray[Any]
    """(n,) int64 classes, or float64 values of a regression."""
    teacher: Reals
    """(n,) calibrated logits or predicted values; (n, K) calibrated logits of a multiclass task."""
    customer: Ints
    """(n,) customer keys."""

    def __len__(self) -> int:
        return len(self.y)

    def class_counts(self, classes: int) -> Ints:
        return np.bincount(self.y, minlength=classes)


@dataclass(frozen=True)
class TaskFrame:
    task: str
    kind: Kind
    classes: tuple[str, ...]
    """Class names, index = class; empty for a regression."""
    columns: tuple[str, ...]
    """Names of the d columns of every ``x``."""
    parts: Mapping[str, Rows]
    segments: Mapping[str, Reals]
    """Segment name -> raw values of its column on the ``fidelity`` rows."""

    def output(self, teacher: Reals) -> Reals:
        """The teacher's calibrated probabilities or values from its calibrated logits."""
        return output_of(self.kind, teacher)


def output_of(kind: Kind, raw: Reals) -> Reals:
    """Sigmoid, softmax or identity: what a raw score means for that kind of task."""
    if kind == "binary":
        return np.asarray(expit(raw), dtype=np.float64)
    return np.asarray(softmax(raw, axis=1), dtype=np.float64) if kind == "multiclass" else raw


def teacher_columns(task: str, kind: Kind, classes: int) -> list[str]:
    """Columns of ``soft_labels.parquet`` a student imitates, classes in numeric order."""
    if kind == "binary":
        return [f"ct_{task}"]
    return [f"ct_{task}_{k}" for k in range(classes)] if kind == "multiclass" else [f"mt_{task}"]


def read_frame(
    task: str,
    kind: Kind,
    classes: Sequence[str],
    *,
    features: Path,
    labels: Path,
    soft_labels: Path,
    columns: Sequence[str],
    segments: Mapping[str, str],
) -> TaskFrame:
    """Join the three tables for one task.

    Args:
        features, labels, soft_labels: Parquet files of the stages before.
        columns: features of the students, in schema order.
        segments: segment name -> column.

    Raises:
        ContractError: UNDETERMINED, hard or soft labels are absent or not finite.
        SchemaError: a feature column is missing, or a row has no soft label.
    """
    soft = teacher_columns(task, kind, len(classes))
    _require(task, labels, [task], "hard labels")
    _require(task, soft_labels, soft, "soft labels")
    wanted = [*dict.fromkeys([*columns, *segments.values()])]
    if missing := sorted(set(wanted) - set(pl.read_parquet_schema(features))):
        raise SchemaError(f"{features.name}: the schema artefact lists columns the table lacks: {missing}")
    rows = pl.scan_parquet(features).select([*KEYS, "part", *wanted]).filter(pl.col("part").is_in(PARTS))
    label = pl.scan_parquet(labels).select([*KEYS, task]).filter(pl.col(task).is_not_null())
    taught = pl.scan_parquet(soft_labels).select([*KEYS, *soft]).with_columns(_taught=True)
    table = rows.join(label, on=KEYS, how="inner", maintain_order="left").join(
        taught, on=KEYS, how="left", maintain_order="left"
    )
    frame = table.collect()
    if lost := frame["_taught"].null_count():
        raise SchemaError(f"{task}: {lost} of {frame.height} labelled rows have no soft label")
    parts = {part: _rows(frame.filter(pl.col("part") == part), task, kind, columns, soft) for part in PARTS}
    parts["route"] = _joined(parts["stop"], parts["calib"])
    for part, found in parts.items():
        _require_sound(task, kind, part, found, len(classes))
    judged = frame.filter(pl.col("part") == "fidelity")
    values = {name: judged[column].to_numpy().astype(np.float64) for name, column in segments.items()}
    return TaskFrame(task, kind, tuple(classes), tuple(columns), parts, values)


def read_schema(path: Path, switched_off: Sequence[str] = ()) -> dict[str, Any]:
    """The feature stage's ``schema.json``, where groups that policy switches off are groups that are not available."""
    schema: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    known = {group["name"] for group in schema["groups"]}
    off = [name for name in switched_off if name not in known]
    schema["groups"] += [{"name": name, "distil": 0, "available": False, "why": "switched off"} for name in off]
    return schema


def _rows(table: pl.DataFrame, task: str, kind: Kind, columns: Sequence[str], soft: Sequence[str]) -> Rows:
    teacher = table.select(soft).to_numpy().astype(np.float64)
    return Rows(
        x=np.ascontiguousarray(table.select(columns).to_numpy(), dtype=np.float32),
        y=table[task].to_numpy().astype(np.float64 if kind == "regression" else np.int64),
        teacher=teacher if kind == "multiclass" else teacher[:, 0],
        customer=table["customer_key"].to_numpy().astype(np.int64),
    )


def _joined(a: Rows, b: Rows) -> Rows:
    """Rows of both. Features are left out: the route is judged on labels and the teacher alone."""
    return Rows(
        x=np.empty((len(a) + len(b), 0), dtype=np.float32),
        y=np.concatenate([a.y, b.y]),
        teacher=np.concatenate([a.teacher, b.teacher]),
        customer=np.concatenate([a.customer, b.customer]),
    )


def _require(task: str, path: Path, columns: Sequence[str], what: str) -> None:
    if missing := sorted(set(columns) - set(pl.read_parquet_schema(path))):
        raise undetermined(task, what, f"{path.name} has no {what}: {missing} missing")


def _require_sound(task: str, kind: Kind, part: str, rows: Rows, classes: int) -> None:
    if not np.isfinite(rows.teacher).all():
        raise undetermined(task, "soft labels", f"soft labels of {part} are not finite")
    if kind == "regression":
        if not np.isfinite(rows.y).all():
            raise undetermined(task, "hard labels", f"hard labels of {part} are not finite")
    elif len(rows) and not 0 <= rows.y.min() <= rows.y.max() < classes:
        found = f"{rows.y.min()}..{rows.y.max()}"
        raise undetermined(task, "hard labels", f"classes of {part} are {found}, expected 0..{classes - 1}")
