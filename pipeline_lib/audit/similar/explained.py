"""Recorded explanations of a window: one plain value an answer, for the questions about many of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pipeline_lib.audit.dispute.rows import Row, Rows
from pipeline_lib.errors import RequestRefused


@dataclass(frozen=True)
class Window:
    """[start, end) in time; both carry a zone."""

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        if self.start >= self.end:
            raise RequestRefused(f"a window ends after it starts, found {self.start} to {self.end}")

    @property
    def bounds(self) -> tuple[str, str]:
        """As the record writes time."""
        first, last = (moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ") for moment in (self.start, self.end))
        return first, last


@dataclass(frozen=True)
class Explained:
    task: str
    method: str
    product: str | None
    """Recommended first; None where nothing was, or the prediction is missing."""
    segment: str | None
    contributions: Mapping[str, float]
    gates: Mapping[str, float]
    """Empty where none were recorded."""


def explained(rows: Rows, window: Window) -> list[Explained]:
    """Answers of the window whose attribution names a task, in leaf order."""
    start, end = window.bounds
    of = {
        row.stored["prediction_id"]: row.said
        for row in rows.find("log_model_inference", "event = 'prediction'", start, end)
    }
    found = rows.find("log_attribution", "event = 'attribution'", start, end)
    return [_one(row, of.get(row.stored["prediction_id"]) or {}) for row in found if row.said.get("task")]


def dimension_changes(rows: Rows, windows: Sequence[Window]) -> int:
    """Changes of the feature schema inside or between the windows: names before and after are not the same things."""
    start, end = min(window.bounds[0] for window in windows), max(window.bounds[1] for window in windows)
    return len(rows.find("log_dimension_change", "event = 'dimension_change'", start, end))


def _one(row: Row, prediction: Mapping[str, Any]) -> Explained:
    said = row.said
    shown = prediction.get("recommended") or [{}]
    return Explained(
        task=str(said["task"]),
        method=str(said["method"]),
        product=shown[0].get("product_id"),
        segment=prediction.get("segment_id"),
        contributions={item["feature"]: float(item["contribution"]) for item in said.get("top_features") or []},
        gates={gate["expert"]: float(gate["w"]) for gate in said.get("gates") or []},
    )
