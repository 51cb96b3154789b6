"""The stage ``student.<task>``: one LightGBM student of one task, judged against its teacher.

Reads features, labels and teacher; writes ``model.txt``, ``direct.txt`` (the hard-label twin), ``student.json``
(everything serving needs beside the trees) and ``fidelity.json``. Source: distillation.md.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from pipeline_lib.distill import columns, documents, evidence, judging, metrics, routing
from pipeline_lib.distill.build import Built, Workshop, with_columns
from pipeline_lib.distill.calibration import REJECTED
from pipeline_lib.distill.evidence import Counts
from pipeline_lib.distill.frame import DEGENERATE_STD, TaskFrame, read_frame, read_schema
from pipeline_lib.distill.judging import Judged
from pipeline_lib.distill.plain import write_json
from pipeline_lib.distill.routing import Routing
from pipeline_lib.errors import ContractError
from pipeline_lib.runs import Out, RunContext, StageOutput
from pipeline_lib.settings.distillation import Distillation

log = logging.getLogger(__name__)

INPUTS = ("features", "labels", "teacher")


def active_tasks(ctx: RunContext) -> list[str]:
    """Tasks that get a student stage, in catalogue order: those the data set does not disable."""
    absent = absent_tasks(ctx)
    return [task for task in ctx.settings.tasks.names() if task not in absent]


def absent_tasks(ctx: RunContext) -> dict[str, str]:
    """Expected tasks served by rules because this data set cannot carry them, with the reason."""
    facts = ctx.read("labels").facts["tasks"]
    return routing.absent_tasks(ctx.settings.tasks.tasks, facts, ctx.settings.source.tasks_absent_because)


def fit_student(ctx: RunContext, task: str) -> StageOutput:
    """Route, grow, calibrate and judge the student of one task.

    Raises:
        ContractError: the task is not active here, or UNDETERMINED: it cannot be routed.
        SettingsError: a mandatory column is not in the schema although the source has its group.
    """
    if task not in active_tasks(ctx):
        raise ContractError(f"{task} has no student for {ctx.dataset}: it is unknown, or disabled and left to rules")
    inputs = {stage: ctx.read(stage) for stage in INPUTS}
    return ctx.produce(f"student.{task}", partial(_make, ctx, task, inputs), list(inputs.values()))


@dataclass(frozen=True)
class _Case:
    """One task, its evidence and its route."""

    frame: TaskFrame
    policy: Distillation
    counts: Counts
    lacking: list[str]
    underpowered: list[str]
    route: Routing


def _make(ctx: RunContext, task: str, inputs: Mapping[str, StageOutput], out: Out) -> None:
    schema = read_schema(inputs["features"].path("schema.json"), ctx.settings.features.without)
    frame = _frame(ctx, task, inputs, schema)
    case = _case(frame, ctx.settings.distillation)
    log.info("%s: %s (%s)", task, case.route.route, case.route.reason)
    if case.route.route == "rules":
        _write(out, case)
    else:
        _grow_and_judge(out, case, schema, ctx.settings.place.threads)


def _frame(ctx: RunContext, task: str, inputs: Mapping[str, StageOutput], schema: Mapping[str, Any]) -> TaskFrame:
    spec = ctx.settings.tasks.tasks[task]
    facts = inputs["labels"].facts["tasks"][task]
    every = [column["name"] for column in schema["columns"]]
    segments, _ = columns.resolve(ctx.settings.distillation.fidelity.segments, every, schema, "fidelity.segments")
    return read_frame(
        task,
        spec.kind,
        facts["classes"] if spec.kind == "multiclass" else ["0", "1"] if spec.kind == "binary" else [],
        features=inputs["features"].path("feature_matrix.parquet"),
        labels=inputs["labels"].path("label_table.parquet"),
        soft_labels=inputs["teacher"].path("soft_labels.parquet"),
        columns=columns.candidates(schema),
        segments=segments,
    )


def _case(frame: TaskFrame, policy: Distillation) -> _Case:
    least = policy.evidence
    counts = evidence.count(frame.parts, frame.kind, len(frame.classes))
    lacking = evidence.short_of(counts, frame.kind, rows=least.min_rows, class_rows=least.min_class_rows)
    weak = evidence.short_of(counts, frame.kind, rows=least.full_rows, class_rows=least.full_class_rows)
    route = Routing("rules", routing.INSUFFICIENT_EVIDENCE) if lacking else _route(frame, policy)
    return _Case(frame, policy, counts, lacking, weak, route)


def _route(frame: TaskFrame, policy: Distillation) -> Routing:
    """By the teacher's metric on all validation rows, with its customer-level interval."""
    rows, name = frame.parts["route"], metrics.NAME[frame.kind]
    output = frame.output(rows.teacher)
    if np.std(output, axis=0).max() < DEGENERATE_STD:
        return Routing("direct", routing.TEACHER_DEGENERATE)
    interval = metrics.customer_interval(
        lambda w: metrics.primary(frame.kind, rows.y, output, w),
        rows.customer,
        resamples=policy.evidence.bootstraps,
        seed=metrics.seed_of(f"{frame.task}|route", policy.seed),
    )
    limits = routing.limits_of(frame.kind, len(frame.classes), policy.teacher_threshold)
    return routing.route_by_metric(frame.task, name, metrics.primary(frame.kind, rows.y, output), limits, interval)


