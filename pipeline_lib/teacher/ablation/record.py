"""What a run leaves: one JSON for people and checks, one file of answers for the resampling. Written atomically."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pipeline_lib.objects import LocalObjects
from pipeline_lib.teacher.ablation.judged import TaskAnswers


@dataclass(frozen=True)
class Record:
    """One scenario with one seed. Times are not compared; everything else repeats bit by bit on the CPU."""

    scenario: str
    model: str
    seed: int
    config_hash: str
    code_version: str
    bank: str
    experts: list[str]
    parameters: int | None
    first_logits: str | None
    """Hash of the logits of the first batch before training."""
    answers: str
    """Hash of the answers on the judged rows."""
    fingerprints: dict[str, str]
    """Of judged rows and labels."""
    gradients: dict[str, float]
    """Part of the network -> norm of its gradient on the first batch, before training."""
    stationary: dict[str, float]
    """Task -> |s - ln L| at the end of phase 1, beyond its bounds not counted; empty under other weightings."""
    spread: dict[str, float]
    """Task -> standard deviation of its answers on the judged rows."""
    steps: int
    epochs: int
    best_epoch: int
    best_score: float
    best_again: float
    """Composite of the reloaded best weights on the selection rows: must equal ``best_score``."""
    scores: dict[str, dict[str, Any]]
    """Set of parts -> tasks with metrics and trivial baselines, averages of all tasks and without the shared one."""
    curve: list[dict[str, float]]
    gate_mean: dict[str, dict[str, float]]
    cpu_seconds: float
    facts: dict[str, Any] = field(default_factory=dict)


class Results:
    """A folder of runs, by configuration and seed: a scenario that two families list is run once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.objects = LocalObjects(folder)

    def key(self, config_hash: str, bank: str, seed: int) -> str:
        return f"{bank[:8]}/{config_hash[:16]}/{seed}"

    def has(self, key: str) -> bool:
        return self.objects.exists(f"{key}.json")

    def save(self, key: str, record: Record, customers: np.ndarray, answers: Mapping[str, TaskAnswers]) -> None:
        """Answers first: a record without its answers does not exist."""
        arrays = {"customers": customers}
        for task in answers.values():
            arrays |= {f"{task.name}/{name}": column.astype(np.float32) for name, column in task.columns.items()}
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
        self.objects.put(f"{key}.npz", buffer.getvalue())
        kinds = {t.name: [t.kind, t.classes, t.ranked] for t in answers.values()}
        body = {**asdict(record), "tasks": kinds}
        self.objects.put(f"{key}.json", json.dumps(body, indent=1, sort_keys=True).encode())

    def record(self, key: str) -> Record:
        body = json.loads(self.objects.get(f"{key}.json"))
        del body["tasks"]
        return Record(**body)

    def answers(self, key: str) -> tuple[np.ndarray, list[TaskAnswers]]:
        """Customers of the judged rows (n,), and each task's answers."""
        kinds = json.loads(self.objects.get(f"{key}.json"))["tasks"]
        with np.load(io.BytesIO(self.objects.get(f"{key}.npz")), allow_pickle=False) as found:
            arrays = {name: found[name] for name in found.files}
        tasks = [
            TaskAnswers(name, kind, classes, ranked, _columns(arrays, name))
            for name, (kind, classes, ranked) in kinds.items()
        ]
        return arrays["customers"], tasks


def _columns(arrays: Mapping[str, np.ndarray], task: str) -> dict[str, np.ndarray]:
    own = f"{task}/"
    return {name.removeprefix(own): a.astype(np.float64) for name, a in arrays.items() if name.startswith(own)}
