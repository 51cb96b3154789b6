"""The stage ``distill``: the students' verdicts in one place, which is what package and gate read.

Expected tasks come from the settings, never from the files found: a student that is missing makes the result
incomplete. Source: distillation.md 11.3 and 15.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from pipeline_lib.distill import documents
from pipeline_lib.distill.chart import draw
from pipeline_lib.distill.plain import write_json
from pipeline_lib.distill.student import INPUTS, absent_tasks
from pipeline_lib.errors import ObjectMissing
from pipeline_lib.runs import Out, RunContext, StageOutput, code_version

log = logging.getLogger(__name__)

SCHEMA_VERSION = 1
DECIDED = ("pass", "fail", "exempt", "rules")


def assemble(ctx: RunContext) -> StageOutput:
    """Collect the students of this run into ``fidelity.json``, ``routing.json`` and ``fidelity.png``.

    A student that is missing, or was made from other inputs, settings or code, is reported as incomplete.
    """
    absent = absent_tasks(ctx)
    made_from = {stage: ctx.read(stage).content_hash for stage in INPUTS}
    active = [task for task in ctx.settings.tasks.names() if task not in absent]
    found = {task: student for task in active if (student := _current(ctx, task, made_from))}
    inputs = [ctx.read("labels"), *found.values()]
    return ctx.produce("distill", partial(_make, ctx, absent, found, made_from), inputs)


def summarise(expected: list[str], reports: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Counts over the expected tasks; ``reports`` are the fidelity documents there are.

    ``headline`` is strict_pass + direct_accepted of all expected tasks. A task served by rules never counts.
    """
    distilled = [t for t in expected if t in reports and reports[t]["route"] == "distil"]
    failed = [t for t in distilled if reports[t]["tier1_failing"]]
    verdict = {t: reports[t]["verdict"] for t in expected if t in reports}
    strict = [t for t in distilled if reports[t]["strict_pass"]]
    direct = [t for t in expected if verdict.get(t) == "exempt"]
    return {
        "expected_tasks": expected,
        "gate_scope": distilled,
        "evaluated": [t for t in expected if t in reports],
        "failed": failed,
        "incomplete": [t for t in expected if verdict.get(t) not in DECIDED],
        "strict_failed": [t for t in distilled if t not in strict],
        "tier2_count": sum(len(reports[t]["tier2_failing"]) for t in distilled),
        "underpowered": [t for t in expected if t in reports and reports[t]["underpowered"]],
        "verdicts": verdict,
        "distilled": len(distilled),
        "tier1_pass": len(distilled) - len(failed),
        "strict_pass": len(strict),
        "direct_accepted": len(direct),
        "rules": sum(v == "rules" for v in verdict.values()),
        "headline": f"{len(strict) + len(direct)} of {len(expected)} "
        f"({len(strict)} strict, {len(direct)} direct, {sum(v == 'rules' for v in verdict.values())} by rules)",
    }


def _make(
    ctx: RunContext,
    absent: Mapping[str, str],
    found: Mapping[str, StageOutput],
    made_from: Mapping[str, str],
    out: Out,
) -> None:
    reports, routes = _collect(ctx, absent, found)
    expected = ctx.settings.tasks.names()
    summary = summarise(expected, reports)
    body = {
        "schema_version": SCHEMA_VERSION,
        "dataset": ctx.dataset,
        "logical_date": ctx.logical_date.isoformat(),
        "inputs": dict(made_from),
        "mode": ctx.settings.distillation.fidelity.mode,
        "summary": summary,
        "tasks": reports,
    }
    write_json(out.path("fidelity.json"), body)
    write_json(out.path("routing.json"), routes)
    draw([(task, reports.get(task)) for task in expected], summary["headline"], out.path("fidelity.png"))
    out.facts.update(summary)
    log.info("students: %s, failed %s, incomplete %s", summary["headline"], summary["failed"], summary["incomplete"])


def _collect(
    ctx: RunContext, absent: Mapping[str, str], found: Mapping[str, StageOutput]
) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, Any]]]:
    """Fidelity and routing entries of every task there is something to say about, in catalogue order."""
    reports: dict[str, dict[str, Any]] = {}
    routes: dict[str, dict[str, Any]] = {}
    for task, spec in ctx.settings.tasks.tasks.items():
        if task in absent:
            reports[task] = documents.disabled(task, spec.kind, absent[task])
            routes[task] = {"route": "rules", "reason": reports[task]["route_reason"], "why": absent[task]}
        elif task in found:
            reports[task] = _json(found[task].path("fidelity.json"))
            routes[task] = _json(found[task].path("student.json"))["viability"]
    return reports, routes


def _current(ctx: RunContext, task: str, made_from: dict[str, str]) -> StageOutput | None:
    try:
        student = ctx.read(f"student.{task}")
    except ObjectMissing:
        log.warning("%s: there is no student", task)
        return None
    m = student.manifest
    if (dict(m.inputs), m.config_hash, m.code_version) != (made_from, ctx.settings.config_hash, code_version()):
        log.warning("%s: the student was made from other inputs, settings or code", task)
        return None
    return student


def _json(path: Path) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return body