def _grow_and_judge(out: Out, case: _Case, schema: Mapping[str, Any], threads: int) -> None:
    work, distil = Workshop(case.frame, case.policy, threads), case.route.route == "distil"
    wanted = case.policy.feature_selection.mandatory
    mandatory, absent = columns.resolve(wanted, case.frame.columns, schema, "feature_selection.mandatory")
    selection = work.selection(distil, mandatory, absent)
    chosen = with_columns(case.frame, selection.columns)
    case = replace(case, frame=chosen)
    student = work.build(chosen, distil)
    judged = judging.against_teacher(chosen, student, case.policy)
    if distil:
        _write(out, case, student, judged, selection, twin=work.build(chosen, False))
    else:
        _accept(out, case, student, judged, selection)


def _accept(out: Out, case: _Case, student: Built, judged: Judged, selection: columns.Selection) -> None:
    """A hard-label student that misses any check is not shipped: the task is left to rules."""
    checks = judging.against_labels(case.frame, student, case.policy)
    if all(check["met"] for check in checks):
        _write(out, case, student, judged, selection, checks=checks)
        return
    demoted = replace(case.route, route="rules", reason=routing.DIRECT_NOT_ACCEPTED)
    _write(out, replace(case, route=demoted), student, judged, selection, checks=checks, shipped=False)


def _write(
    out: Out,
    case: _Case,
    student: Built | None = None,
    judged: Judged | None = None,
    selection: columns.Selection | None = None,
    *,
    twin: Built | None = None,
    checks: list[dict[str, Any]] | None = None,
    shipped: bool = True,
) -> None:
    model = student if shipped else None
    if model:
        out.path("model.txt").write_text(model.model.text, encoding="utf-8")
    if twin:
        out.path("direct.txt").write_text(twin.model.text, encoding="utf-8")
    about_twin, flags = _twin(case, student, twin)
    for built in (student, twin):
        flags += [REJECTED] if built and built.calibrator.get("flag") == REJECTED else []
    if case.route.reason == routing.TEACHER_DEGENERATE:
        flags.append(routing.TEACHER_DEGENERATE)
    report = documents.fidelity(
        case.frame,
        case.route,
        case.counts,
        underpowered=case.underpowered,
        lacking=case.lacking,
        flags=flags,
        judged=judged,
        checks=checks,
        model=student,
        twin=about_twin,
    )
    described = documents.student(case.frame, case.route, model, twin, selection if model else None)
    write_json(out.path("fidelity.json"), report)
    write_json(out.path("student.json"), described)
    out.facts.update(route=case.route.route, route_reason=case.route.reason, verdict=report["verdict"])
    out.facts.update(trees=described["trees"], leaves=described["leaves"], underpowered=report["underpowered"])


def _twin(case: _Case, student: Built | None, twin: Built | None) -> tuple[dict[str, Any] | None, list[str]]:
    """What is said of the hard-label twin: is it fit to answer, and would it have been better?"""
    if student is None or twin is None:
        return None, []
    checks = judging.against_labels(case.frame, twin, case.policy)
    lead, flags = judging.harmed(case.frame, student, twin, case.policy.max_harm)
    value = judging.primary(case.frame, case.frame.parts["fidelity"], twin)
    accepted = all(check["met"] for check in checks)
    return {"primary_value": value, "lead": lead, "acceptance": checks, "accepted": accepted}, flags
