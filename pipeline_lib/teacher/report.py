"""Everything the stage writes, from a trained checkpoint and its predictions. No clock, no torch randomness.

Metrics are given on the validation customers (``val``: parts stop and calib, which chose the epoch and fitted the
calibrators) and on part ``fidelity`` (later in time, other customers). The labels of part ``gate`` are not read here.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from safetensors.torch import save
from torch import Tensor

from pipeline_lib.runs import Out
from pipeline_lib.settings.teacher import Teacher as TeacherSettings
from pipeline_lib.teacher import checkpoint as saved
from pipeline_lib.teacher.adatt import AdaTT
from pipeline_lib.teacher.checkpoint import Checkpoint
from pipeline_lib.teacher.contract import TaskSpec
from pipeline_lib.teacher.curves import draw
from pipeline_lib.teacher.epoch import alarms
from pipeline_lib.teacher.evaluate import Prior, Scores, averages, score_task, undefined
from pipeline_lib.teacher.explain.faithfulness import lenses
from pipeline_lib.teacher.explain.stage import Explained
from pipeline_lib.teacher.explain.stage import draw as draw_explanations
from pipeline_lib.teacher.frame import CALIB, FIDELITY, FIT, GATE, SERVE, STOP, Frame
from pipeline_lib.teacher.pictures import draw_affinity, draw_calibration
from pipeline_lib.teacher.predict import Prediction, answers, gate_table, soft_label_summary, soft_labels
from pipeline_lib.teacher.resume import Progress
from pipeline_lib.teacher.setup import Data

VIABILITY_METRIC = {"binary": "auc", "multiclass": "macro_f1", "regression": "r2"}


def write_outputs(
    out: Out,
    checkpoint: Checkpoint,
    data: Data,
    everything: Prediction,
    explained: Explained,
    adatt: AdaTT,
    progress: Progress,
    policy: TeacherSettings,
    stamps: Mapping[str, str],
) -> None:
    """Checkpoint, metrics, curves, soft labels with their sidecar, gate weights, and the stage's facts."""
    frame, ndcg_tasks, ndcg_k = data.frame, policy.selection.ndcg_tasks, policy.selection.ndcg_k
    tasks, names = checkpoint.tasks, [task.name for task in checkpoint.tasks]
    weights, model = out.path(f"checkpoint/{saved.WEIGHTS}"), out.path(f"checkpoint/{saved.MODEL}")
    saved.save_checkpoint(checkpoint, weights, model, stamps)

    metrics = {**measure(checkpoint, frame, everything, progress, ndcg_tasks, ndcg_k), "experts_absent": data.absent}
    out.path("metrics.json").write_bytes(saved.json_bytes(metrics))
    val = frame.part(STOP, CALIB)
    draw(
        out.path("curves.png"),
        progress.curve,
        progress.best_epoch,
        everything.gates[val].mean(0).numpy(),
        names,
        checkpoint.experts,
    )

    _draw_calibration(out, frame, everything, checkpoint)
    affinity, negative = adatt.affinity.cpu().double().numpy(), adatt.negative_transfer()
    draw_affinity(out.path("affinity.png"), names, affinity, negative)

    labels = soft_labels(frame.keys, everything.logits, tasks, checkpoint.calibrators)
    labels.write_parquet(out.path("soft_labels.parquet", rows=labels.height), compression="zstd")
    summary = soft_label_summary(labels, tasks, policy.degenerate_std)
    for name in names:
        summary[name]["viability"] = metrics["tasks"][name]["viability"]
    sidecar = {"temperature": 1, "rows": labels.height, "schema_hash": checkpoint.inputs.schema_hash, "tasks": summary}
    out.path("soft_labels.json").write_bytes(saved.json_bytes(sidecar))

    gates = _gates(checkpoint, frame, everything, policy.explain.multi_factor_ratio, faithful_tasks(explained.report))
    gates.write_parquet(out.path("gate_weights.parquet", rows=gates.height), compression="zstd")
    out.path("checkpoint/explain.safetensors").write_bytes(save(explained.tensors))
    out.path("checkpoint/explain.json").write_bytes(saved.json_bytes(explained.body))
    explained.table.write_parquet(out.path("explanations.parquet", rows=explained.table.height), compression="zstd")
    out.path("explain.json").write_bytes(saved.json_bytes(explained.report))
    draw_explanations(out, explained)
    out.facts.update(_facts(checkpoint, metrics, progress), explained=_explanation_facts(explained.report))


def _gates(
    checkpoint: Checkpoint, frame: Frame, everything: Prediction, ratio: float, faithful: Collection[str]
) -> pl.DataFrame:
    """A task whose gate weights do not tell what its answers rest on names no lens."""
    rows = frame.part(GATE, SERVE)
    gates, experts = everything.gates[rows], tuple(checkpoint.experts)
    lens = lenses(gates, everything.avail[rows], experts, ratio)
    tasks = [task.name for task in checkpoint.tasks]
    told = [name if tasks[i % len(tasks)] in faithful else None for i, name in enumerate(lens)]
    return gate_table(frame.keys[rows.numpy()], gates, everything.private[rows], told, tasks, experts)


