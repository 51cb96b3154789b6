"""The training loop, top to bottom on one screen: rate, forward, backward, step, evaluate, keep, log.

Everything it needs is prepared before it (``Plan``, plain numbers); nothing in it reads settings. Source: teacher.md
section 15.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pipeline_lib.errors import ContractError, TrainingDiverged
from pipeline_lib.teacher.contract import TaskSpec
from pipeline_lib.teacher.evaluate import Prior, averages, composite, score_task
from pipeline_lib.teacher.frame import FIT, STOP, Frame
from pipeline_lib.teacher.loss import LossShape, task_losses
from pipeline_lib.teacher.model import Teacher, gate_entropy
from pipeline_lib.teacher.optim import Rates, build_optimiser, rate_share, set_rates
from pipeline_lib.teacher.predict import answers, predict
from pipeline_lib.teacher.resume import Progress, Store, seed_epoch, snapshot
from pipeline_lib.teacher.weighting import UncertaintyWeights

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """The numbers of one training run. ``entropy`` is the weight of the gates' entropy bonus."""

    seed: int
    epochs: int
    min_steps: int
    patience_share: float
    batch_rows: int
    predict_rows: int
    warmup: float
    final: float
    clip: float
    entropy: float
    loss: LossShape
    init_batches: int
    ndcg_tasks: Sequence[str]
    ndcg_k: int


def fit(
    model: Teacher,
    weighting: UncertaintyWeights,
    frame: Frame,
    tasks: Sequence[TaskSpec],
    plan: Plan,
    rates: Rates,
    store: Store,
    after_epoch: Callable[[Progress], None],
) -> Progress:
    """Train in place and leave the best epoch's weights in ``model``."""
    device = next(model.parameters()).device
    rows, optimiser = frame.part(FIT), build_optimiser(model, weighting, rates)
    epochs = max(plan.epochs, -(-plan.min_steps // steps_per_epoch(len(rows), plan)))
    steps, patience = epochs * steps_per_epoch(len(rows), plan), math.ceil(epochs * plan.patience_share)
    kept = store.load({"model": model, "weighting": weighting}, optimiser)
    progress, best = kept or (Progress(), snapshot(model))
    if kept is None:
        weighting.start_at(mean_losses(model, frame, tasks, rows, plan, device))
    while not progress.finished(epochs, patience):
        order = seed_epoch(plan.seed, progress.epoch)
        started, total = time.perf_counter(), 0.0
        model.train()
        for chunk in rows[torch.randperm(len(rows), generator=order)].split(plan.batch_rows):
            set_rates(optimiser, rate_share(progress.step, steps, plan.warmup, plan.final))
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                output = model(frame.batch(chunk).to(device))
            losses = task_losses(tasks, output.logits, _on(frame.targets(chunk), device), plan.loss)
            loss = weighting(losses) - plan.entropy * gate_entropy(output) + sum(output.seen.aux.values())
            require_finite(loss, losses, progress.step)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), plan.clip)
            optimiser.step()
            weighting.project()
            total += float(loss.detach()) * len(chunk)
            progress.step += 1
        spent = time.perf_counter() - started
        row = epoch_row(model, frame, tasks, plan, progress.epoch, total / len(rows), weighting, device)
        if progress.record(row, row["composite_stop"]):
            best = snapshot(model)
        store.save(progress, {"model": model, "weighting": weighting}, best, optimiser)
        log.info(
            "epoch %d/%d: loss %.4f, composite %.4f (train %.4f), best %d, %.0f samples/s",
            progress.epoch,
            epochs,
            row["loss"],
            row["composite_stop"],
            row["composite_fit"],
            progress.best_epoch + 1,
            len(rows) / spent,
        )
        after_epoch(progress)
    model.load_state_dict(best)
    return progress


def steps_per_epoch(rows: int, plan: Plan) -> int:
    """Raises ContractError when there is nothing to train on."""
    if not rows:
        raise ContractError("teacher: no row is in part 'fit'")
    return -(-rows // plan.batch_rows)


def epoch_row(
    model: Teacher,
    frame: Frame,
    tasks: Sequence[TaskSpec],
    plan: Plan,
    epoch: int,
    loss: float,
    weighting: UncertaintyWeights,
    device: torch.device,
) -> dict[str, Any]:
    """One row of the curve: composites on ``stop`` and on as many train rows, gate means, log-variances."""
    stop, fit_rows = frame.part(STOP), frame.part(FIT)
    found = predict(model, frame, stop, plan.predict_rows, device)
    sample = fit_rows[: max(len(stop), 1)]  # rows come in the order of a hash: the first ones are a sample
    seen = predict(model, frame, sample, plan.predict_rows, device)
    return {
        "epoch": epoch,
        "loss": loss,
        "composite_stop": _composite(frame, stop, found.logits, tasks, plan),
        "composite_fit": _composite(frame, sample, seen.logits, tasks, plan),
        "gate_mean": dict(zip(model.expert_names, found.gates.mean((0, 1)).tolist(), strict=True)),
        "log_variance": dict(zip(weighting.names, weighting.log_variance.tolist(), strict=True)),
        "at_bound": weighting.at_bound(),
    }


def _composite(
    frame: Frame, rows: Tensor, logits: Mapping[str, Tensor], tasks: Sequence[TaskSpec], plan: Plan
) -> float:
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
    return composite(averages(scores, tasks, plan.ndcg_tasks))


@torch.no_grad()
def mean_losses(
    model: Teacher, frame: Frame, tasks: Sequence[TaskSpec], rows: Tensor, plan: Plan, device: torch.device
) -> dict[str, float]:
    """Mean loss per task over the first batches at the initial weights: where the log-variances start."""
    model.eval()
    found: dict[str, list[float]] = {}
    for chunk in rows.split(plan.batch_rows)[: plan.init_batches]:
        losses = task_losses(
            tasks, model(frame.batch(chunk).to(device)).logits, _on(frame.targets(chunk), device), plan.loss
        )
        for name, loss in losses.items():
            found.setdefault(name, []).append(float(loss))
    return {name: sum(values) / len(values) for name, values in found.items()}


def require_finite(loss: Tensor, losses: Mapping[str, Tensor], step: int) -> None:
    """Raises TrainingDiverged naming the tasks whose loss is not finite."""
    if not torch.isfinite(loss):
        bad = [name for name, value in losses.items() if not torch.isfinite(value)]
        raise TrainingDiverged(f"step {step}: loss is {float(loss.detach())}; tasks not finite: {bad or 'none'}", step)


def _on(labels: Mapping[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    return {name: label.to(device) for name, label in labels.items()}
