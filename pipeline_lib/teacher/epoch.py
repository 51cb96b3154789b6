"""What one epoch leaves in the curve: scores, losses, gates, experts, weights; and the alarms a curve raises."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from pipeline_lib.errors import TrainingDiverged
from pipeline_lib.teacher.contract import TaskSpec
from pipeline_lib.teacher.evaluate import Prior, Scores, averages, components, composite, score_task
from pipeline_lib.teacher.experts.optimal_transport import OptimalTransport
from pipeline_lib.teacher.frame import FIT, STOP, Frame
from pipeline_lib.teacher.gating import entropy
from pipeline_lib.teacher.loss import validation_loss
from pipeline_lib.teacher.model import Teacher
from pipeline_lib.teacher.plan import Plan
from pipeline_lib.teacher.predict import Prediction, answers, predict
from pipeline_lib.teacher.resume import Progress
from pipeline_lib.teacher.step import Trainee

_FLAT, _ALONE, _UNUSED, _ONE_BRANCH, _ALIKE = 0.99, 0.9, 0.01, 0.3, 1e-3
COMPONENTS, TRANSPORT = ("auc", "ndcg", "mae"), "optimal_transport"


def describe(trainee: Trainee, plan: Plan, progress: Progress, mean: Mapping[str, float]) -> dict[str, Any]:
    """One row of the curve, from part ``stop`` and as many train rows.

    Args:
        mean: the epoch's mean training loss per task, and ``total``.

    Raises:
        TrainingDiverged: an expert's output is constant over the rows that have its input: it is not wired.
    """
    frame, stop, fit_rows = trainee.frame, trainee.frame.part(STOP), trainee.frame.part(FIT)
    found = predict(trainee.model, frame, stop, plan.predict_rows, trainee.device)
    sample = fit_rows[: max(len(stop), 1)]  # rows come in the order of a hash: the first ones are a sample
    seen = predict(trainee.model, frame, sample, plan.predict_rows, trainee.device)
    require_wired(found.expert_std, plan.min_expert_std, progress.step)
    scores = _averages(frame, stop, found.logits, trainee.tasks, plan)
    return {
        "phase": progress.phase,
        "epoch": len(progress.curve),
        "loss": mean["total"],
        "losses": {name: value for name, value in mean.items() if name != "total"},
        "loss_stop": validation_loss(trainee.tasks, found.logits, frame.targets(stop), plan.loss),
        "components": components(scores),
        "composite_stop": composite(scores),
        "composite_fit": composite(_averages(frame, sample, seen.logits, trainee.tasks, plan)),
        "prototype_diversity": prototype_diversity(trainee.model),
        "expert_std": found.expert_std,
        "weights": trainee.weighting.state(),
        "at_bound": trainee.weighting.at_bound(),
        **gate_facts(found, trainee.model.expert_names, trainee.model.task_names),
    }


def gate_facts(found: Prediction, experts: Sequence[str], tasks: Sequence[str]) -> dict[str, Any]:
    """Stage 2 over the rows: mean per expert, and per task the entropy ratio and the share of rows with one expert."""
    if len(experts) < 2:
        return {"gate_mean": {}, "entropy_ratio": {}, "alone": {}, "branch_entropy_bits": None}
    ratio = entropy(found.gates).mean(0) / math.log(len(experts))  # (T,)
    alone = (found.gates.amax(-1) > _ALONE).float().mean(0)  # (T,)
    return {
        "gate_mean": dict(zip(experts, found.gates.mean((0, 1)).tolist(), strict=True)),
        "entropy_ratio": dict(zip(tasks, ratio.tolist(), strict=True)),
        "alone": dict(zip(tasks, alone.tolist(), strict=True)),
        "branch_entropy_bits": found.branch_entropy_bits,
    }


def alarms(curve: Sequence[Mapping[str, Any]]) -> list[str]:
    """What a reader of the curve should look into: each needs a few epochs in a row. Source: sections 5.4, 6, 11."""
    found = []
    if len(curve) >= 2:
        stuck = set(curve[-1]["at_bound"]) & set(curve[-2]["at_bound"])
        found += [f"weight of {task} has been at its bound for two epochs" for task in sorted(stuck)]
        bits = [row["branch_entropy_bits"] for row in curve[-2:]]
        if all(b is not None and b < _ONE_BRANCH for b in bits):
            found.append(f"the temporal expert listens to one branch: gate entropy {bits[-1]:.2f} bits")
    if len(curve) >= 3:
        for expert in curve[-1]["gate_mean"]:
            if all(row["gate_mean"][expert] < _UNUSED for row in curve[-3:]):
                found.append(f"expert {expert} gets under {_UNUSED:.0%} of the attention for three epochs")
    if curve and (missing := [name for name in COMPONENTS if name not in curve[-1]["components"]]):
        found.append(f"epochs are chosen without {' and '.join(missing)}: no task or no row has it")
    if curve and (apart := curve[-1]["prototype_diversity"]) is not None and apart < _ALIKE:
        found.append(f"the transport expert's prototypes are alike: mean distance {apart:.1e}")
    if curve and curve[-1]["entropy_ratio"] and min(curve[-1]["entropy_ratio"].values()) > _FLAT:
        found.append("stage 2 is flat for every task: the gates do not choose")
    return found


def require_wired(spread: Mapping[str, float | None], least: float, step: int) -> None:
    """Raises TrainingDiverged naming the experts whose output does not vary; None: no row has the expert's input."""
    if dead := {name: round(std, 6) for name, std in spread.items() if std is not None and std < least}:
        raise TrainingDiverged(f"experts whose output does not vary over the rows (std below {least}): {dead}", step)


@torch.no_grad()
def prototype_diversity(model: Teacher) -> float | None:
    """How far the transport expert's prototypes lie from one another; None without the expert."""
    if TRANSPORT not in model.expert_names:
        return None
    expert = model.experts[TRANSPORT]
    return expert.diversity() if isinstance(expert, OptimalTransport) else None


def _averages(
    frame: Frame, rows: Tensor, logits: Mapping[str, Tensor], tasks: Sequence[TaskSpec], plan: Plan
) -> Scores:
    found, fit_rows = answers(logits, tasks), frame.part(FIT)
    scores = {
        t.name: score_task(
            t,
            frame.labels[t.name][rows].numpy(),
            found[t.name],
            Prior.of(t, frame.labels[t.name][fit_rows].numpy()),
            plan.ndcg_k,
        )
        for t in tasks
    }
    return averages(scores, tasks, plan.ndcg_tasks)
