"""What a run did and where to look: one page of text, every figure read from a manifest, the registry or the record."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from pipeline_lib.audit import session
from pipeline_lib.cli_person import person
from pipeline_lib.errors import ObjectMissing, SettingsError
from pipeline_lib.expectations import data_docs
from pipeline_lib.keys import KeyFolder
from pipeline_lib.registry import pointer
from pipeline_lib.runs import RunContext, StageOutput

UNKNOWN = "unknown"
METRIC = {"binary": "auc", "multiclass": "macro_f1", "regression": "r2"}
DEMO_TOLERANCE = 3
"""Risk tolerance of the demo's suitability interview (1 to 5): without an interview nothing may be recommended. Only
a laptop's bank is ever given one here."""


def text(ctx: RunContext) -> str:
    """The summary of the run at ``ctx``; stages that have not run are said to be missing."""
    parts = (_head, _verdict, _teacher, _tasks, _record, _answer, _reports, _where)
    return "\n\n".join("\n".join(part(ctx)) for part in parts)


def _head(ctx: RunContext) -> Iterator[str]:
    source = ctx.settings.source
    yield f"weekly_promotion {ctx.logical_date}: {source.title} ({source.origin} data)"


def _verdict(ctx: RunContext) -> Iterator[str]:
    gate = _stage(ctx, "gate")
    if gate is None:
        yield "verdict    none: the gate has not judged this run"
        return
    facts = gate.facts
    yield f"verdict    {facts['decision']}: {facts['reason']}"
    yield f"version    {facts['challenger_version']}"
    seen = pointer.read(ctx.objects, KeyFolder(ctx.settings.place.keys))
    yield f"champion   {seen.version or 'none'} (generation {seen.generation})"
    if (logged := _stage(ctx, "counterfactual")) is not None:
        said = logged.facts["summary"]
        yield f"logged     {said['verdict']}: {said['reason']}"


def _teacher(ctx: RunContext) -> Iterator[str]:
    """What was trained, and whether what it says of itself may be believed."""
    teacher = _stage(ctx, "teacher")
    if teacher is None:
        yield "teacher    not trained"
        return
    facts, said = teacher.facts, teacher.facts["explained"]
    absent = ", ".join(facts["experts_absent"]) or "none"
    yield (
        f"teacher    {len(facts['experts'])} experts (left out: {absent}), "
        f"{facts['parameters']['total']:,} parameters, best epoch {facts['best_epoch'] + 1} of {facts['epochs']}"
    )
    outside = said["ood_held_out"] or {}
    failed = " (its checks failed)" if said["attribution_passed"] is False else ""
    yield (
        f"explained  gate weights faithful for {_or_unknown(said['faithful_tasks'])} of {len(facts['tasks'])} tasks, "
        f"attribution by {_or_unknown(said['attribution'])}{failed}, {_short(outside.get('rate'))} of held-out rows "
        f"out of distribution, graph {'causal' if said['causal'] else 'associative only'}"
    )
    yield from (f"alarm      {alarm}" for alarm in facts["alarms"])


def _or_unknown(value: Any) -> str:
    return UNKNOWN if value is None else str(value)


def _tasks(ctx: RunContext) -> Iterator[str]:
    """One line per prediction task: how it is answered, and how good teacher and student are on held-out rows."""
    teacher, distilled, labels = (_stage(ctx, name) for name in ("teacher", "distill", "labels"))
    if teacher is None or distilled is None or labels is None:
        yield "tasks      not trained"
        return
    metrics = json.loads(teacher.path("metrics.json").read_bytes())
    fidelity = json.loads(distilled.path("fidelity.json").read_bytes())
    routing = json.loads(distilled.path("routing.json").read_bytes())
    facts = distilled.facts
    yield (
        f"fidelity   {facts['tier1_pass']} of {facts['distilled']} distilled students pass the floor "
        f"({facts['strict_pass']} on the strict criteria), {facts['direct_accepted']} direct, {facts['rules']} by rules"
    )
    yield f"{'task':<26}{'route':<9}{'teacher (test)':<20}{'fidelity':<10}{'KL':>8}  why"
    for task, spec in ctx.settings.tasks.tasks.items():
        route, judged = routing.get(task, {}), fidelity["tasks"].get(task, {})
        kl, why = _short(judged.get("metrics", {}).get("kl")), route.get("reason") or ""
        cells = f"{task:<26}{route.get('route', UNKNOWN):<9}{_metric(metrics, task, spec.kind):<20}"
        yield f"{cells}{judged.get('verdict') or '-':<10}{kl:>8}  {why}"


