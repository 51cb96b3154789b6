"""Assessments of a new champion: best effort. A failure is recorded and neither blocks nor undoes the promotion."""

from __future__ import annotations

import json
import logging
from datetime import datetime, timedelta
from typing import Any

from pipeline_lib.audit import session
from pipeline_lib.audit.operation import record_operation
from pipeline_lib.canonical import canonical_bytes
from pipeline_lib.comply import quarterly
from pipeline_lib.errors import PipelineError
from pipeline_lib.keys import KeyFolder
from pipeline_lib.registry import pointer
from pipeline_lib.registry.pointer import Pointer
from pipeline_lib.runs import RunContext

log = logging.getLogger(__name__)
KINDS = ("korean_fria", "eu_risk_record", "annex_iv")


def assess(ctx: RunContext) -> dict[str, Any]:
    """Assess the champion as the record knows it now; a champion that was assessed keeps its assessment.

    The period ends with the checkpoint that is frozen, so that the reports depend on the record alone.

    Returns:
        kind -> report id, or the error that was recorded; empty when nothing serves.
    """
    champion = pointer.read(ctx.objects, KeyFolder(ctx.settings.place.keys)).pointer
    if champion is None or champion.version is None:
        log.info("nothing serves, nothing to assess")
        return {}
    key = f"reports/on_promotion/{champion.decision_id}-{champion.generation}.json"
    if ctx.objects.exists(key):
        known: dict[str, Any] = json.loads(ctx.objects.get(key))
        return known
    results = _assessed(ctx, champion)
    if not any(str(result).startswith("failed") for result in results.values()):
        ctx.objects.create(key, canonical_bytes(results))
    return results


def _assessed(ctx: RunContext, champion: Pointer) -> dict[str, Any]:
    try:
        committed = session.commit(ctx.settings)
        end = datetime.fromisoformat(committed["ts"])
        start = end - timedelta(days=ctx.settings.compliance.promotion_window_days)
        at = quarterly.frozen(ctx.settings, committed, str(champion.version), start, end)
    except PipelineError as error:
        return {kind: _failed(ctx, kind, champion, error) for kind in KINDS}
    results: dict[str, Any] = {}
    for kind in KINDS:
        try:
            results[kind] = quarterly.generate(ctx, kind, at)["report_id"]
        except PipelineError as error:
            results[kind] = _failed(ctx, kind, champion, error)
    return results


def _failed(ctx: RunContext, kind: str, champion: Pointer, error: PipelineError) -> str:
    said = f"{type(error).__name__}: {error}"
    log.warning("%s of %s failed: %s", kind, champion.version, said)
    record_operation(
        ctx.settings,
        "compliance_failed",
        f"compliance_failed:{kind}:{champion.decision_id}",
        service=quarterly.SERVICE,
        object_type="report",
        object_id=kind,
        reason=said[:2000],
        severity="major",
        details={"version": champion.version, "decision_id": champion.decision_id},
    )
    return f"failed: {type(error).__name__}"
