"""The forward pass over rows in fixed batches, in evaluation mode, and the tables that leave the stage.

Soft labels carry the raw logit, the calibrated logit and the calibrated probability at temperature 1: a tempered
store could not be undone. Source: distillation.md section 4. Gate weights are stage 2, the ones the prediction used.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
import torch
from torch import Tensor

from pipeline_lib.errors import ContractError
from pipeline_lib.teacher.calibration import Calibrator
from pipeline_lib.teacher.contract import TaskSpec
from pipeline_lib.teacher.frame import KEYS, Frame
from pipeline_lib.teacher.gating import entropy
from pipeline_lib.teacher.model import Teacher
from pipeline_lib.teacher.towers import activated

_ROW_SUM_TOLERANCE = 1e-4
BRANCHES = "temporal.temporal_gate"


@dataclass(frozen=True)
class Prediction:
    """On the CPU, float32. ``logits`` task -> (n,) or (n, K); ``gates`` (n, T, E) stage 2; ``private`` (n, T) the share
    of a task's own expert in stage 1; ``expert_std`` on rows that have the input, None where no row has.
    """

    logits: dict[str, Tensor]
    gates: Tensor
    private: Tensor
    avail: Tensor  # (n, E) bool
    expert_std: dict[str, float | None]
    branch_entropy_bits: float | None
    """Mean entropy of the temporal expert's own gate over its rows [bits]."""


@torch.no_grad()
def predict(model: Teacher, frame: Frame, rows: Tensor, batch_rows: int, device: torch.device) -> Prediction:
    """Rows in the given order; row order and the other rows of a batch do not change a row's result."""
    model.eval()
    logits: dict[str, list[Tensor]] = {name: [] for name in model.task_names}
    gates, private, avail, branches = [], [], [], []
    spread = {name: _Spread() for name in model.expert_names}
    for chunk in rows.split(batch_rows):
        out = model(frame.batch(chunk).to(device))
        for name, z in out.logits.items():
            logits[name].append(z.float().cpu())
        gates.append(out.gate_stage2.cpu())
        private.append(out.gate_stage1[..., 0].cpu())
        avail.append(out.seen.avail.cpu())
        for i, name in enumerate(model.expert_names):
            spread[name].add(out.seen.blocks[i][out.seen.avail[:, i]])
        if BRANCHES in out.seen.diag:
            has = out.seen.avail[:, model.expert_names.index("temporal")]
            branches.append(entropy(out.seen.diag[BRANCHES][has]).cpu() / math.log(2))
    return Prediction(
        {name: torch.cat(parts) for name, parts in logits.items()},
        torch.cat(gates),
        torch.cat(private),
        torch.cat(avail),
        {name: found.mean_std() for name, found in spread.items()},
        float(torch.cat(branches).mean()) if branches and len(torch.cat(branches)) else None,
    )


class _Spread:
    """Standard deviation of an expert's outputs over rows, a batch at a time."""

    def __init__(self) -> None:
        self._n, self._sum, self._square = 0, torch.zeros(()), torch.zeros(())

    def add(self, block: Tensor) -> None:
        values = block.double().cpu()
        self._n += len(values)
        self._sum, self._square = self._sum + values.sum(0), self._square + values.square().sum(0)

    def mean_std(self) -> float | None:
        if not self._n:
            return None
        mean = self._sum / self._n
        return float((self._square / self._n - mean.square()).clamp(min=0).sqrt().mean())


def answers(
    logits: Mapping[str, Tensor], tasks: Sequence[TaskSpec], calibrators: Mapping[str, Calibrator] | None = None
) -> dict[str, np.ndarray]:
    """Probabilities or label values, float64, from raw logits or through the calibrators."""
    found = {}
    for task in tasks:
        z = logits[task.name].double()
        if calibrators and task.name in calibrators:
            z = calibrators[task.name].apply(z)
        found[task.name] = activated(z, task.kind, task.mean, task.std).numpy()
    return found


