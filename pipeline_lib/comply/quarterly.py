"""The quarter's five reports: freeze the record, ask it, keep the answers, have a human read them."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from pipeline_lib.audit import query, session
from pipeline_lib.audit.operation import record_operation
from pipeline_lib.business_time import previous_quarter, quarter_bounds
from pipeline_lib.comply import render, report
from pipeline_lib.comply.evidence import AsOf, EvidenceBook
from pipeline_lib.errors import ReportIncomplete
from pipeline_lib.runs import RunContext
from pipeline_lib.settings import Settings

log = logging.getLogger(__name__)
SERVICE = "compliance"
TABLES = (
    "log_operation",
    "log_model_inference",
    "log_data_access",
    "log_dimension_change",
    "log_attribution",
    "log_guardrail",
    "log_model_promotion",
)


def freeze(ctx: RunContext) -> dict[str, Any]:
    """Commit and verify the record, and fix period and checkpoint for all five reports.

    Raises:
        AuditError: the record is not intact: no report is generated from it.
    """
    label = previous_quarter(ctx.logical_date)
    start, end = quarter_bounds(label)
    return frozen(ctx.settings, label, start, end)


def frozen(settings: Settings, label: str, start: datetime, end: datetime) -> dict[str, Any]:
    """As ``freeze`` for any period [start, end) in UTC."""
    committed = session.commit(settings)
    verified = session.verify_record(settings)
    return {
        "ckpt_n": committed["ckpt_n"],
        "root": committed["root"],
        "start": _text(start),
        "end": _text(end),
        "label": label,
        "verification": verified["verdict"],
    }


def generate(ctx: RunContext, kind: str, frozen_at: Mapping[str, Any]) -> dict[str, Any]:
    """Generate one report twice, compare the bytes, store body and page create-only, record the run."""
    settings, as_of = ctx.settings, AsOf(**frozen_at)
    made = _body(settings, kind, as_of)
    if report.to_bytes(_body(settings, kind, as_of)) != report.to_bytes(made):
        raise ReportIncomplete(f"{kind} {as_of.label}: two passes over the same record differ", [])
    folder = f"reports/{kind}/{as_of.label}/{made['report_id']}"
    ctx.objects.create(f"{folder}/body.json", report.to_bytes(made))
    ctx.objects.create(f"{folder}/page.md", render.markdown(made).encode())
    fileable = _why_not_fileable(made)
    record_operation(
        settings,
        SERVICE,
        "compliance_run",
        f"compliance_run:{made['report_id']}",
        object_type="report",
        object_id=made["report_id"],
        reason=f"{kind} for {as_of.label} at checkpoint {as_of.ckpt_n}",
        details={"generator": kind, "folder": folder, "state": "generated", "not_fileable_because": fileable},
    )
    unknown = [item["id"] for item in made["items"] if item["status"] == "UNKNOWN"]
    log.info("%s %s: %s, unknown %s", kind, as_of.label, folder, unknown)
    return {
        "kind": kind,
        "report_id": made["report_id"],
        "folder": folder,
        "title": made["title"],
        "unknown": unknown,
        "not_fileable_because": fileable,
    }


def summary(reports: Sequence[Mapping[str, Any]]) -> str:
    """Markdown for the reviewer: one line per report."""
    lines = ["| report | unknown sections | may be filed |", "|---|---|---|"]
    for one in sorted(reports, key=lambda r: str(r["kind"])):
        lines.append(
            f"| {one['title']} | {', '.join(one['unknown']) or 'none'} | {one['not_fileable_because'] or 'yes'} |"
        )
    return "\n".join([*lines, "", *[f"- `{one['folder']}/page.md`" for one in reports]])


def record_review(
    ctx: RunContext, reports: Sequence[Mapping[str, Any]], answer: str, reviewer: str | None, comment: str
) -> dict[str, Any]:
    """The human's word on the five reports, one row each; an expired review says so."""
    said = f"{answer} by {reviewer}: {comment}" if reviewer else "nobody reviewed in time"
    for one in reports:
        record_operation(
            ctx.settings,
            SERVICE,
            "compliance_run",
            f"compliance_review:{one['report_id']}",
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


def _body(settings: Settings, kind: str, as_of: AsOf) -> dict[str, Any]:
    frames = {table: query.frame(settings, table, as_of_ckpt=as_of.ckpt_n) for table in TABLES}
    module = importlib.import_module(f"pipeline_lib.comply.reports.{kind}")
    policy = settings.compliance
    made: dict[str, Any] = module.generate(EvidenceBook(frames, as_of), policy.reports[kind], policy.levels)  # type: ignore[index]
    return made


def _why_not_fileable(made: dict[str, Any]) -> str:
    try:
        report.require_fileable(made)
    except ReportIncomplete as error:
        return f"{error.args[0]}: {', '.join(error.unknown_clauses)}".removesuffix(": ")
    return ""


def _text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
