"""The limits one comparison was held to: from the policy, and again from a verdict's row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from pipeline_lib.settings.promotion import Promotion


@dataclass(frozen=True)
class Limits:
    """Fields as in ``config/promotion.yaml``."""

    min_improvement: float
    max_degradation: float
    abs_tolerance: float
    significance_level: float
    power: float
    harm_test: bool
    harm_loss: float
    min_positives: int
    min_powered_tasks: int
    min_gate_rows: int
    powered_gate_rows: int

    @classmethod
    def of(cls, policy: Promotion) -> Limits:
        return cls(**{field.name: getattr(policy, field.name) for field in fields(cls)})

    @classmethod
    def recorded(cls, record: Mapping[str, Any]) -> Limits:
        """From a row of the record, where reals are decimal text."""
        values: dict[str, Any] = {name: float(v) if isinstance(v, str) else v for name, v in record.items()}
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)