def _metric(metrics: Mapping[str, Any], task: str, kind: str) -> str:
    """The teacher's metric on rows later in time and of other customers than any it was trained on."""
    value = metrics["tasks"].get(task, {}).get("fidelity", {}).get(METRIC[kind])
    return "-" if value is None else f"{METRIC[kind]} {_short(value)}"


def _record(ctx: RunContext) -> Iterator[str]:
    report = session.verification(ctx.settings)
    yield f"record     {report.verdict}: {report.to_dict()['rows_checked']} entries checked"


def _answer(ctx: RunContext) -> Iterator[str]:
    """Ask the released version for one customer, as a branch would; the answer is in the record like any other."""
    from pipeline_lib.serve import local

    customer = ctx.settings.source.sample_customer
    if customer is None or ctx.settings.place.env != "local":
        yield "answer     not asked: only a laptop's bank answers for a sample customer"
        return
    try:
        on = local.refreshed_on(ctx.settings)
        local.assess(ctx.settings, customer, DEMO_TOLERANCE, on, person())
        answer = local.ask(local.open_local(ctx.settings), local.sample_request(customer, on))
    except (SettingsError, ObjectMissing) as error:
        yield f"answer     none: {error}"
        return
    layers = sorted(f"{task['layer']}" for task in answer["tasks"].values())
    by_layer = ", ".join(f"{layers.count(layer)} by layer {layer}" for layer in sorted(set(layers)))
    yield f"answer     {answer['status']} by {answer['model']['version']}: {by_layer}"
    yield f"           receipt {answer['receipt']['writer_id']}, entry {answer['receipt']['last_entry_hash'][:16]}"
    for rank, item in enumerate(answer["items"][:3], 1):
        yield f"           {rank}. {item['name']} (score {item['score']}): {item['reason']['text']}"


def _reports(ctx: RunContext) -> Iterator[str]:
    """Assessments of the version that serves, made when it was promoted."""
    version = pointer.read(ctx.objects, KeyFolder(ctx.settings.place.keys)).version
    pages = [key for key in ctx.objects.list("reports") if key.endswith("page.md") and f"/{version}/" in key]
    yield "reports    " + ("\n           ".join(pages) or "none yet for the version that serves")


def _where(ctx: RunContext) -> Iterator[str]:
    place = ctx.settings.place
    yield f"artefacts  {place.root}/runs/{ctx.dataset}/{ctx.logical_date}/"
    yield f"pictures   {place.root}/runs/{ctx.dataset}/{ctx.logical_date}/teacher, distill (*.png)"
    yield f"data docs  {data_docs.of_run(ctx) or 'none: no table has been judged'}"
    yield f"record     {place.audit} under checkpoints in {place.anchors}"
    yield f"release    {place.target}"
    yield f"next       make up DATASET={ctx.dataset} (web page), docs/first-hour.md"
    yield f"           PIPELINE_DATASET={ctx.dataset} .venv/bin/pipeline verify"


def _stage(ctx: RunContext, name: str) -> StageOutput | None:
    try:
        return ctx.read(name)
    except ObjectMissing:
        return None


def _short(value: Any) -> str:
    return "-" if value is None else f"{float(value):.4f}"
