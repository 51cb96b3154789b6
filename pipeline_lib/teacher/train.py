"""The teacher stage: train the network, calibrate it, and write what later stages read.

Settings stop here: below this file everything takes plain arguments. On the CPU the same inputs give the same bytes,
also after a kill at any point: see ``resume``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from pipeline_lib.canonical import digest
from pipeline_lib.errors import SettingsError, TrainingDiverged
from pipeline_lib.runs import Out, RunContext, StageOutput, code_version
from pipeline_lib.settings.teacher import Teacher as TeacherSettings
from pipeline_lib.teacher.calibration import Calibrator, fit_calibrator, identity
from pipeline_lib.teacher.checkpoint import Checkpoint
from pipeline_lib.teacher.contract import Inputs, TaskSpec, active_tasks
from pipeline_lib.teacher.frame import CALIB, FIT, Frame, read_frame, with_statistics
from pipeline_lib.teacher.loop import Plan, fit
from pipeline_lib.teacher.loss import LossShape
from pipeline_lib.teacher.model import Teacher, build_model, expert_of
from pipeline_lib.teacher.optim import Rates
from pipeline_lib.teacher.predict import predict
from pipeline_lib.teacher.report import write_outputs
from pipeline_lib.teacher.resume import Progress, Store
from pipeline_lib.teacher.weighting import UncertaintyWeights

STAGE = "teacher"
deterministic: Any = torch.utils.deterministic


def train(ctx: RunContext, after_epoch: Callable[[Progress], None] = lambda progress: None) -> StageOutput:
    """Train on part ``fit``, select on ``stop``, calibrate on ``calib``; answer for every row.

    Args:
        after_epoch: called when an epoch is durable, e.g. to report progress.

    Raises:
        TrainingDiverged: a loss is not finite, or an expert's output is constant.
        SchemaError: the artefacts contradict their schema.
    """
    inputs = [ctx.read(stage) for stage in ("features", "labels", "check_features")]
    key = digest(
        {"in": {i.stage: i.content_hash for i in inputs}, "config": ctx.settings.config_hash, "code": code_version()}
    )[:16]
    store = Store(ctx.objects, f"work/{ctx.dataset}/{ctx.logical_date.isoformat()}/{STAGE}/{key}.safetensors")
    output = ctx.produce(STAGE, lambda out: _make(ctx, inputs[0], inputs[1], store, after_epoch, out), inputs)
    store.forget()
    return output


def _make(
    ctx: RunContext,
    features: StageOutput,
    labels: StageOutput,
    store: Store,
    after_epoch: Callable[[Progress], None],
    out: Out,
) -> None:
    policy = ctx.settings.teacher
    device = pick_device(policy.device)
    schema = json.loads(features.path("schema.json").read_bytes())
    inputs = Inputs.from_schema(schema, policy.architecture.private.core_groups, policy.architecture.temporal.max_steps)
    with fixed_arithmetic(policy.threads, policy.seed, device):
        bare = active_tasks(labels.facts["tasks"], ctx.settings.tasks)
        frame = read_frame(features, labels, inputs, bare)
        tasks = with_statistics(bare, frame, policy.loss.class_weight_power, policy.loss.class_weight_range)
        model = build_model(inputs, tasks, policy.experts, policy.architecture, policy.gating)
        for name in model.expert_names:
            expert_of(model.experts, name).fit_structure(frame, frame.part(FIT))
        weighting = _weighting(tasks, policy)
        progress = fit(
            model.to(device), weighting.to(device), frame, tasks, _plan(policy), _rates(policy), store, after_epoch
        )
        calibrators = calibrate(model, frame, tasks, policy, device)
        everything = predict(model, frame, torch.arange(frame.rows), policy.predict_batch, device)
        _require_wired(everything.expert_std, policy.training.min_expert_std, progress.step)
        checkpoint = Checkpoint(
            model.cpu(), inputs, tasks, policy.experts, policy.architecture, policy.gating, calibrators
        )
        stamps = {"config_hash": ctx.settings.config_hash, "code_version": code_version()}
        write_outputs(
            out,
            checkpoint,
            frame,
            everything,
            progress,
            policy.selection.ndcg_tasks,
            policy.selection.ndcg_k,
            policy.degenerate_std,
            stamps,
        )


def calibrate(
    model: Teacher, frame: Frame, tasks: Sequence[TaskSpec], policy: TeacherSettings, device: torch.device
) -> dict[str, Calibrator]:
    """One calibrator per task from part ``calib``; regression keeps its values."""
    rows, rule = frame.part(CALIB), policy.calibration
    logits = predict(model, frame, rows, policy.predict_batch, device).logits if len(rows) else {}
    found = {}
    for task in tasks:
        if task.kind == "regression" or not len(rows):
            found[task.name] = identity(task.out, 0, "regression" if len(rows) else "no rows in part calib")
            continue
        label = frame.labels[task.name][rows]
        found[task.name] = fit_calibrator(
            task, logits[task.name], label, rule.min_rows, rule.min_class_rows, rule.bias_penalty, rule.multiclass_bias
        )
    return found


def _require_wired(spread: Mapping[str, float], least: float, step: int) -> None:
    if dead := {name: round(std, 6) for name, std in spread.items() if std < least}:
        raise TrainingDiverged(f"experts whose output does not vary over the rows (std below {least}): {dead}", step)


def pick_device(wanted: str) -> torch.device:
    """``auto`` is CUDA when a device is there. Raises SettingsError when CUDA is demanded and absent."""
    there = torch.cuda.is_available()
    if wanted == "cuda" and not there:
        raise SettingsError("teacher.yaml: device is cuda, but this machine has none")
    return torch.device("cuda" if there and wanted != "cpu" else "cpu")


@contextmanager
def fixed_arithmetic(threads: int, seed: int, device: torch.device) -> Iterator[None]:
    """Fixed thread count and seed, and on the CPU only algorithms that repeat; puts the process back afterwards."""
    before, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    filling = deterministic.fill_uninitialized_memory  # a debugging aid that costs a tenth of the time
    with torch.random.fork_rng():
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(device.type == "cpu")
        deterministic.fill_uninitialized_memory = False
        torch.manual_seed(seed)
        try:
            yield
        finally:
            torch.set_num_threads(before)
            torch.use_deterministic_algorithms(strict)
            deterministic.fill_uninitialized_memory = filling


def _weighting(tasks: Sequence[TaskSpec], policy: TeacherSettings) -> UncertaintyWeights:
    low, high = policy.loss.log_variance_range
    lower = [policy.loss.focal_log_variance_floor if task.kind == "binary" else low for task in tasks]
    return UncertaintyWeights([t.name for t in tasks], [t.weight for t in tasks], lower, high)


def _plan(policy: TeacherSettings) -> Plan:
    t, shape = policy.training, policy.loss
    return Plan(
        seed=policy.seed,
        epochs=t.epochs,
        min_steps=t.min_steps,
        patience_share=t.patience_share,
        batch_rows=t.batch_rows,
        predict_rows=policy.predict_batch,
        warmup=t.warmup_share,
        final=t.final_rate_share,
        clip=t.clip_norm,
        entropy=policy.gating.entropy_weight,
        loss=LossShape(shape.focal_gamma, shape.huber_delta, shape.label_smoothing),
        init_batches=shape.log_variance_init_batches,
        ndcg_tasks=policy.selection.ndcg_tasks,
        ndcg_k=policy.selection.ndcg_k,
    )


def _rates(policy: TeacherSettings) -> Rates:
    t = policy.training
    return Rates(t.base_rate, {str(k): v for k, v in t.expert_rates.items()}, t.log_variance_rate, t.weight_decay)
