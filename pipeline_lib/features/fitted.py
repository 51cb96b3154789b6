"""What was learnt from train rows, as it is kept: ``fitted.json`` for people, ``fitted.safetensors`` for the arrays."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from safetensors.numpy import load_file, save_file

from pipeline_lib.features.columns import TIME_OF_DAY
from pipeline_lib.features.generator import Arrays


@dataclass(frozen=True)
class Fitted:
    """Everything learnt from rows with split = train, and nothing else (L09)."""

    arrays: dict[str, Arrays]
    """Group -> its arrays."""
    refused: dict[str, str]
    """Group -> why train rows do not carry it."""
    absent: dict[str, str]
    """Input -> why it is not available: columns of the source, event types, time of day."""
    edge_scale: float
    """Mean ln1p count of the customer-category edges."""
    channel_scale: dict[str, float]
    """Divisor of the count channels of the sequence."""
    fitted_on: dict[str, Any]
    """Fingerprint of the rows: split, customers, rows, keys_sha256, max_event_date (ISO date or None)."""

    @property
    def max_event_date(self) -> date | None:
        newest = self.fitted_on["max_event_date"]
        return date.fromisoformat(newest) if newest else None

    @property
    def timed(self) -> bool:
        """The source's events carry a time of day."""
        return TIME_OF_DAY not in self.absent

    def write(self, description: Path, tensors: Path) -> None:
        flat = {f"{group}/{name}": array for group, own in sorted(self.arrays.items()) for name, array in own.items()}
        save_file(flat, tensors)
        shapes = {name: [str(array.dtype), *array.shape] for name, array in sorted(flat.items())}
        body = {**self.__dict__, "arrays": shapes}
        description.write_text(json.dumps(body, indent=1, sort_keys=True, allow_nan=False) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, description: Path, tensors: Path) -> Fitted:
        body = json.loads(description.read_bytes())
        return cls(**{**body, "arrays": _by_group(load_file(tensors))})


def _by_group(flat: Mapping[str, Any]) -> dict[str, Arrays]:
    out: dict[str, Arrays] = {}
    for key, array in flat.items():
        group, _, name = key.partition("/")
        out.setdefault(group, {})[name] = array
    return out
