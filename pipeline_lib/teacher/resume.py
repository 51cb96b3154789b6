"""Training state between epochs, so that a killed run goes on where it was and ends with the same bytes.

One safetensors object: model, best model so far, optimiser moments, weighting, affinity; scalars and the curve are
JSON in its header. One atomic write per epoch: a kill inside an epoch repeats that epoch. Every epoch seeds its own
randomness from its number, so there is no generator state to keep. Source: teacher.md section 16 (resume law).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from pipeline_lib.errors import ObjectMissing
from pipeline_lib.objects import Objects
from pipeline_lib.teacher.precision import Precision

_HEADER = "progress"
_SCALER = "scaler"


@dataclass
class Progress:
    """Where training stands. ``epoch`` and ``step`` count inside the phase; ``curve`` has one row per finished epoch.

    ``best_epoch`` is a row of the curve. ``stale`` counts epochs since the phase's own best.
    """

    phase: int = 0
    epoch: int = 0
    step: int = 0
    stale: int = 0
    phase_best: float = float("-inf")
    best_epoch: int = -1
    best_score: float = float("-inf")
    curve: list[dict[str, Any]] = field(default_factory=list)

    def begin(self, phase: int) -> None:
        """Counters and early stopping start anew; what was best stays until it is beaten."""
        self.phase, self.epoch, self.step, self.stale, self.phase_best = phase, 0, 0, 0, float("-inf")

    def finished(self, epochs: int, patience: int) -> bool:
        return self.epoch >= epochs or self.stale >= patience

    def record(self, row: dict[str, Any], score: float) -> bool:
        """Close an epoch; True if it is the best so far (the earlier one wins a tie)."""
        better = score > self.best_score
        if better:
            self.best_epoch, self.best_score = len(self.curve), score
        self.stale = 0 if score > self.phase_best else self.stale + 1
        self.phase_best = max(score, self.phase_best)
        self.curve.append(row)
        self.epoch += 1
        return better


@dataclass(frozen=True)
class Kept:
    """What a store held: where training stood, the best weights so far, and the rest of the state."""

    progress: Progress
    best: dict[str, Tensor]
    moments: Mapping[int, dict[str, Tensor]]
    scaler: dict[str, float]
    phase: int

    def restore(self, optimiser: torch.optim.Optimizer, precision: Precision) -> None:
        """Put the moments back into the optimiser of the phase they belong to."""
        optimiser.load_state_dict({"state": self.moments, "param_groups": optimiser.state_dict()["param_groups"]})
        precision.restore(self.scaler)


class Store:
    """The training state of one run under one key of the object store."""

    def __init__(self, objects: Objects, key: str) -> None:
        self._objects, self._key = objects, key

    def save(
        self,
        progress: Progress,
        modules: Mapping[str, nn.Module],
        best: Mapping[str, Tensor],
        optimiser: torch.optim.Optimizer,
        precision: Precision,
    ) -> None:
        tensors = {f"best/{name}": value for name, value in best.items()}
        for prefix, module in modules.items():
            tensors.update({f"{prefix}/{name}": value for name, value in module.state_dict().items()})
        for index, state in optimiser.state_dict()["state"].items():
            tensors.update({f"optimiser/{index}/{name}": value for name, value in state.items()})
        flat = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
        header = {_HEADER: json.dumps(asdict(progress)), _SCALER: json.dumps(precision.state())}
        self._objects.put(self._key, save(flat, metadata=header))

    def load(self, modules: Mapping[str, nn.Module]) -> Kept | None:
        """Put the modules back in place; None when no state was kept for exactly this run."""
        try:
            blob = self._objects.get(self._key)
        except ObjectMissing:
            return None
        tensors, header = load(blob), _header(blob)
        for prefix, module in modules.items():
            module.load_state_dict(_under(tensors, f"{prefix}/"))
        moments: dict[int, dict[str, Tensor]] = {}
        for name, value in _under(tensors, "optimiser/").items():
            index, slot = name.split("/")
            moments.setdefault(int(index), {})[slot] = value
        progress = Progress(**json.loads(header[_HEADER]))
        return Kept(progress, _under(tensors, "best/"), moments, json.loads(header[_SCALER]), progress.phase)

    def forget(self) -> None:
        self._objects.delete(self._key)


def _header(blob: bytes) -> dict[str, str]:
    """The metadata of a safetensors file: 8 bytes of length, then JSON. Source: the format's README."""
    size = int.from_bytes(blob[:8], "little")
    metadata: dict[str, str] = json.loads(blob[8 : 8 + size])["__metadata__"]
    return metadata


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def snapshot(module: nn.Module) -> dict[str, Tensor]:
    """A copy of a module's state on the CPU."""
    return {name: value.detach().cpu().clone() for name, value in module.state_dict().items()}


def seed_epoch(seed: int, epoch: int) -> torch.Generator:
    """Seed dropout and give the generator of the row order: functions of the epoch's number alone."""
    torch.manual_seed(seed * 100_003 + epoch + 1)
    return torch.Generator().manual_seed(seed * 200_003 + epoch + 1)