def faithful_tasks(report: Mapping[str, Any]) -> list[str]:
    """Tasks whose weights reach the bound; none where it could not be measured."""
    found = report["faithfulness"]
    if found is None:
        return []
    return [task for task, value in found["tasks"].items() if value is not None and value > found["min_correlation"]]


def _draw_calibration(out: Out, frame: Frame, everything: Prediction, checkpoint: Checkpoint) -> None:
    """Binary tasks on part fidelity, which neither trained nor calibrated."""
    rows = frame.part(FIDELITY)
    binary = [task for task in checkpoint.tasks if task.kind == "binary"]
    logits = {task.name: everything.logits[task.name][rows] for task in binary}
    labels = {task.name: frame.labels[task.name][rows].numpy() for task in binary}
    if binary and len(rows):
        calibrated = answers(logits, binary, checkpoint.calibrators)
        draw_calibration(out.path("calibration.png"), labels, answers(logits, binary), calibrated)


def measure(
    checkpoint: Checkpoint,
    frame: Frame,
    everything: Prediction,
    progress: Progress,
    ndcg_tasks: Sequence[str],
    ndcg_k: int,
) -> dict[str, Any]:
    """The content of metrics.json: per task, averages, gates, experts, the curve."""
    calibrated = answers(everything.logits, checkpoint.tasks, checkpoint.calibrators)
    raw = answers(everything.logits, checkpoint.tasks)
    val, fidelity = frame.part(STOP, CALIB), frame.part(FIDELITY)
    on_val, on_val_raw, on_fidelity = (
        _scores(frame, rows, found, checkpoint.tasks, ndcg_k)
        for rows, found in ((val, calibrated), (val, raw), (fidelity, calibrated))
    )
    gates = dict(zip((t.name for t in checkpoint.tasks), everything.gates[val].mean(0).tolist(), strict=True))
    return {
        "tasks": {
            task.name: {
                "kind": task.kind,
                "val": on_val[task.name],
                "val_raw": on_val_raw[task.name],
                "fidelity": on_fidelity[task.name],
                "calibrator": checkpoint.calibrators[task.name].to_dict(),
                "gate_mean": dict(zip(checkpoint.experts, gates[task.name], strict=True)),
                "viability": {
                    "metric": VIABILITY_METRIC[task.kind],
                    "value": on_val[task.name].get(VIABILITY_METRIC[task.kind]),
                    "classes": task.out if task.kind == "multiclass" else None,
                    "rows": on_val[task.name]["rows"],
                },
            }
            for task in checkpoint.tasks
        },
        "averages": {
            part: {
                "all": averages(found, checkpoint.tasks, ndcg_tasks),
                "without_segment": averages(
                    found, [t for t in checkpoint.tasks if t.name != "segment_prediction"], ndcg_tasks
                ),
            }
            for part, found in (("val", on_val), ("fidelity", on_fidelity))
        },
        "undefined": {"val": undefined(on_val), "fidelity": undefined(on_fidelity)},
        "expert_std": everything.expert_std,
        "parameters": saved.parameter_counts(checkpoint.model),
        "best_epoch": progress.best_epoch,
        "epochs": len(progress.curve),
        "curve": progress.curve,
        "alarms": alarms(progress.curve),
    }


def _scores(
    frame: Frame, rows: Tensor, found: Mapping[str, np.ndarray], tasks: Sequence[TaskSpec], k: int
) -> dict[str, Scores]:
    at, fit_rows = rows.numpy(), frame.part(FIT)
    return {
        t.name: score_task(
            t,
            frame.labels[t.name][rows].numpy(),
            found[t.name][at],
            Prior.of(t, frame.labels[t.name][fit_rows].numpy()),
            k,
        )
        for t in tasks
    }


def _facts(checkpoint: Checkpoint, metrics: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    return {
        "experts": list(checkpoint.experts),
        "experts_absent": metrics["experts_absent"],
        "alarms": metrics["alarms"],
        "tasks": [task.name for task in checkpoint.tasks],
        "schema_hash": checkpoint.inputs.schema_hash,
        "parameters": metrics["parameters"],
        "best_epoch": progress.best_epoch,
        "epochs": len(progress.curve),
        "composite": progress.best_score,
        "averages": metrics["averages"],
        "viability": {name: found["viability"] for name, found in metrics["tasks"].items()},
        "gate_mean": {name: found["gate_mean"] for name, found in metrics["tasks"].items()},
    }


def _explanation_facts(report: Mapping[str, Any]) -> dict[str, Any]:
    """What a reader of the run wants first: may the explanations be believed? None where a part does not exist."""
    distances, attribution, gates, graph = (
        report[name] or {} for name in ("out_of_distribution", "attribution", "faithfulness", "causal_graph")
    )
    method = attribution.get("method")
    return {
        "ood_held_out": distances.get("held_out"),
        "attribution": method,
        "attribution_passed": attribution["quality"][method]["passed"] if method else None,
        "faithful_tasks": gates.get("faithful_tasks"),
        "faithful": gates.get("passed"),
        "causal": graph.get("causal"),
    }
