"""Training state between epochs, so that a killed run goes on where it was and ends with the same bytes.

One safetensors object: model, best model so far, optimiser moments, log-variances; scalars and the curve are JSON in
its header. One atomic write per epoch. Every epoch seeds its own randomness from its number, so there is no
generator state to keep. Source: teacher.md section 16 (resume law).
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from pipeline_lib.errors import ObjectMissing
from pipeline_lib.objects import Objects

_HEADER = "progress"


@dataclass
class Progress:
    """Where training stands. ``curve`` has one row of plain numbers per finished epoch."""

    epoch: int = 0
    step: int = 0
    best_epoch: int = -1
    best_score: float = float("-inf")
    curve: list[dict[str, Any]] = field(default_factory=list)

    def finished(self, epochs: int, patience: int) -> bool:
        return self.epoch >= epochs or (self.best_epoch >= 0 and self.epoch - self.best_epoch > patience)

    def record(self, row: dict[str, Any], score: float) -> bool:
        """Close an epoch; True if it is the best so far (the earlier one wins a tie)."""
        better = score > self.best_score
        if better:
            self.best_epoch, self.best_score = self.epoch, score
        self.curve.append(row)
        self.epoch += 1
        return better


class Store:
    """The training state of one run under one key of the object store."""

    def __init__(self, objects: Objects, key: str) -> None:
        self._objects, self._key = objects, key

    def save(self, progress: Progress, modules: dict[str, nn.Module], best: dict[str, Tensor], optimiser: Any) -> None:
        tensors = {f"best/{name}": value for name, value in best.items()}
        for prefix, module in modules.items():
            tensors.update({f"{prefix}/{name}": value for name, value in module.state_dict().items()})
        for index, state in optimiser.state_dict()["state"].items():
            tensors.update({f"optimiser/{index}/{name}": value for name, value in state.items()})
        flat = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
        self._objects.put(self._key, save(flat, metadata={_HEADER: json.dumps(asdict(progress))}))

    def load(self, modules: dict[str, nn.Module], optimiser: Any) -> tuple[Progress, dict[str, Tensor]] | None:
        """Put everything back in place; None when no state was kept for exactly this run."""
        try:
            blob = self._objects.get(self._key)
        except ObjectMissing:
            return None
        tensors = load(blob)
        for prefix, module in modules.items():
            module.load_state_dict(_under(tensors, f"{prefix}/"))
        moments: dict[int, dict[str, Tensor]] = {}
        for name, value in _under(tensors, "optimiser/").items():
            index, slot = name.split("/")
            moments.setdefault(int(index), {})[slot] = value
        optimiser.load_state_dict({"state": moments, "param_groups": optimiser.state_dict()["param_groups"]})
        return Progress(**json.loads(_header(blob)[_HEADER])), _under(tensors, "best/")

    def forget(self) -> None:
        self._objects.delete(self._key)


def _header(blob: bytes) -> dict[str, str]:
    """The metadata of a safetensors file: 8 bytes of length, then JSON. Source: the format's README."""
    size = int.from_bytes(blob[:8], "little")
    metadata: dict[str, str] = json.loads(blob[8 : 8 + size])["__metadata__"]
    return metadata


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def snapshot(module: nn.Module) -> dict[str, Tensor]:
    """A copy of a module's state on the CPU."""
    return {name: value.detach().cpu().clone() for name, value in module.state_dict().items()}


def seed_epoch(seed: int, epoch: int) -> torch.Generator:
    """Seed dropout and give the generator of the row order: functions of the epoch's number alone."""
    torch.manual_seed(seed * 100_003 + epoch + 1)
    return torch.Generator().manual_seed(seed * 200_003 + epoch + 1)
