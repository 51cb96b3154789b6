"""All explanations of a finished teacher, in order; settings stop here.

1. out-of-distribution: reference on fit, threshold on calib (stop where calib is empty), rate on fidelity, probes
2. attribution: head on fit, judged on fidelity, replaced by the exact target where it fails
3. faithfulness of the gate weights on the newest rows of fidelity
4. side heads, where they are switched on
5. table for the rows of parts gate and serve, as for the gate weights
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl
from torch import Tensor

from pipeline_lib.runs import Out
from pipeline_lib.settings.teacher.explain import Explain
from pipeline_lib.teacher.explain.choice import Attribution, attribute
from pipeline_lib.teacher.explain.crosses import loudest_crosses
from pipeline_lib.teacher.explain.distances import Distances, measure_distances
from pipeline_lib.teacher.explain.faithfulness import entropy_ratio, faithfulness, reliance
from pipeline_lib.teacher.explain.figures import draw_attribution, draw_distances, draw_faithfulness
from pipeline_lib.teacher.explain.outputs import Explainer, explanation_table
from pipeline_lib.teacher.explain.side import side_heads
from pipeline_lib.teacher.explain.subject import Subject, causal_view, newest_first
from pipeline_lib.teacher.frame import FIDELITY, GATE, SERVE


@dataclass(frozen=True)
class Explained:
    """``table`` and ``report`` leave the stage; ``tensors`` and ``body`` go beside the checkpoint."""

    table: pl.DataFrame
    report: dict[str, Any]
    tensors: dict[str, Tensor]
    body: dict[str, Any]
    distances: Distances | None
    attribution: Attribution | None


def explain(subject: Subject, policy: Explain, causal_graph: Mapping[str, Any] | None = None) -> Explained:
    """Args: causal_graph: health of the learned graph, which decides whether any causal word may be used."""
    s, view = subject, causal_view(subject)
    distances = measure_distances(s, view, policy.out_of_distribution) if view else None
    attribution = attribute(s, view, policy.attribution) if view and policy.attribution.enabled else None
    explainer = None
    if view:
        names = tuple(s.columns[i] for i in view.columns)
        reference = distances.reference if distances else None
        explainer = Explainer(
            view, names, reference, attribution.attributor if attribution else None, policy.attribution.top
        )
    side_report, tensors = side_heads(s, policy)
    body: dict[str, Any] = {"attribution_method": attribution.attributor.method if attribution else None}
    if attribution:
        tensors |= {f"attribution.{name}": value for name, value in attribution.attributor.tensors().items()}
    if distances:
        own, body["out_of_distribution"] = distances.reference.to_tensors()
        tensors |= own
    report = {
        "out_of_distribution": distances.report if distances else None,
        "attribution": attribution.report if attribution else None,
        **gate_report(s, policy),
        "causal_graph": dict(causal_graph) if causal_graph is not None else None,
        "crosses": loudest_crosses(s),
        **side_report,
    }
    table = explanation_table(explainer, s.frame, s.frame.part(GATE, SERVE), s.batch_rows, s.device)
    return Explained(table, report, tensors, body, distances, attribution)


def gate_report(s: Subject, policy: Explain) -> dict[str, Any]:
    """Faithfulness of the gate weights, and the share of rows per task that no single expert explains."""
    rows = newest_first(s.frame, s.frame.part(FIDELITY))[: policy.faithfulness.rows]
    if not len(rows):
        return {"faithfulness": None, "multi_factor": None}
    found = reliance(s.model, s.frame, rows, s.batch_rows, s.device)
    many = entropy_ratio(found.weights, found.avail) > policy.multi_factor_ratio  # (n, T)
    shares = dict(zip(s.model.task_names, many.double().mean(0).tolist(), strict=True))
    return {
        "faithfulness": faithfulness(found, s.model.task_names, policy.faithfulness),
        "multi_factor": {"ratio": policy.multi_factor_ratio, "share": shares},
    }


def draw(out: Out, explained: Explained) -> None:
    """The pictures of whatever could be explained."""
    if (d := explained.distances) is not None:
        draw_distances(out.path("ood.png"), d.parts, d.probes, d.reference.threshold)
    if (a := explained.attribution) is not None:
        draw_attribution(out.path("attribution.png"), a.mean_absolute, a.deletion, a.attributor.method)
    if explained.report["faithfulness"] is not None:
        draw_faithfulness(out.path("faithfulness.png"), explained.report["faithfulness"])
