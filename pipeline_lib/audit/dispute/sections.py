"""One answer of the model as the ten sections of the document: plain values from rows. Nothing is computed anew.

What the record does not hold is None; ``remarks`` turns that into holes and caveats. Source: audit.md 10.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import log as ln
from typing import Any

from pipeline_lib.audit.dispute.gather import Told
from pipeline_lib.audit.dispute.rows import Row
from pipeline_lib.audit.dispute.wording import Wording
from pipeline_lib.canonical import decimal_text

Section = dict[str, Any]
_FACTORS = ("rank", "product_id", "task", "score", "propensity")
_VERDICT = (
    "decision_id", "decision", "reason_code", "reason", "trigger", "operator", "approver", "approvals", "ticket",
    "champion_version", "challenger_version", "gate_path", "basis_decision_id", "auto_promote",
    "training_snapshot_hash", "gate_config_hash",
)  # fmt: skip


def decided(told: Told, wording: Wording) -> Section:
    """What was recommended, by which layer."""
    said, guard = told.prediction.said, _first(told.guardrail)
    items = [
        {**{name: item.get(name) for name in _FACTORS}, "name": _plain(wording.product(item["product_id"]))}
        for item in said.get("recommended") or []
    ]
    return {
        "recommended": items, **_only(said, "layer", "eligible_n", "filtered_n", "filter_reasons", "task_scores"),
        "delivered": guard.get("delivered"), "experiment_arm": said.get("experiment_arm"),
    }  # fmt: skip


def asked_by(told: Told) -> Section:
    """Who asked, over which channel, on what basis."""
    names = ("requester_kind", "requester_ref", "access_reason", "channel", "optout_state", "consent_version")
    access = _first(told.access)
    more = ("purpose", "lawful_basis", "fields_read", "terminal_ref", "case_id", "denied")
    return {**_only(told.prediction.said, *names), **_only(access, *more)}


def model(told: Told) -> Section:
    """Which version, since when it served, and the verdicts behind that."""
    said = told.prediction.said
    verdicts = [{"at": row.ts, **_only(row.said, *_VERDICT)} for row in told.verdicts]
    return {
        **_only(said, "model_version", "model_digest", "manifest_hash", "code_rev", "config_hash"),
        "champion_since": told.made_champion.ts if told.made_champion else None,
        "pointer_then": _details(told.swap).get("version"),
        "pointer_since": told.swap.ts if told.swap else None,
        "verdicts": verdicts,
        "dimension_change": {"at": told.dimension.ts, **told.dimension.said} if told.dimension else None,
    }


def inputs(told: Told) -> Section:
    """Fingerprints of what the model saw; the values themselves are not in the record."""
    names = ("feature_hash", "feature_schema_version", "feature_asof", "feature_ref")
    return {**_only(told.prediction.said, *names), "input_dim": _first(told.attribution).get("input_dim")}


def why(told: Told, wording: Wording, text_sha256: str | None) -> Section:
    """Contributions in the customer's words, gates, method and age of the explanation."""
    said = _first(told.attribution)
    names = (
        "task", "method", "source_asof", "staleness_us", "source_model_version", "gates", "gate_entropy",
        "base_value", "residual", "attribution_hash", "reason_layer", "reason_text_hash", "llm_used", "provider_model",
    )  # fmt: skip
    features = [
        {**item, "words": _plain(wording.phrase(item["feature"], said.get("task") or "", _raised(item)))}
        for item in said.get("top_features") or []
    ]
    hashes = [said.get("reason_text_hash"), *(row.said.get("reason_text_hash") for row in told.late)]
    shown = None if text_sha256 is None else text_sha256 in hashes
    return {**_only(said, *names), "top_features": features, "text_shown_is_the_delivered_one": shown}


def reliability(told: Told, wording: Wording) -> Section:
    """How far out the customer lay, by the limits in force then."""
    review = wording.limits.get("review") or {}
    said = _first(told.attribution)
    return {
        "ood": _first(told.guardrail).get("ood"),
        "gate_entropy": said.get("gate_entropy"),
        "entropy_share": _entropy_share(said),
        "max_entropy_then": review.get("max_entropy"),
        "min_margin_then": review.get("min_margin"),
    }


def safeguards(told: Told, wording: Wording) -> Section:
    """Which checks ran on the answer and what was switched off or overridden."""
    scores = told.prediction.said.get("task_scores") or []
    names = ("criteria", "verdict", "suit", "keywords_hit", "edits", "ai_notice_present", "tier", "delivered")
    return {
        **_only(_first(told.guardrail), *names),
        "layer_reasons": sorted({str(score.get("layer_reason")) for score in scores}),
        "switches_on": [_event(row) for row in told.switches],
        "latest_before": [_event(row) for row in told.in_force],
        "limits_then": dict(wording.limits),
    }


def humans(told: Told) -> Section:
    """Reviews, rights and explanations of this answer, whenever they came."""
    late = [{"at": row.ts, "event": row.event, **_only(row.said, "reason_text_hash", "verdict")} for row in told.late]
    return {"events": [_event(row) for row in told.humans], "explanations": late}


def _event(row: Row) -> dict[str, Any]:
    """One operation; of a long list of changed limits only how many."""
    names = ("actor_kind", "actor_ref", "object_type", "object_id", "phase", "reason", "severity", "approvals")
    details = dict(row.said.get("details") or {})
    if len(changes := details.get("changes") or []) > 20:
        details["changes"] = f"{len(changes)} limits, see the entry"
    return {"at": row.ts, "event": row.event, **_only(row.said, *names), "details": details}


def _entropy_share(said: Mapping[str, Any]) -> str | None:
    """Entropy of the gates over that of even gates, which is what the limit is of."""
    entropy, experts = said.get("gate_entropy"), len(said.get("gates") or [])
    return decimal_text(float(entropy) / ln(experts), 6) if entropy and experts > 1 else None


def _raised(item: Mapping[str, Any]) -> bool:
    return not str(item["contribution"]).startswith("-")


def _first(rows: Sequence[Row]) -> dict[str, Any]:
    return rows[0].said if rows else {}


def _details(row: Row | None) -> dict[str, Any]:
    return (row.said.get("details") if row else None) or {}


def _only(said: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: said.get(name) for name in names}


def _plain(names: Mapping[str, str] | None) -> dict[str, str] | None:
    return dict(names) if names else None
