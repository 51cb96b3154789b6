"""Judge what was built: a distilled student against its teacher, a hard-label one against the labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline_lib.distill import acceptance, metrics, verdict
from pipeline_lib.distill.build import Built
from pipeline_lib.distill.columns import segment_masks
from pipeline_lib.distill.frame import Rows, TaskFrame
from pipeline_lib.distill.statistics import Comparison, Statistics
from pipeline_lib.settings.distillation import Distillation

HARM = "DISTILLATION_HARM"


@dataclass(frozen=True)
class Judged:
    statistics: Statistics
    limits: list[verdict.Criterion]
    judgement: Mapping[str, Any]
    """What ``verdict.judge`` says."""


def base_rate(frame: TaskFrame) -> float | list[float] | None:
    """Label shares on ``fit``: of positives, of each class, or None for a regression."""
    fit = frame.parts["fit"]
    if frame.kind == "regression":
        return None
    shares = fit.class_counts(len(frame.classes)) / len(fit)
    return float(shares[1]) if frame.kind == "binary" else [float(share) for share in shares]


def label_range(frame: TaskFrame) -> dict[str, float] | None:
    """What serving needs of a regression label on ``fit``: normalisers and the range of sane answers."""
    if frame.kind != "regression":
        return None
    y = frame.parts["fit"].y
    low, q95, high = np.quantile(y, [0.001, 0.95, 0.999])
    return {"mean": float(y.mean()), "sd": float(y.std()), "q95": float(q95), "low": float(low), "high": float(high)}


def against_teacher(frame: TaskFrame, built: Built, policy: Distillation) -> Judged:
    """All fidelity statistics on ``fidelity``, the limits in force and the verdict."""
    rate, limits = base_rate(frame), policy.fidelity
    statistics = Comparison(
        kind=frame.kind,
        rows=frame.parts["fidelity"],
        raw=built.raw,
        served=built.served,
        segments=segment_masks(limits.segments, frame.segments),
        min_segment_rows=limits.min_segment_rows,
        min_segment_positives=limits.min_segment_positives,
    ).statistics()
    criteria = verdict.criteria(
        frame.kind,
        limits,
        floor=policy.fidelity_floor,
        classes=len(frame.classes),
        base_rate=rate if isinstance(rate, float) else None,
        teacher_f1=statistics.get("f1_teacher"),
    )
    return Judged(statistics, criteria, verdict.judge(frame.kind, statistics, criteria, mode=limits.mode))


def against_labels(frame: TaskFrame, built: Built, policy: Distillation) -> list[acceptance.Check]:
    """Acceptance of a hard-label student: every check must be met."""
    rate = base_rate(frame)
    return acceptance.checks(
        frame.kind,
        frame.parts["fit"],
        frame.parts["fidelity"],
        built.served,
        min_auc=policy.teacher_threshold.binary_floor_auc,
        max_ece=verdict.ece_limit(policy.fidelity, rate) if isinstance(rate, float) else None,
        resamples=policy.evidence.bootstraps,
        seed=metrics.seed_of(f"{frame.task}|acceptance", policy.seed),
    )


def primary(frame: TaskFrame, rows: Rows, built: Built) -> float:
    """AUC, macro-F1 or R2 of what is served, against labels."""
    return metrics.primary(frame.kind, rows.y, built.served)


def harmed(frame: TaskFrame, student: Built, twin: Built, max_harm: float) -> tuple[float, list[str]]:
    """How much better the hard-label twin is, and the flag when that is more than tolerated (informational)."""
    rows = frame.parts["fidelity"]
    lead = primary(frame, rows, twin) - primary(frame, rows, student)
    return lead, [HARM] if lead > max_harm else []
