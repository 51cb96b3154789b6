"""Everybody's answers at once, for branches that cannot call a function: the handler's own answers, range by range.

``plan`` fixes release, feature rows and ranges of one night; ``score_range`` answers one range (Airflow maps over them,
and each is retried alone); ``close`` says what was answered. Answers are recorded as single ones are, four entries
each, but a group shares one durable segment, and a range is published only when all its segments are.

An opt-out or a switch counts from the moment it is read: who shows a stored answer reads the opt-out again first.
Runs in DAG tasks, not in the function. Source: serving.md S1 and 14; audit.md, group mode.
"""

from __future__ import annotations

import logging
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import polars as pl

from pipeline_lib.audit.segment import Entry
from pipeline_lib.errors import ContractError, RequestRefused, SettingsError
from pipeline_lib.items import SqliteItems
from pipeline_lib.items.place import WAIT_S
from pipeline_lib.records import Receipt
from pipeline_lib.runs import Out, RunContext, StageOutput
from pipeline_lib.serve import local
from pipeline_lib.serve.request import Refused, Request
from pipeline_lib.serve.service import Service

log = logging.getLogger(__name__)

PLAN, PART, STAGE = "everyone_plan", "everyone_part", "everyone"
ITEM = pl.Struct(
    {"rank": pl.Int64, "item_id": pl.String, "score": pl.Float64, "deciding_task": pl.String, "layer": pl.Int64,
     "reason": pl.String}
)  # fmt: skip
RECEIPT = pl.Struct(
    {"writer_id": pl.String, "epoch": pl.Int64, "first_seq": pl.Int64, "last_seq": pl.Int64,
     "last_entry_hash": pl.String}
)  # fmt: skip
ANSWERS: dict[str, Any] = {
    "subject_ref": pl.String, "prediction_id": pl.String, "served_at": pl.String, "status": pl.String,
    "review_tier": pl.Int64, "items": pl.List(ITEM), "receipt": RECEIPT,
}  # fmt: skip
SCORES: dict[str, Any] = {
    "subject_ref": pl.String, "task": pl.String, "layer": pl.Int64, "layer_reason": pl.String,
    "values": pl.List(pl.Float64),
}  # fmt: skip


def plan(ctx: RunContext) -> StageOutput:
    """What this night is about: release, rows and the first customer of every range.

    Raises:
        SettingsError: nothing is released here, or tables or release are not on this place's disk.
        ObjectMissing: no feature rows are served yet.
    """
    live, made_from = _live(ctx)

    def make(out: Out) -> None:
        subjects = _subjects(ctx)
        out.facts.update(live, rows=made_from, customers=len(subjects))
        out.facts["first"] = subjects[:: ctx.settings.serving.batch.range_customers]

    return ctx.produce(PLAN, make, sources={**live, "rows": made_from})


def range_numbers(ctx: RunContext) -> list[int]:
    """The ranges that ``score_range`` has to answer."""
    return list(range(len(ctx.read(PLAN).facts["first"])))


def score_range(ctx: RunContext, number: int | str) -> StageOutput:
    """Answer one range of customers: ``answers.parquet``, a row each, and ``scores.parquet``, a row per task.

    Raises:
        RequestRefused: there is no such range, or release or rows are not those of the plan any more.
        AppendFailed: an answer could not be recorded; nothing of the range is published.
    """
    planned = ctx.read(PLAN)
    first = planned.facts["first"]
    if not str(number).isdecimal() or int(number) >= len(first):
        raise RequestRefused(f"{PART}.{number}: found no such range, expected 0 to {len(first) - 1}")

    def make(out: Out) -> None:
        _require_planned(ctx, planned)
        service = local.open_local(ctx.settings)
        subjects = _subjects(ctx, *first[int(number) : int(number) + 2])
        bodies = [pair for group in _groups(ctx, subjects) for pair in _answered(ctx, service, group)]
        _require_planned(ctx, planned)
        _written(out, bodies)

    return ctx.produce(f"{PART}.{number}", make, [planned])


def close(ctx: RunContext) -> StageOutput:
    """All ranges are there: counts of statuses, tiers and layers of the night.

    Raises:
        ContractError: customers were answered twice or not at all.
    """
    planned = ctx.read(PLAN)
    parts = [ctx.read(f"{PART}.{number}") for number in range_numbers(ctx)]

    def make(out: Out) -> None:
        answered = sum(part.facts["customers"] for part in parts)
        if answered != planned.facts["customers"]:
            raise ContractError(f"{STAGE}: {answered} customers answered, {planned.facts['customers']} planned")
        for name in ("status", "review_tier", "layer"):
            counts = sum((Counter(part.facts[name]) for part in parts), Counter[str]())
            out.facts[name] = dict(sorted(counts.items()))
        out.facts.update(version=planned.facts["version"], customers=answered)

    return ctx.produce(STAGE, make, [planned, *parts])


