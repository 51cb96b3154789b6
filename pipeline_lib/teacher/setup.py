"""From policy and artefacts to something that can be trained: the only place that unpacks the teacher's settings."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from pipeline_lib.errors import SettingsError
from pipeline_lib.runs import StageOutput
from pipeline_lib.settings import Settings
from pipeline_lib.settings.teacher import Teacher as TeacherSettings
from pipeline_lib.teacher.adatt import build_adatt
from pipeline_lib.teacher.contract import Inputs, TaskSpec, active_tasks
from pipeline_lib.teacher.experts import unfed
from pipeline_lib.teacher.frame import FIT, Frame, read_frame, with_statistics
from pipeline_lib.teacher.loss import LossShape
from pipeline_lib.teacher.model import Teacher, build_model, expert_of
from pipeline_lib.teacher.optim import Rates
from pipeline_lib.teacher.plan import Phase, Plan
from pipeline_lib.teacher.precision import Precision
from pipeline_lib.teacher.step import Trainee
from pipeline_lib.teacher.weighting import build_weighting

log = logging.getLogger(__name__)
deterministic: Any = torch.utils.deterministic


@dataclass(frozen=True)
class Data:
    """What a model is trained on. ``columns`` name those of x; ``absent``: expert -> why this source cannot feed it."""

    inputs: Inputs
    columns: Sequence[str]
    frame: Frame
    tasks: Sequence[TaskSpec]
    experts: Sequence[str]
    absent: dict[str, str]


def read_data(features: StageOutput, labels: StageOutput, settings: Settings) -> Data:
    """The training frame, the active tasks with the statistics of their train labels, and the experts that can work.

    Raises:
        SettingsError: the source can feed none of the experts.
        SchemaError: the artefacts contradict their schema.
    """
    policy, a = settings.teacher, settings.teacher.architecture
    schema = json.loads(features.path("schema.json").read_bytes())
    inputs = Inputs.from_schema(schema, a.private.core_groups, a.temporal.max_steps)
    absent = unfed(policy.experts, inputs, a)
    for name, why in absent.items():
        log.warning("expert %s is left out: %s", name, why)
    experts = [name for name in policy.experts if name not in absent]
    if not experts:
        raise SettingsError(f"teacher.yaml: the source feeds none of the experts: {absent}")
    bare = active_tasks(labels.facts["tasks"], settings.tasks)
    frame = read_frame(features, labels, inputs, bare)
    tasks = with_statistics(bare, frame, policy.loss.class_weight_power, policy.loss.class_weight_range)
    return Data(inputs, [str(c["name"]) for c in schema["columns"]], frame, tasks, experts, absent)


def new_model(data: Data, policy: TeacherSettings) -> Teacher:
    """Fresh weights from torch's current seed, and the structure that experts learn before training."""
    model = build_model(data.inputs, data.tasks, data.experts, policy.architecture, policy.gating)
    for name in model.expert_names:
        expert_of(model.experts, name).fit_structure(data.frame, data.frame.part(FIT))
    return model


def trainee_of(model: Teacher, data: Data, policy: TeacherSettings, device: torch.device) -> Trainee:
    weighting = build_weighting(data.tasks, policy.weighting).to(device)
    adatt = build_adatt(data.tasks, policy.adatt).to(device)
    precision = Precision(policy.training.precision, device)
    return Trainee(model.to(device), weighting, adatt, data.frame, data.tasks, precision)


def plan_of(policy: TeacherSettings) -> Plan:
    t, two, shape = policy.training, policy.training.phase2, policy.loss
    return Plan(
        seed=policy.seed,
        phases=(
            Phase(t.epochs, t.min_steps, t.warmup_share, 1.0, frozen=False),
            Phase(two.epochs, 1, two.warmup_share, two.rate_share, frozen=True),
        ),
        patience_share=t.patience_share,
        batch_rows=t.batch_rows,
        micro_rows=t.micro_rows,
        predict_rows=policy.predict_batch,
        schedule=t.schedule,
        restart_epochs=t.restart_epochs,
        final=t.final_rate_share,
        clip=t.clip_norm,
        entropy=policy.gating.entropy_weight,
        entropy_mode=policy.gating.entropy_mode,
        gradient_method=policy.gradients.method,
        gradient_every=policy.gradients.every_steps,
        loss=LossShape(
            focal_gamma=shape.focal_gamma,
            huber_delta=shape.huber_delta,
            label_smoothing=shape.label_smoothing,
            imbalance=shape.imbalance,
            pos_weight_range=shape.pos_weight_range,
        ),
        init_batches=policy.weighting.log_variance_init_batches,
        max_bad_steps=t.max_bad_steps,
        max_bad_share=t.max_bad_share,
        min_expert_std=t.min_expert_std,
        ndcg_tasks=policy.selection.ndcg_tasks,
        ndcg_k=policy.selection.ndcg_k,
    )


def rates_of(policy: TeacherSettings) -> Rates:
    t = policy.training
    return Rates(
        base=t.base_rate,
        experts={str(name): rate for name, rate in t.expert_rates.items()},
        structure={str(name): rate for name, rate in t.structure_rates.items()},
        log_variance=policy.weighting.log_variance_rate,
        decay=t.weight_decay,
    )


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
    products, tuned = torch.backends.cuda.matmul.fp32_precision, torch.backends.cudnn.benchmark
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
            torch.backends.cuda.matmul.fp32_precision, torch.backends.cudnn.benchmark = products, tuned
