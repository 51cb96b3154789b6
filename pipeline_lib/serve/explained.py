"""The record of one explanation: access, attribution and guardrail, whatever became of a rewrite.

They carry the prediction's id under events of their own (``..._late``), so that nobody counts the answer twice.
Source: audit.md 5.4, 5.6 and 5.7.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from pipeline_lib.audit.catalogue import complete
from pipeline_lib.audit.segment import Entry
from pipeline_lib.serve.guardrail import Finding
from pipeline_lib.serve.record import criteria

if TYPE_CHECKING:
    from pipeline_lib.serve.rewrite.loop import Rewritten


@dataclass(frozen=True)
class Said:
    """What is delivered, and what was looked at for it."""

    text: str
    source: str
    """L1 or L2a."""
    template: str
    """The template's text."""
    findings: Sequence[Finding]
    """Of the text that was judged last: a rewrite that was rejected, or else the delivered one."""
    cached: bool = False
    why: str | None = None
    """What became of a rewrite."""
    judged: str | None = None
    """A text that was rejected."""
    written: Mapping[str, Any] = field(default_factory=dict)
    """Who wrote an L2a text: provider_model, prompt_hash, reply_hash."""
    rewritten: Rewritten | None = None


def of_rewrite(said: Said, found: Rewritten) -> Said:
    """The rewrite's text, or the template's beside why."""
    by = {
        "provider_model": found.provider_model,
        "prompt_hash": found.prompt_sha256,
        "reply_hash": found.reply_sha256,
    }
    said = replace(said, why=found.why, written=by, rewritten=found, findings=found.findings or said.findings)
    if found.text is None:
        return replace(said, judged=found.judged)
    return replace(said, text=found.text, source="L2a")


def entries(
    request_id: str, prediction_id: str, answer: Mapping[str, Any], item: Mapping[str, Any], said: Said
) -> list[Entry]:
    """In the order of the record's protocol."""
    rows = (
        ("log_data_access", "data_access", _access(answer), None),
        ("log_attribution", "attribution_late", _attribution(answer, item, said), prediction_id),
        ("log_guardrail", "guardrail_late", _guardrail(answer, item, said), prediction_id),
    )
    return [
        Entry(table, event, complete(table, known), f"{event}:{request_id}", request_id, of)
        for table, event, known, of in rows
    ]


def _access(answer: Mapping[str, Any]) -> dict[str, Any]:
    """Who asked is known where the gateway says it: the request names an answer, not a person."""
    return {
        "operator_ref": answer["operator"],
        "operator_kind": "human" if answer["operator"] else "service",
        "subject_ref": answer["subject"],
        "row_scope": "single",
        "access_reason": "branch_initiated" if answer["operator"] else "self_service",
        "purpose": "explanation",
        "fields_read": ["kept_answer", "kept_texts", "optout"],
        "row_count": 1,
        "denied": False,
    }


def _attribution(answer: Mapping[str, Any], item: Mapping[str, Any], said: Said) -> dict[str, Any]:
    asked = said.rewritten is not None and said.rewritten.calls > 0
    return {
        "task": item["grounds"]["task"] or None,
        "method": item["method"],
        "reason_layer": said.source,
        "reason_text_hash": _hash(said.text),
        "llm_used": asked or said.source == "L2a",
        "source_model_version": answer["version"],
        **{name: said.written.get(name) for name in ("provider_model", "prompt_hash", "reply_hash")},
    }


def _guardrail(answer: Mapping[str, Any], item: Mapping[str, Any], said: Said) -> dict[str, Any]:
    """``modify``: a rewrite was looked at and the template's text was delivered instead."""
    return {
        "criteria": criteria(said.findings),
        "verdict": "modify" if said.judged else "pass",
        "text_hash_before": _hash(said.judged or said.template),
        "text_hash_after": _hash(said.text),
        "edits": [{"k": "rewrite", "v": said.why}] if said.why else [],
        "suit": {
            "subject_tolerance": answer["tolerance"], "product_risk": item["risk_grade"], "caps_hit": [],
            "verdict": "pass",
        },
        "keywords_hit": sorted({hit for finding in said.findings for hit in finding.hits}),
        "ai_notice_present": True,
        "tier": answer["tier"],
        "delivered": True,
    }  # fmt: skip


def _hash(text: str) -> str:
    return sha256(text.encode("utf-8")).hexdigest()
