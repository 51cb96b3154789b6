"""The stage ``drift``: a challenger beside the champion and beside the anchor, the champion of 13 weeks ago.

All were scored on the same gate rows by the code that serves; rows are matched by key. Alerts never block: they
reach the verdict, and the person who signs sees them. The anchor is there for slow creep, which a comparison with
last week's model never shows. Features are compared with the champion's own baseline. Source: distillation.md 12.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import polars as pl

from pipeline_lib.errors import ManifestMismatch, ObjectMissing, SignatureInvalid
from pipeline_lib.keys import KeyFolder
from pipeline_lib.monitor import chart, feature_shift, shifts
from pipeline_lib.monitor.feature_shift import FeatureShift
from pipeline_lib.monitor.shifts import KEYS, Shift
from pipeline_lib.registry import versions
from pipeline_lib.registry.package import Package
from pipeline_lib.runs import Out, RunContext, StageOutput

STAGE = "drift"
PREDECESSORS = ("champion", "anchor")


@dataclass(frozen=True)
class Beside:
    """The challenger beside one predecessor."""

    version: str | None
    tasks: Mapping[str, Shift] | None
    """None: nothing was compared, ``why`` says so."""
    why: str | None = None

    def to_dict(self) -> dict[str, Any] | None:
        return None if self.tasks is None else {task: shift.to_dict() for task, shift in self.tasks.items()}


def drift(ctx: RunContext) -> StageOutput:
    """Measure how far this run's challenger is from its predecessors.

    Raises:
        ManifestMismatch, SignatureInvalid: the challenger or the champion is not what was registered.
    """
    package, score, labels, features = (ctx.read(name) for name in ("package", "score", "labels", "features"))
    make = partial(_make, ctx, score, labels, features)
    return ctx.produce(STAGE, make, [package, score, labels, features])


def _make(ctx: RunContext, score: StageOutput, labels: StageOutput, features: StageOutput, out: Out) -> None:
    limits, keys = ctx.settings.monitoring, KeyFolder(ctx.settings.place.keys)
    newer = versions.verify(ctx.objects, keys, str(score.facts["challenger"]))
    beside = {role: _beside(ctx, newer, role, score, labels) for role in PREDECESSORS}
    moved = _features(ctx, features, score.facts["champion"])
    found = [alert for role, one in beside.items() for alert in shifts.alerts(one.tasks or {}, role, limits.successive)]
    summary = {
        "why": beside["champion"].why,
        "anchor_why": beside["anchor"].why,
        "versions": {"challenger": newer.version, **{role: one.version for role, one in beside.items()}},
        "rows": score.facts["rows"],
        "alerts": [*found, *_feature_alerts(moved, limits.drift.feature_psi_critical)],
        **{role: one.to_dict() for role, one in beside.items()},
        "features": moved.summary(limits.drift),
    }
    everything = {
        **summary,
        "features": {**summary["features"], "psi": dict(moved.values), "unmatched": list(moved.unmatched)},
    }
    text = json.dumps(everything, indent=1, sort_keys=True, allow_nan=False)
    out.path("drift.json").write_text(text + "\n", encoding="utf-8")
    chart.draw(summary, limits, out.path("drift.png"))
    out.facts.update(summary=summary)


def _beside(ctx: RunContext, newer: Package, role: str, score: StageOutput, labels: StageOutput) -> Beside:
    version = score.facts[role]
    if version is None:
        return Beside(None, None, score.facts["anchor_why"] if role == "anchor" else "nothing serves yet")
    keys = KeyFolder(ctx.settings.place.keys)
    try:
        older = versions.verify(ctx.objects, keys, version)
    except (ManifestMismatch, SignatureInvalid, ObjectMissing) as error:
        if role == "champion":
            raise
        return Beside(version, None, f"{version} does not verify: {type(error).__name__}")
    before, now = (pl.read_parquet(score.path(f"{name}.parquet")) for name in (role, "challenger"))
    known = _labels(labels, newer.tasks if _passed_the_floor(newer) else ())
    found = shifts.compare(older, newer, before, now, known, ctx.settings.monitoring.drift)
    return Beside(version, found)


def _features(ctx: RunContext, features: StageOutput, champion: str | None) -> FeatureShift:
    rows, columns = feature_shift.of_run(features)
    if champion is None:
        return FeatureShift(rows, {}, "nothing serves yet")
    version = versions.verify(ctx.objects, KeyFolder(ctx.settings.place.keys), champion)
    return feature_shift.measure(ctx.objects, version, columns, rows, ctx.settings.monitoring.drift)


def _feature_alerts(moved: FeatureShift, critical: float) -> list[dict[str, Any]]:
    """The worst critical features, as many as a verdict's row can bear; their number is in the summary."""
    return [
        {"against": "champion", "feature": name, "statistic": "psi", "value": moved.values[name], "limit": critical}
        for name in moved.beyond(critical)[: feature_shift.NAMED]
    ]


def _passed_the_floor(newer: Package) -> bool:
    """Whether outcomes may be read: below the floor nobody computes who answers better. Source: promotion.md 4."""
    tasks = newer.tasks.values()
    return newer.state == "complete" and not any(task.fidelity == "fail" or task.failing for task in tasks)


def _labels(labels: StageOutput, tasks: Collection[str]) -> pl.DataFrame:
    """Mature labels by row key."""
    table = pl.scan_parquet(labels.path("label_table.parquet")).filter(pl.col("label_status") == "mature")
    present = [name for name in table.collect_schema().names() if name in tasks]
    return table.select(*KEYS, *present).collect()
