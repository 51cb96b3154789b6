"""The response bodies. Field names and types are the contract of serving.md 11: added to, never changed."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pipeline_lib.records import Receipt
from pipeline_lib.serve.decide import Decided
from pipeline_lib.serve.layers import TaskAnswer
from pipeline_lib.serve.policy import Policy
from pipeline_lib.serve.reasons import Reason
from pipeline_lib.serve.record import Context
from pipeline_lib.serve.request import Request
from pipeline_lib.serve.slate import Scored
from pipeline_lib.serve.tables import Customer
from pipeline_lib.serve.tiers import Review

STATIC_ITEMS = 5


def body(
    policy: Policy, request: Request, at: Context, decided: Decided, customer: Customer | None, now: datetime
) -> dict[str, Any]:
    """The answer, to be recorded before it is given."""
    outcome = decided.outcome
    chosen = zip(outcome.items, decided.reasons, strict=True)
    items = [_item(rank, s, reason, outcome.answers, request) for rank, (s, reason) in enumerate(chosen, 1)]
    if outcome.status == "static_content":
        items = _static_items(policy)
    return {
        "request_id": at.request_id,
        "prediction_id": at.prediction_id,
        "served_at": now.isoformat(),
        "status": outcome.status,
        "model": _model(policy, customer),
        "items": items,
        "tasks": {name: _task(a, request) for name, a in outcome.answers.items()},
        "flags": dict(decided.flags),
        "review": _review(outcome.review, at.prediction_id),
        "filters": {"considered": outcome.considered, "dropped_by_reason": dict(sorted(outcome.dropped.items()))},
        "rights": dict(policy.serving["rights"]),
        **({"attribution": _attribution(decided)} if "attribution" in request.include else {}),
    }


def recorded(body: Mapping[str, Any], receipt: Receipt, started: float) -> dict[str, Any]:
    """The body with its receipt.

    Args:
        started: by ``time.perf_counter``.
    """
    shown = {k: v for k, v in receipt.to_dict().items() if k != "origin"}
    return {**body, "receipt": shown, "elapsed_ms": round((time.perf_counter() - started) * 1000, 3)}


def static(policy: Policy, request_id: str, now: datetime, outbound: bool = False) -> dict[str, Any]:
    """Non-personal content: what is shown when a personal answer cannot be recorded.

    Args:
        outbound: nobody is there to be shown it, and nobody is written to with what was not recorded: no items.
    """
    return {
        "request_id": request_id,
        "prediction_id": None,
        "served_at": now.isoformat(),
        "status": "static_content",
        "model": _model(policy, None),
        "items": [] if outbound else _static_items(policy),
        "tasks": {},
        "flags": {"degraded": True, "cold_start": False, "stale_features": False, "ood": None, "switch": []},
        "review": {"tier": 1, "review_id": None, "required": False},
        "filters": {"considered": 0, "dropped_by_reason": {}},
        "rights": dict(policy.serving["rights"]),
        "receipt": None,
        "elapsed_ms": 0,
    }


def _static_items(policy: Policy) -> list[dict[str, Any]]:
    """The most used products of the lowest risk, the same for everybody."""
    by_id = {item.item_id: item for item in policy.items}
    open_to_all = [
        by_id[name]
        for name in policy.popular
        if by_id[name].risk_grade == 1
        and by_id[name].class_name not in policy.suitability.blocked_classes
        and by_id[name].group not in policy.suitability.blocked_groups
    ]
    return [
        {"item_id": item.item_id, "name": item.name, "rank": rank, "score": None, "group": item.group,
         "risk_grade": item.risk_grade, "deciding_task": None, "layer": None, "reason": None}
        for rank, item in enumerate(open_to_all[:STATIC_ITEMS], 1)
    ]  # fmt: skip


def _model(policy: Policy, customer: Customer | None) -> dict[str, Any]:
    bundle = policy.models.bundle
    return {
        "version": bundle.version,
        "manifest_sha256": bundle.manifest_sha256,
        "feature_schema": bundle.manifest["feature_schema_hash"],
        "feature_asof": customer.snapshot.isoformat() if customer else None,
        "feature_refreshed": customer.refreshed.isoformat() if customer else None,
        "config_hash": bundle.manifest["config_hash"],
    }


def _item(
    rank: int, scored: Scored, reason: Reason, answers: Any, request: Request
) -> dict[str, Any]:  # fmt: skip
    item, score = scored
    shown = {
        "item_id": item.item_id,
        "name": item.name,
        "rank": rank,
        "score": round(score.value, 9),
        "group": item.group,
        "risk_grade": item.risk_grade,
        "deciding_task": score.deciding_task,
        "layer": answers[score.deciding_task].layer,
        "reason": {"text": reason.text, "source": reason.source, "template_id": reason.template_id, "ai_notice": True},
    }
    if "components" in request.include:
        factors = {name: round(getattr(score, name), 9) for name in ("s", "w", "v", "r", "f", "e")}
        shown["components"] = {**factors, "parts": {k: round(v, 9) for k, v in sorted(score.parts.items())}}
    return shown


def _task(found: TaskAnswer, request: Request) -> dict[str, Any]:
    shown: dict[str, Any] = {"layer": found.layer, "layer_reason": found.layer_reason}
    if found.rule:
        shown["rule"] = found.rule.rule
    if request.tasks is not None and found.task not in request.tasks:
        return shown
    if not found.values:
        return {**shown, "calibrated": None}
    values = [round(value, 9) for value in found.values]
    if found.kind == "regression":
        return {**shown, "calibrated": None, "value": values[0]}
    return {**shown, "calibrated": values[0] if found.kind == "binary" else values}


def _review(found: Review, prediction_id: str) -> dict[str, Any]:
    asked = found.tier > 1
    return {
        "tier": found.tier, "review_id": prediction_id if asked else None, "required": asked,
        "conditions": list(found.conditions),
    }  # fmt: skip


def _attribution(decided: Decided) -> dict[str, Any] | None:
    found = decided.outcome.attribution
    if found is None:
        return None
    return {
        "task": found.task,
        "method": found.method,
        "base_value": found.base_value,
        "raw": found.raw,
        "contributions": [{"feature": name, "value": value} for name, value in found.contributions],
    }