def soft_labels(
    keys: pl.DataFrame, logits: Mapping[str, Tensor], tasks: Sequence[TaskSpec], calibrators: Mapping[str, Calibrator]
) -> pl.DataFrame:
    """One row per row of ``keys``; columns as in docs/artefacts.md, Float32.

    Raises:
        ContractError: a value is not finite, or class probabilities do not sum to 1.
    """
    columns: dict[str, np.ndarray] = {}
    for task in tasks:
        z = logits[task.name].double()
        calibrated = calibrators[task.name].apply(z)
        if task.kind == "regression":
            columns[f"mt_{task.name}"] = activated(calibrated, task.kind, task.mean, task.std).numpy()
            continue
        probability = activated(calibrated, task.kind, task.mean, task.std)
        for prefix, value in (("lt", z), ("ct", calibrated), ("pt", probability)):
            columns.update(_spread(f"{prefix}_{task.name}", value.numpy()))
    table = keys.select(KEYS).with_columns(
        pl.Series(name, values.astype(np.float32)) for name, values in columns.items()
    )
    _require_sound(table, tasks)
    return table


def soft_label_summary(
    table: pl.DataFrame, tasks: Sequence[TaskSpec], degenerate_std: float
) -> dict[str, dict[str, object]]:
    """Per task: mean, std, min, max of each answer column, mean entropy [nats], and whether it hardly varies."""
    found: dict[str, dict[str, object]] = {}
    for task in tasks:
        prefix = "mt" if task.kind == "regression" else "pt"
        names = [f"{prefix}_{task.name}"] if task.out == 1 else [f"pt_{task.name}_{k}" for k in range(task.out)]
        values = table.select(names).to_numpy().astype(np.float64)  # (N, 1 or K)
        spread = values.std(axis=0)
        found[task.name] = {
            "kind": task.kind,
            "mean": [float(v) for v in values.mean(axis=0)],
            "std": [float(v) for v in spread],
            "min": [float(v) for v in values.min(axis=0)],
            "max": [float(v) for v in values.max(axis=0)],
            "entropy_mean": _mean_entropy(values, task.kind),
            "degenerate": bool(spread.max() < degenerate_std),
        }
    return found


def gate_table(
    keys: pl.DataFrame,
    gates: Tensor,
    private: Tensor,
    lens: Sequence[str | None],
    tasks: Sequence[str],
    experts: Sequence[str],
) -> pl.DataFrame:
    """Long form: one row per row of ``keys`` and task, in that order. gates (n, T, E), private (n, T), lens n * T."""
    n, t, _ = gates.shape
    flat = gates.reshape(n * t, -1)
    repeated = keys.select(KEYS)[np.repeat(np.arange(n), t)]
    weights = {name: pl.Series(name, flat[:, i].numpy().copy()) for i, name in enumerate(experts)}
    return repeated.with_columns(
        pl.Series("task", list(tasks) * n, dtype=pl.String),
        *weights.values(),
        pl.Series("entropy", entropy(flat).numpy()),
        pl.Series("private_share", private.flatten().numpy().copy()),
        pl.Series("lens", lens, dtype=pl.String),
    )


def _spread(name: str, values: np.ndarray) -> dict[str, np.ndarray]:
    if values.ndim == 1:
        return {name: values}
    return {f"{name}_{k}": values[:, k] for k in range(values.shape[1])}


def _mean_entropy(p: np.ndarray, kind: str) -> float | None:
    if kind == "regression":
        return None
    full = np.concatenate([p, 1 - p], axis=1) if kind == "binary" else p
    return float(-(full * np.log(full.clip(1e-12))).sum(axis=1).mean())


def _require_sound(table: pl.DataFrame, tasks: Sequence[TaskSpec]) -> None:
    values = table.drop(KEYS)
    if bad := [name for name in values.columns if not np.isfinite(values[name].to_numpy()).all()]:
        raise ContractError(f"soft labels are not finite in columns {bad[:10]}")
    for task in tasks:
        if task.kind != "multiclass":
            continue
        total = table.select(pl.sum_horizontal(f"pt_{task.name}_{k}" for k in range(task.out))).to_series()
        if (worst := float((total - 1).abs().max() or 0.0)) > _ROW_SUM_TOLERANCE:  # type: ignore[arg-type]
            raise ContractError(f"soft labels of {task.name}: class probabilities miss 1 by {worst}")
