"""Assessments of a new champion: best effort. A failure is recorded and neither blocks nor undoes the promotion."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import Any

from pipeline_lib.audit.operation import record_operation
from pipeline_lib.business_time import promotion_moment
from pipeline_lib.comply import quarterly
from pipeline_lib.errors import PipelineError
from pipeline_lib.runs import RunContext

log = logging.getLogger(__name__)
KINDS = ("korean_fria", "eu_risk_record", "annex_iv")
WINDOW_DAYS = 90
"""What an assessment at promotion looks back on [d]."""


def assess(ctx: RunContext) -> dict[str, Any]:
    """Generate the three on-promotion reports; returns kind -> report id, or the error that was recorded."""
    moment = promotion_moment(ctx.logical_date).astimezone(UTC)
    # The verdict this run has just recorded belongs into the assessment: look one week ahead of the run's date.
    start, end = moment - timedelta(days=WINDOW_DAYS), moment + timedelta(days=7)
    results: dict[str, Any] = {}
    for kind in KINDS:
        try:
            frozen_at = quarterly.frozen(ctx.settings, f"promotion-{ctx.logical_date}", _first(start), _later(end))
            results[kind] = quarterly.generate(ctx, kind, frozen_at)["report_id"]
        except PipelineError as error:
            log.warning("%s at promotion %s failed: %s", kind, ctx.logical_date, error)
            results[kind] = f"failed: {type(error).__name__}"
            _record_failure(ctx, kind, error)
    return results


def _record_failure(ctx: RunContext, kind: str, error: PipelineError) -> None:
    record_operation(
        ctx.settings,
        quarterly.SERVICE,
        "compliance_failed",
        f"compliance_failed:{kind}:{ctx.logical_date}",
        object_type="report",
        object_id=kind,
        reason=f"{type(error).__name__}: {error}"[:2000],
        severity="major",
    )


def _first(start: datetime) -> datetime:
    return start


def _later(end: datetime) -> datetime:
    return max(end, datetime.now(UTC) + timedelta(minutes=1))
