"""What was served in a window, read from the record: the only input of every monitor.

Only rows under a checkpoint are seen, so that any window can be computed again. Source: monitoring.md 2.5.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from pipeline_lib.audit import query
from pipeline_lib.business_time import utc_now
from pipeline_lib.settings import Settings

MODEL_LAYERS = (1, 2)
"""Layers whose scores come from a model: distilled, direct."""


@dataclass(frozen=True)
class Served:
    """One recorded prediction with what its guardrail let through."""

    version: str | None
    scores: dict[str, float]
    """Task -> calibrated score, for tasks that a model answered; the top class's of a multiclass task."""
    groups: dict[str, str]
    """Protected attribute -> group; attributes not recorded are absent."""
    offered: bool
    """At least one item was recommended and delivered."""


@dataclass(frozen=True)
class Window:
    start: datetime
    end: datetime
    answers: tuple[Served, ...]
    """In the order of the record."""
    first_leaf: int | None
    last_leaf: int | None
    as_of_ckpt: int | None
    """Newest checkpoint among the rows; with the leaves it identifies the window. None: no rows."""

    def to_dict(self) -> dict[str, Any]:
        return {
            "window_id": f"{self.first_leaf}-{self.last_leaf}@{self.as_of_ckpt}",
            "ts_from": self.start.astimezone(UTC).isoformat(),
            "ts_to": self.end.astimezone(UTC).isoformat(),
            "n": len(self.answers),
            "first_leaf": self.first_leaf,
            "last_leaf": self.last_leaf,
            "as_of_ckpt": self.as_of_ckpt,
        }


def window(settings: Settings, end: datetime | None = None) -> Window:
    """The answers of the last ``monitoring.window_days`` before ``end``, by default now."""
    end = end or utc_now()
    start = end - timedelta(days=settings.monitoring.window_days)
    predictions = _rows(settings, "log_model_inference", "prediction", start, end)
    guarded = _rows(settings, "log_guardrail", "guardrail", start, end)
    delivered = {
        prediction_id
        for prediction_id, payload in guarded.select("prediction_id", "payload").iter_rows()
        if json.loads(payload)["delivered"] is True
    }
    answers = tuple(
        _served(json.loads(payload), prediction_id in delivered)
        for prediction_id, payload in predictions.select("prediction_id", "payload").iter_rows()
    )
    leaves = predictions["leaf_index"].to_list()
    checkpoints = predictions["ckpt_n"].to_list()
    return Window(
        start, end, answers, min(leaves, default=None), max(leaves, default=None), max(checkpoints, default=None)
    )


def _rows(settings: Settings, table: str, event: str, start: datetime, end: datetime) -> pl.DataFrame:
    until = end.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    frame = query.frame(settings, table, since=start)
    return frame.filter((pl.col("event") == event) & (pl.col("ts") < until))


def _served(payload: dict[str, Any], delivered: bool) -> Served:
    scores = {
        score["task"]: float(score["calibrated"])
        for score in payload["task_scores"] or ()
        if score["layer"] in MODEL_LAYERS and score["calibrated"] is not None
    }
    groups = {name: str(group) for name, group in (payload["prot"] or {}).items() if group is not None}
    return Served(payload["model_version"], scores, groups, delivered and bool(payload["recommended"]))
