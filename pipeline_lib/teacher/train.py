"""The teacher stage: train the network, calibrate it, and write what later stages read.

Settings stop here: below this file everything takes plain arguments. On the CPU the same inputs give the same bytes,
also after a kill at any point: see ``resume``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from pipeline_lib.canonical import digest
from pipeline_lib.runs import Out, RunContext, StageOutput, code_version
from pipeline_lib.settings.teacher import Calibration
from pipeline_lib.settings.teacher import Teacher as TeacherSettings
from pipeline_lib.teacher.calibration import Calibrator, fit_calibrator, fit_line, identity
from pipeline_lib.teacher.checkpoint import Checkpoint
from pipeline_lib.teacher.contract import TaskSpec
from pipeline_lib.teacher.epoch import require_wired
from pipeline_lib.teacher.experts.causal import Causal
from pipeline_lib.teacher.explain.stage import explain
from pipeline_lib.teacher.explain.subject import Subject
from pipeline_lib.teacher.frame import CALIB, FIDELITY, Frame
from pipeline_lib.teacher.loop import fit
from pipeline_lib.teacher.model import Teacher
from pipeline_lib.teacher.predict import predict
from pipeline_lib.teacher.report import write_outputs
from pipeline_lib.teacher.resume import Progress, Store
from pipeline_lib.teacher.setup import (
    Data,
    fixed_arithmetic,
    new_model,
    pick_device,
    plan_of,
    rates_of,
    read_data,
    trainee_of,
)

STAGE = "teacher"


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
    with fixed_arithmetic(policy.threads, policy.seed, device):
        data = read_data(features, labels, ctx.settings)
        trainee = trainee_of(new_model(data, policy), data, policy, device)
        progress = fit(trainee, plan_of(policy), rates_of(policy), store, after_epoch)
        calibrators = calibrate(trainee.model, data.frame, data.tasks, policy, device)
        everything = predict(trainee.model, data.frame, torch.arange(data.frame.rows), policy.predict_batch, device)
        require_wired(everything.expert_std, policy.training.min_expert_std, progress.step)
        graph = graph_health(trainee.model, data, policy.explain.faithfulness.rows, device)
        explained = explain(subject_of(trainee.model, data, policy, device), policy.explain, graph)
        checkpoint = Checkpoint(
            trainee.model.cpu(), data.inputs, data.tasks, data.experts, policy.architecture, policy.gating, calibrators
        )
        stamps = {"config_hash": ctx.settings.config_hash, "code_version": code_version()}
        write_outputs(out, checkpoint, data, everything, explained, trainee.adatt, progress, policy, stamps)


def subject_of(model: Teacher, data: Data, policy: TeacherSettings, device: torch.device) -> Subject:
    return Subject(
        model=model,
        inputs=data.inputs,
        tasks=data.tasks,
        frame=data.frame,
        columns=data.columns,
        batch_rows=policy.predict_batch,
        train_rows=policy.training.batch_rows,
        seed=policy.seed,
        device=device,
    )


def graph_health(model: Teacher, data: Data, rows: int, device: torch.device) -> dict[str, float | bool] | None:
    """May the causal expert's graph be called causal? On the first rows of part fidelity; None without the expert."""
    own = data.frame.part(FIDELITY)[:rows]
    if "causal" not in model.expert_names or not len(own):
        return None
    expert = model.eval().experts["causal"]
    assert isinstance(expert, Causal)  # noqa: S101  experts are found by name
    return expert.judge(data.frame.batch(own).to(device)).to_dict()


def calibrate(
    model: Teacher, frame: Frame, tasks: Sequence[TaskSpec], policy: TeacherSettings, device: torch.device
) -> dict[str, Calibrator]:
    """One calibrator per task from part ``calib``."""
    rows = frame.part(CALIB)
    if not len(rows):
        return {task.name: identity(task.out, 0, "no rows in part calib") for task in tasks}
    logits = predict(model, frame, rows, policy.predict_batch, device).logits
    return {t.name: _calibrator(t, logits[t.name], frame.labels[t.name][rows], policy.calibration) for t in tasks}


def _calibrator(task: TaskSpec, logit: Tensor, label: Tensor, rule: Calibration) -> Calibrator:
    if task.kind != "regression":
        bias = task.name in rule.class_bias
        return fit_calibrator(task, logit, label, rule.min_rows, rule.min_class_rows, rule.bias_penalty, bias)
    if task.name in rule.linear:
        return fit_line(task, logit, label, rule.min_rows)
    return identity(1, 0, "not in calibration.linear")