class _Held:
    """Takes the entries of a group's answers; nothing is durable, and nobody is told so, until they are appended."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    def __call__(self, entries: Sequence[Entry]) -> Receipt:
        self.entries += entries
        return Receipt("", "", 0, 0, 0, "")


def _answered(ctx: RunContext, service: Service, group: Sequence[str]) -> list[tuple[str, Mapping[str, Any]]]:
    """(subject, response) of a group, recorded in one segment whose receipt every personal response carries."""
    held = _Held()
    asked, holding = _request(ctx), replace(service, append=held)
    bodies = [(subject, _answer(holding, asked, subject)) for subject in group]
    receipt = service.append(held.entries).to_dict() if held.entries else {}
    return [(subject, _receipted(body, receipt)) for subject, body in bodies]


def _answer(service: Service, asked: Request, subject: str) -> Mapping[str, Any]:
    """What the function would answer; one that it would refuse is a row without items, and costs nobody else theirs."""
    try:
        return service.answer(asked, subject, uuid.uuid4().hex)
    except Refused as refused:
        log.error("%s: %s: %s", STAGE, refused.code, refused.message)
        return {"prediction_id": None, "served_at": service.now().isoformat(), "status": refused.code, "items": [],
                "tasks": {}, "review": {"tier": None}, "receipt": None}  # fmt: skip


def _receipted(body: Mapping[str, Any], receipt: Mapping[str, Any]) -> Mapping[str, Any]:
    """Static content is of nobody and has no receipt."""
    own = body["receipt"]
    return body if own is None else {**body, "receipt": {name: receipt[name] for name in own}}


def _request(ctx: RunContext) -> Request:
    """What the batch asks about everybody; the pseudonym stands for the customer."""
    policy = ctx.settings.serving.batch
    return Request(
        customer_id="", channel=policy.channel, access_reason="batch_scoring", operator_id=None, terminal_id=None,
        k=None, tasks=None, include=(), idempotency_key=None, locale=policy.locale, as_of=ctx.logical_date,
    )  # fmt: skip


def _groups(ctx: RunContext, subjects: Sequence[str]) -> Iterator[list[str]]:
    left, done = iter(subjects), 0
    while group := list(islice(left, ctx.settings.serving.batch.segment_answers)):
        yield group
        done += len(group)
        log.info("%s: %d of %d customers answered", STAGE, done, len(subjects))


def _written(out: Out, bodies: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
    answers = [_answer_row(subject, body) for subject, body in bodies]
    scores = [
        {"subject_ref": subject, "task": name, "layer": task["layer"], "layer_reason": task["layer_reason"],
         "values": _values(task)}
        for subject, body in bodies for name, task in body["tasks"].items()
    ]  # fmt: skip
    for name, rows, schema in (("answers", answers, ANSWERS), ("scores", scores, SCORES)):
        table = pl.DataFrame(rows, schema=schema)
        table.write_parquet(out.path(f"{name}.parquet", rows=table.height), compression="zstd")
    out.facts.update(
        customers=len(answers),
        status=dict(Counter(row["status"] for row in answers)),
        review_tier=dict(Counter("none" if row["review_tier"] is None else str(row["review_tier"]) for row in answers)),
        layer=dict(Counter(str(row["layer"]) for row in scores)),
    )


def _answer_row(subject: str, body: Mapping[str, Any]) -> dict[str, Any]:
    items = [{**item, "reason": (item["reason"] or {}).get("text")} for item in body["items"]]
    return {
        "subject_ref": subject,
        "prediction_id": body["prediction_id"],
        "served_at": body["served_at"],
        "status": body["status"],
        "review_tier": body["review"]["tier"],
        "items": [{name: item[name] for name in ITEM.to_schema()} for item in items],
        "receipt": body["receipt"],
    }


def _values(task: Mapping[str, Any]) -> list[float]:
    """(p,), K probabilities or (value,); empty when nothing is known."""
    found = task.get("value", task["calibrated"])
    return [] if found is None else found if isinstance(found, list) else [found]


def _live(ctx: RunContext) -> tuple[dict[str, str], str]:
    """What serves here, and the identity of the feature rows. Of DynamoDB nobody can list the customers in order."""
    if ctx.settings.place.tables:
        raise SettingsError(f"{PLAN}: the tables must be files of the store, found {ctx.settings.place.tables}")
    place = local.environment(ctx.settings)
    version = place["SERVE_BUNDLE"].rsplit("/", 1)[-1]
    rows = local.served_rows(ctx.settings)
    return {"version": version, "manifest_sha256": place["SERVE_MANIFEST_SHA256"]}, str(rows["made_from"])


def _require_planned(ctx: RunContext, planned: StageOutput) -> None:
    """Raises RequestRefused when a release or a weekly refresh came between."""
    live, made_from = _live(ctx)
    for name, found in {**live, "rows": made_from}.items():
        if found != planned.facts[name]:
            raise RequestRefused(f"{PLAN}: {name} {planned.facts[name]} planned, {found} now; clear the plan's task")


def _subjects(ctx: RunContext, first: str = "", end: str | None = None) -> list[str]:
    """Pseudonyms from ``first`` on and before ``end``, in order."""
    items = SqliteItems(local.tables_folder(ctx.settings), WAIT_S)
    return [str(one) for one in items.column("feature_row", "subject_ref", first, end)]
