"""One scenario, one seed: train in the teacher's own loop, or ask a model of another kind, and judge the answers."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from pipeline_lib.canonical import digest, with_decimals
from pipeline_lib.errors import SettingsError
from pipeline_lib.objects import Objects
from pipeline_lib.runs import code_version
from pipeline_lib.settings.ablation import Protocol, Scenario
from pipeline_lib.settings.teacher import Teacher as Policy
from pipeline_lib.teacher.ablation.comparators import build_comparator, without_second_phase
from pipeline_lib.teacher.ablation.judged import TaskAnswers
from pipeline_lib.teacher.ablation.liveness import first_look
from pipeline_lib.teacher.ablation.material import Bank, dense_width, fingerprints, hash_of, material
from pipeline_lib.teacher.ablation.record import Record
from pipeline_lib.teacher.ablation.scoring import Answers, composite_on, reduced, scores
from pipeline_lib.teacher.epoch import gate_facts
from pipeline_lib.teacher.frame import FIT, STOP
from pipeline_lib.teacher.loop import fit
from pipeline_lib.teacher.predict import answers, predict
from pipeline_lib.teacher.resume import Progress, Store
from pipeline_lib.teacher.setup import Data, fixed_arithmetic, new_model, plan_of, rates_of, trainee_of
from pipeline_lib.teacher.step import Trainee
from pipeline_lib.teacher.train import calibrate

Stranger = Callable[[Data, Policy], Answers]
"""A model that is no network: answers at the places of all rows, learnt from what may be learnt from."""
CURVE = ("phase", "loss_stop", "composite_stop", "composite_fit")
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Trained:
    """What a model answers for every row, and what training said about itself."""

    answers: Answers
    facts: dict[str, Any]


def identity(scenario: Scenario, policy: Policy, protocol: Protocol) -> str:
    """Hash of everything that makes a scenario what it is, but not of its seed, name or title."""
    body = {
        "policy": policy.model_dump(mode="json", exclude={"seed"}),
        "scenario": scenario.model_dump(mode="json", include={"model", "tasks", "plant", "shuffle"}),
        "trunk": None if scenario.model == "teacher" else protocol.trunk.model_dump(mode="json"),
        "judged": protocol.judged,
    }
    return digest(with_decimals(body, 12))


def run(
    bank: Bank,
    scenario: Scenario,
    policy: Policy,
    protocol: Protocol,
    objects: Objects,
    strangers: Mapping[str, Stranger],
) -> tuple[Record, np.ndarray, dict[str, TaskAnswers]]:
    """Train and judge. ``policy.seed`` is the seed.

    Returns:
        The record, the customers of the judged rows (n,), and each task's answers on them.

    Raises:
        SettingsError: the model is neither a network nor one of ``strangers``.
    """
    started = time.process_time()
    with fixed_arithmetic(policy.threads, policy.seed, CPU):
        data = material(bank, scenario, policy, policy.seed)
        config_hash = identity(scenario, policy, protocol)
        if scenario.model in strangers:
            trained = Trained(strangers[scenario.model](data, policy), _nothing())
        else:
            key = f"work/{bank.fingerprint[:8]}-{config_hash[:16]}-{code_version()[:8]}-{policy.seed}.safetensors"
            trained = _train(data, scenario, policy, protocol, Store(objects, key))
    at = data.frame.part(*protocol.judged).numpy()
    found, rule = trained.answers, policy.selection
    record = Record(
        scenario=scenario.name,
        model=scenario.model,
        seed=policy.seed,
        config_hash=config_hash,
        code_version=code_version(),
        bank=bank.fingerprint,
        experts=list(data.experts) if scenario.model == "teacher" else [],
        answers=hash_of(np.concatenate([found[t.name][at].ravel() for t in data.tasks])),
        fingerprints=fingerprints(data.frame, protocol.judged),
        spread={t.name: float(found[t.name][at].std(axis=0).max()) for t in data.tasks},
        scores={"+".join(p): scores(data, p, found, rule, protocol.shared_task) for p in _sets(protocol)},
        cpu_seconds=time.process_time() - started,
        **trained.facts,
    )
    customers = data.frame.keys["customer_key"].to_numpy()[at]
    return record, customers, reduced(data, protocol.judged, found, rule)


def _train(data: Data, scenario: Scenario, policy: Policy, protocol: Protocol, store: Store) -> Trained:
    plan, rows = plan_of(policy), len(data.frame.part(FIT))
    if scenario.model == "teacher":
        model = new_model(data, policy)
    else:
        model = build_comparator(scenario.model, dense_width(data.inputs), data.tasks, protocol.trunk)
        plan = without_second_phase(plan, rows)
    trainee = trainee_of(model, data, policy, CPU)
    first, gradients = first_look(trainee, plan)
    progress = fit(trainee, plan, rates_of(policy), store, lambda _: None)
    looked_at = data.frame.part(STOP, *{part for parts in _sets(protocol) for part in parts})
    found = predict(trainee.model, data.frame, looked_at, policy.predict_batch, CPU)
    calibrators = calibrate(trainee.model, data.frame, data.tasks, policy, CPU)
    raw = _in_place(answers(found.logits, data.tasks), looked_at, data.frame.rows)
    facts: dict[str, Any] = {
        "parameters": sum(p.numel() for p in trainee.model.parameters()),
        "first_logits": first,
        "gradients": gradients,
        "stationary": stationary(progress, trainee, policy),
        "steps": len(progress.curve) * plan.steps_per_epoch(rows),
        "epochs": len(progress.curve),
        "best_epoch": progress.best_epoch,
        "best_score": progress.best_score,
        "best_again": composite_on(data, [STOP], raw, policy.selection),
        "curve": [{name: row[name] for name in CURVE} for row in progress.curve],
        "gate_mean": _gates(found, trainee),
        "facts": _gate_facts(found, trainee),
    }  # fmt: skip
    store.forget()
    return Trained(_in_place(answers(found.logits, data.tasks, calibrators), looked_at, data.frame.rows), facts)


def _in_place(found: Answers, rows: torch.Tensor, total: int) -> Answers:
    """Answers of some rows at their places among all, NaN elsewhere."""
    whole = {name: np.full((total, *values.shape[1:]), np.nan) for name, values in found.items()}
    for name, values in found.items():
        whole[name][rows.numpy()] = values
    return whole


def stationary(progress: Progress, trainee: Trainee, policy: Policy) -> dict[str, float]:
    """Task -> how far its log-variance is from its stationary point at the end of phase 1, bounds allowed for.

    That point is ln of the task's factor in the objective: its loss, times 1 + strength * (its column of the transfer
    matrix) where transfer between tasks is on. Source: teacher.md sections 11 and 12.
    """
    if policy.weighting.method != "uncertainty":
        return {}
    last = [row for row in progress.curve if row["phase"] == 0][-1]
    low, high = policy.weighting.log_variance_range
    received = trainee.adatt.transfer_matrix().sum(0) * policy.adatt.strength * policy.adatt.enabled  # (T,)
    found = {}
    for task, more in zip(trainee.tasks, received.tolist(), strict=True):
        floor = policy.weighting.focal_log_variance_floor if task.kind == "binary" else low
        wanted = min(max(math.log(max(last["losses"][task.name] * (1 + more), 1e-12)), floor), high)
        found[task.name] = abs(last["weights"][task.name] - wanted)
    return found


def _gates(found: Any, trainee: Trainee) -> dict[str, dict[str, float]]:
    """Task -> expert -> mean weight of stage 2 over all rows; nothing under unnamed experts."""
    experts = trainee.model.expert_names
    mean = found.gates.mean(0).tolist() if experts else []
    return {t: dict(zip(experts, row, strict=True)) for t, row in zip(trainee.model.task_names, mean, strict=False)}


def _gate_facts(found: Any, trainee: Trainee) -> dict[str, Any]:
    told = gate_facts(found, trainee.model.expert_names, trainee.model.task_names)
    return {"entropy_ratio": told["entropy_ratio"], "private": found.private.mean(0).tolist()}


def _sets(protocol: Protocol) -> list[list[str]]:
    return [protocol.judged, *protocol.also]


def _nothing() -> dict[str, Any]:
    empty: dict[str, Any] = {name: {} for name in ("gradients", "stationary", "gate_mean")}
    return empty | {
        "parameters": None, "first_logits": None, "steps": 0, "epochs": 0, "best_epoch": -1, "best_score": 0.0,
        "best_again": 0.0, "curve": [],
    }  # fmt: skip


def require_model(scenario: Scenario, strangers: Mapping[str, Stranger]) -> None:
    """Raises SettingsError before anything is trained."""
    if scenario.model == "lightgbm" and scenario.model not in strangers:
        raise SettingsError(f"scenario {scenario.name}: model {scenario.model} is not given here")
