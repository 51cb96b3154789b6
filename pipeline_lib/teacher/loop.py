"""The training loop: phases, epochs, steps. ``train_epoch`` is the loop itself, top to bottom on one screen.

Phase 1 trains everything; phase 2 goes on from the best weights with experts and gates frozen, and is kept only if it
beats them. Everything the loop needs is prepared before it (``Plan``, plain numbers); nothing in it reads settings.
Source: teacher.md section 15.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from contextlib import nullcontext

import torch
from torch import Tensor

from pipeline_lib.teacher.epoch import describe
from pipeline_lib.teacher.frame import FIT
from pipeline_lib.teacher.frozen import FrozenView
from pipeline_lib.teacher.guard import Guard
from pipeline_lib.teacher.optim import Rates, build_optimiser, rate_share, set_rates
from pipeline_lib.teacher.plan import Phase, Plan
from pipeline_lib.teacher.resume import Progress, Store, seed_epoch, snapshot
from pipeline_lib.teacher.step import Means, Stepper, Trainee

log = logging.getLogger(__name__)


def fit(trainee: Trainee, plan: Plan, rates: Rates, store: Store, after_epoch: Callable[[Progress], None]) -> Progress:
    """Train in place and leave the best epoch's weights in the model."""
    rows = trainee.frame.part(FIT)
    kept = store.load(trainee.modules())
    progress, best = (kept.progress, kept.best) if kept else (Progress(), snapshot(trainee.model))
    if kept is None:
        trainee.weighting.start_at(first_losses(trainee, rows, plan))
    for number, phase in enumerate(plan.phases):
        if number < progress.phase or not phase.epochs:
            continue
        if number > progress.phase:
            progress.begin(number)
            trainee.model.load_state_dict(best)
        view = frozen_view(trainee, plan) if phase.frozen else None
        optimiser = build_optimiser(trainee.model, trainee.weighting, rates.scaled(phase.rate_share))
        if kept and number == kept.phase:
            kept.restore(optimiser, trainee.precision)
        epochs = plan.epochs(phase, len(rows))
        with trainee.adatt.paused() if phase.frozen else nullcontext():
            while not progress.finished(epochs, math.ceil(epochs * plan.patience_share)):
                started = time.perf_counter()
                mean = train_epoch(trainee, plan, phase, optimiser, progress, view)
                speed = len(rows) / (time.perf_counter() - started)
                row = describe(trainee, plan, progress, mean)
                if progress.record(row, row["composite_stop"]):
                    best = snapshot(trainee.model)
                store.save(progress, trainee.modules(), best, optimiser, trainee.precision)
                tell(progress, epochs, speed)
                after_epoch(progress)
    trainee.model.load_state_dict(best)
    return progress


def frozen_view(trainee: Trainee, plan: Plan) -> FrozenView:
    """Freeze the perceiving half of the model, and keep what it says of the train rows."""
    trainee.model.freeze_perception()
    rows = trainee.frame.part(FIT)
    return FrozenView.of(trainee.model, trainee.frame, rows, plan.predict_rows, trainee.device)


def tell(progress: Progress, epochs: int, speed: float) -> None:
    """One line of progress. ``speed`` in samples per second."""
    row = progress.curve[-1]
    log.info(
        "phase %d epoch %d/%d: loss %.4f, composite %.4f (train %.4f), best epoch %d, %.0f samples/s",
        progress.phase + 1, progress.epoch, epochs, row["loss"], row["composite_stop"], row["composite_fit"],
        progress.best_epoch + 1, speed,
    )  # fmt: skip


def train_epoch(
    trainee: Trainee,
    plan: Plan,
    phase: Phase,
    optimiser: torch.optim.Optimizer,
    progress: Progress,
    view: FrozenView | None,
) -> dict[str, float]:
    """One pass over the train rows. Returns the mean loss per task, and ``total``."""
    rows, model = trainee.frame.part(FIT), trainee.model
    per_epoch = plan.steps_per_epoch(len(rows))
    steps, first = plan.epochs(phase, len(rows)) * per_epoch, plan.restart_epochs * per_epoch
    schedule = "cosine" if phase.frozen else plan.schedule
    guard = Guard(plan.max_bad_steps, plan.max_bad_share)
    stepper = Stepper(trainee, plan, guard, optimiser, view)
    model.train()
    for chunk in epoch_order(plan, progress, rows).split(plan.batch_rows):
        share = rate_share(progress.step, steps, phase.warmup, plan.final, schedule, first)
        set_rates(optimiser, share)
        stepper.tell_experts(progress.step / steps)
        optimiser.zero_grad(set_to_none=True)
        if stepper.take(chunk, progress.step):
            guard.accept(trainee.precision.step(optimiser, model, plan.clip))
            trainee.weighting.end_step()
        guard.end_step(progress.step)
        progress.step += 1
    guard.end_epoch(per_epoch)
    mean = stepper.means()
    trainee.weighting.end_epoch({name: value for name, value in mean.items() if name != "total"})
    trainee.adatt.end_epoch()
    return mean


def epoch_order(plan: Plan, progress: Progress, rows: Tensor) -> Tensor:
    """The rows in the order of this epoch, a function of the seed and the epoch's number alone; seeds dropout too."""
    return rows[torch.randperm(len(rows), generator=seed_epoch(plan.seed, len(progress.curve)))]


@torch.no_grad()
def first_losses(trainee: Trainee, rows: Tensor, plan: Plan) -> dict[str, float]:
    """Mean loss per task over the first batches at the initial weights: where the log-variances start."""
    trainee.model.eval()
    sums = Means()
    for chunk in rows.split(plan.batch_rows)[: plan.init_batches]:
        output = trainee.model(trainee.frame.batch(chunk).to(trainee.device))
        sums.add(trainee.losses(output, chunk, plan.loss), len(chunk))
    return sums.means()
