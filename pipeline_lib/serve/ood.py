"""Is this customer like those the models learnt from? The teacher's distance of the row, read with its own limits.

The measure is the teacher's (Mahalanobis distance where its causal expert looks; ``teacher/explain/ood.py``), the
limits are the 95th and 99th percentile of the same distance on rows it did not fit (conformal, part ``calib``). Both
come from one teacher pass and travel together: a distance of one reference says nothing beside limits of another.
A signal that is too old is ignored and said to be stale, never taken for normal. Source: serving.md 4 and 10.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from pipeline_lib.canonical import decimal_text

UNKNOWN, STALE, NORMAL, FLAGGED, OVERRIDE = "unknown", "stale", "normal", "flagged", "override"


@dataclass(frozen=True)
class Distance:
    """Unitless; ``flag_over`` and ``override_over`` are None where too few rows could calibrate them."""

    value: float
    flag_over: float | None
    override_over: float | None
    as_of: date

    @classmethod
    def read(cls, value: float | None, meta: Mapping[str, str]) -> Distance | None:
        """From an item of the feature table and the table's own facts; None where nothing was measured.

        Raises ValueError for a distance or a limit that is no number.
        """
        if value is None or "ood_as_of" not in meta:
            return None
        flag, override = (float(meta[name]) if name in meta else None for name in ("ood_flag", "ood_override"))
        return cls(float(value), flag, override, date.fromisoformat(meta["ood_as_of"]))

    def level(self, today: date, max_age_h: int) -> str:
        """How far out: ``normal``, ``flagged`` (one flag), ``override`` (rules answer), or ``stale``."""
        if not 0 <= (today - self.as_of).days * 24 <= max_age_h:
            return STALE
        if self.override_over is not None and not self.value <= self.override_over:  # not a number is far out
            return OVERRIDE
        if self.flag_over is None:
            return UNKNOWN
        return NORMAL if self.value <= self.flag_over else FLAGGED


def level(distance: Distance | None, today: date, max_age_h: int) -> str:
    """``unknown`` where nothing was measured or no limit could be calibrated."""
    return distance.level(today, max_age_h) if distance else UNKNOWN


def is_flag(found: str) -> bool:
    return found in (FLAGGED, OVERRIDE)


def row(distance: Distance | None, found: str) -> dict[str, Any] | None:
    """What the record keeps; reals are texts there."""
    if distance is None:
        return None
    limits = (distance.value, distance.flag_over, distance.override_over)
    value, flag, override = (decimal_text(limit) for limit in limits)
    as_of = distance.as_of.isoformat()
    return {"level": found, "distance": value, "flag_over": flag, "override_over": override, "as_of": as_of}
