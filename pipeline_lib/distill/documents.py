"""The two JSON documents of a student, as plain dictionaries: ``student.json`` and ``fidelity.json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline_lib.distill import metrics, routing, verdict
from pipeline_lib.distill.agreement import agreement
from pipeline_lib.distill.build import Built
from pipeline_lib.distill.columns import Selection
from pipeline_lib.distill.evidence import Counts
from pipeline_lib.distill.frame import TaskFrame
from pipeline_lib.distill.judging import Judged, base_rate, label_range, primary
from pipeline_lib.distill.routing import Routing

SCHEMA_VERSION = 1


def student(
    frame: TaskFrame, route: Routing, model: Built | None, twin: Built | None, selection: Selection | None
) -> dict[str, Any]:
    """Everything that answering needs beside the trees. Reals are JSON numbers, exact to the last bit.

    Args:
        model: the routed student; None for ``rules``.
        twin: the hard-label twin of a distilled student.
    """
    return {
        "schema_version": SCHEMA_VERSION,
        "task": frame.task,
        "kind": frame.kind,
        "classes": list(frame.classes),
        "route": route.route,
        "route_reason": route.reason,
        "viability": route.to_dict(),
        "base_rate": base_rate(frame),
        "label_range": label_range(frame),
        **_model(frame, model),
        "direct": _model(frame, twin) if twin else None,
        "selection": None
        if selection is None
        else {"gain_share": selection.share, "mandatory_absent": dict(selection.mandatory_absent)},
    }


def fidelity(
    frame: TaskFrame,
    route: Routing,
    counts: Counts,
    *,
    underpowered: Sequence[str],
    lacking: Sequence[str],
    flags: Sequence[str],
    judged: Judged | None = None,
    checks: Sequence[Mapping[str, Any]] | None = None,
    model: Built | None = None,
    twin: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Verdict pass, fail, exempt (direct) or rules, with what it rests on.

    Args:
        underpowered: partitions short of the full evidence minimum.
        lacking: partitions short of the evidence floor.
        judged: comparison with the teacher; None when no student was grown.
        checks: acceptance of a hard-label student.
        twin: results of the hard-label twin.
    """
    said = dict(judged.judgement) if judged else {}
    outcome = {"distil": said.get("verdict"), "direct": "exempt", "rules": "rules"}[route.route]
    informational = route.route != "distil"
    return {
        "schema_version": SCHEMA_VERSION,
        "task": frame.task,
        "kind": frame.kind,
        "route": route.route,
        "route_reason": route.reason,
        "verdict": outcome,
        "informational": informational,
        "metrics": dict(judged.statistics) if judged else {},
        "thresholds": verdict.limits_in_force(judged.limits) if judged else [],
        "failing": [] if informational else said["failing"],
        "tier1_failing": said.get("tier1_failing", []),
        "tier2_failing": said.get("tier2_failing", []),
        "strict_pass": bool(said["strict_pass"]) if judged and not informational else None,
        "amber": said.get("amber", []),
        "not_evaluable": said.get("not_evaluable", []),
        "not_measured": said.get("not_measured", []),
        "acceptance": [dict(check) for check in checks] if checks is not None else None,
        "primary_metric": metrics.NAME[frame.kind],
        "primary_value": primary(frame, frame.parts["fidelity"], model) if model else None,
        "twin": dict(twin) if twin else None,
        "rows": counts,
        "underpowered": bool(underpowered),
        "underpowered_because": list(underpowered),
        "insufficient_because": list(lacking),
        "flags": sorted({*said.get("flags", []), *flags}),
    }


def disabled(task: str, kind: str, why: str) -> dict[str, Any]:
    """The entry of an expected task that this data set cannot carry."""
    return {
        "task": task,
        "kind": kind,
        "route": "rules",
        "route_reason": routing.DISABLED_BY_DATA,
        "why": why,
        "verdict": "rules",
        "metrics": {},
        "failing": [],
        "underpowered": False,
        "flags": [],
    }


def _model(frame: TaskFrame, built: Built | None) -> dict[str, Any]:
    if built is None:
        return {"output_kind": None, "base_score": None, "features": [], "calibrator": None, "trees": 0, "leaves": 0,
                "explanation": None}  # fmt: skip
    base = list(built.model.base_score)
    return {
        "output_kind": built.model.output_kind,
        "base_score": None if not base else base if frame.kind == "multiclass" else base[0],
        "features": built.model.features,
        "calibrator": dict(built.calibrator),
        "trees": built.model.trees,
        "leaves": built.model.leaves,
        "explanation": agreement(built.model.text, frame.parts["fidelity"].x),
    }
