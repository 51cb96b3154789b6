"""What was served in a window, read from the record: the only input of every monitor."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from pipeline_lib.audit import query
from pipeline_lib.business_time import utc_now
from pipeline_lib.settings import Settings


@dataclass(frozen=True)
class Served:
    """One recorded prediction with what its guardrail let through."""

    version: str | None
    layer: str
    scores: dict[str, float]
    """Task -> calibrated score of binary and regression tasks."""
    groups: dict[str, str]
    """Protected attribute -> group; attributes not recorded are absent."""
    offered: bool
    """At least one item was recommended and delivered."""


def window(settings: Settings) -> tuple[str, list[Served]]:
    """Start of the window (UTC text) and its predictions in the order of the record."""
    start = (utc_now() - timedelta(days=settings.monitoring.window_days)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    delivered = {
        row["prediction_id"]: row["payload"].get("delivered") is True
        for row in _rows(settings, "log_guardrail", "guardrail", start)
    }
    rows = _rows(settings, "log_model_inference", "prediction", start)
    return start, [_served(row["payload"], delivered.get(row["prediction_id"], False)) for row in rows]


def _rows(settings: Settings, table: str, event: str, start: str) -> Iterator[dict[str, Any]]:
    frame = query.frame(settings, table)
    for row in frame.iter_rows(named=True):
        if row["event"] == event and row["ts"] >= start:
            yield {"prediction_id": row["prediction_id"], "payload": json.loads(row["payload"])}


def _served(payload: dict[str, Any], delivered: bool) -> Served:
    scores = {
        s["task"]: float(s["calibrated"]) for s in payload["task_scores"] or () if s.get("calibrated") is not None
    }
    groups = {name: str(group) for name, group in (payload["prot"] or {}).items() if group is not None}
    return Served(
        payload["model_version"], payload["layer"], scores, groups, delivered and bool(payload["recommended"])
    )
