"""The quarter's five reports: freeze the record, ask it, keep the answers, have a human read them."""

from __future__ import annotations

import hashlib
import importlib
import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from pipeline_lib.audit import catalogue, query, session
from pipeline_lib.audit.operation import record_operation
from pipeline_lib.business_time import previous_quarter, quarter_bounds
from pipeline_lib.comply import render, report
from pipeline_lib.comply.evidence import AsOf, EvidenceBook
from pipeline_lib.errors import NotReproducible, ReportIncomplete
from pipeline_lib.runs import RunContext
from pipeline_lib.scrub import scrub
from pipeline_lib.settings import Settings

log = logging.getLogger(__name__)
SERVICE = "compliance"


def freeze(ctx: RunContext) -> dict[str, Any]:
    """Commit and verify the record, and fix period and checkpoint for all five reports.

    Raises:
        AuditError: the record is not intact: no report is generated from it.
    """
    label = previous_quarter(ctx.logical_date)
    start, end = quarter_bounds(label)
    return frozen(ctx.settings, session.commit(ctx.settings), label, start, end)


def frozen(
    settings: Settings, committed: Mapping[str, Any], label: str, start: datetime, end: datetime
) -> dict[str, Any]:
    """Verify the record and say which state of it is asked: fields as in ``AsOf``.

    Args:
        committed: result of ``session.commit``.
        start, end: the period [start, end).

    Raises:
        AuditError: the record is not intact.
    """
    verified = session.verify_record(settings)
    return {
        "origin": session.origin(settings),
        "ckpt_n": committed["ckpt_n"],
        "root": committed["root"],
        "start": _text(start),
        "end": _text(end),
        "label": label,
        "verification": verified["verdict"],
    }


def open_book(settings: Settings, as_of: AsOf) -> EvidenceBook:
    """The record as of a checkpoint, ready to be asked."""
    frames = {table: query.frame(settings, table, as_of_ckpt=as_of.ckpt_n) for table in catalogue.TABLES}
    return EvidenceBook(frames, as_of)


def body(settings: Settings, kind: str, as_of: AsOf) -> dict[str, Any]:
    """One report as of a checkpoint: a question to the record, nothing is stored."""
    module = importlib.import_module(f"pipeline_lib.comply.reports.{kind}")
    policies = {str(name): policy for name, policy in settings.compliance.reports.items()}
    made: dict[str, Any] = module.generate(open_book(settings, as_of), policies[kind], settings.compliance.levels)
    return made


def generate(ctx: RunContext, kind: str, frozen_at: Mapping[str, Any]) -> dict[str, Any]:
    """Generate one report twice, compare the bytes, store body and page create-only, record the run.

    Args:
        frozen_at: result of ``freeze`` or ``frozen``; the same gives the same bytes, whatever was recorded since.

    Raises:
        NotReproducible: two passes over the same record differ.
        ObjectExists: this report was generated before, with other bytes.
    """
    as_of = AsOf(**frozen_at)
    made = body(ctx.settings, kind, as_of)
    data = report.to_bytes(made)
    if report.to_bytes(body(ctx.settings, kind, as_of)) != data:
        raise NotReproducible(f"{kind} {as_of.label}: two passes over the record at checkpoint {as_of.ckpt_n} differ")
    folder = f"reports/{kind}/{as_of.label}/{made['report_id']}"
    ctx.objects.create(f"{folder}/body.json", data)
    if not ctx.objects.exists(f"{folder}/page.md"):  # the body is the report; its first page stays
        ctx.objects.create(f"{folder}/page.md", render.markdown(made).encode())
    unknown = [item["id"] for item in made["items"] if item["status"] == "UNKNOWN"]
    result = {
        "kind": kind,
        "report_id": made["report_id"],
        "folder": folder,
        "title": made["title"],
        "unknown": unknown,
        "not_fileable_because": _why_not_fileable(made),
    }
    _record_run(ctx.settings, result, as_of, hashlib.sha256(data).hexdigest())
    log.info("%s %s: %s, unknown %s", kind, as_of.label, folder, unknown)
    return result


def summary(reports: Sequence[Mapping[str, Any]]) -> str:
    """Markdown for the reviewer: one line per report."""
    ordered = sorted(reports, key=lambda one: str(one["kind"]))
    lines = ["| report | unknown sections | may be filed |", "|---|---|---|"]
    for one in ordered:
        may = f"no: {one['not_fileable_because']}" if one["not_fileable_because"] else "yes"
        lines.append(f"| {one['title']} | {', '.join(one['unknown']) or 'none'} | {may} |")
    return "\n".join([*lines, "", *[f"- `{one['folder']}/page.md`" for one in ordered]])


def record_review(
    ctx: RunContext, reports: Sequence[Mapping[str, Any]], answer: str, reviewer: str | None, comment: str
) -> dict[str, Any]:
    """The human's word on the reports, one row each; an expired review says so."""
    said = f"{answer} by {reviewer}: {scrub(comment)}" if reviewer else "nobody reviewed in time"
    for one in reports:
        record_operation(
            ctx.settings,
            "compliance_run",
            f"compliance_review:{one['report_id']}",
            service=SERVICE,
            object_type="report",
            object_id=str(one["report_id"]),
            reason=said,
            actor=("human", reviewer) if reviewer else None,
            details={
                "generator": one["kind"],
                "state": "reviewed" if reviewer and answer == "Reviewed" else "returned",
            },
        )
    return {"answer": answer if reviewer else "expired", "reviewer": reviewer}


def _record_run(settings: Settings, result: Mapping[str, Any], as_of: AsOf, body_sha256: str) -> None:
    """The run's row names the body's digest: the report itself is under the record."""
    record_operation(
        settings,
        "compliance_run",
        f"compliance_run:{result['report_id']}",
        service=SERVICE,
        object_type="report",
        object_id=result["report_id"],
        reason=f"{result['kind']} for {as_of.label} at checkpoint {as_of.ckpt_n}",
        after_hash=body_sha256,
        details={
            "generator": result["kind"],
            "folder": result["folder"],
            "state": "generated",
            "unknown": result["unknown"],
            "not_fileable_because": result["not_fileable_because"],
        },
    )


def _why_not_fileable(made: dict[str, Any]) -> str:
    try:
        report.require_fileable(made)
    except ReportIncomplete as error:
        clauses = ", ".join(error.unknown_clauses)
        return f"{clauses} must be known first" if clauses else str(error.args[0])
    return ""


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
