"""The four entries of one answer, recorded together or not at all: access, prediction, attribution, guardrail.

They share the request id; the last three share the prediction id. Reals are decimal text; nothing here is a raw
customer or operator id. What is not known is null. Source: audit.md 5.3 to 5.7 and 6.1.
"""

from __future__ import annotations

import hashlib
import hmac
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline_lib.audit.catalogue import complete
from pipeline_lib.audit.segment import Entry
from pipeline_lib.canonical import decimal_text, digest
from pipeline_lib.serve.guardrail import CRITERIA, Finding
from pipeline_lib.serve.layers import TaskAnswer
from pipeline_lib.serve.reasons import Attribution
from pipeline_lib.serve.request import Request
from pipeline_lib.serve.slate import Draw, Scored
from pipeline_lib.serve.tables import Customer, TeacherSignals
from pipeline_lib.serve.tiers import Review

LAYERS = {1: "L1_distilled", 2: "L2_direct", 3: "L3_rules", 4: "L4_human"}
_TOP_FEATURES = 10


@dataclass(frozen=True)
class Context:
    """Identities and versions that every entry repeats."""

    request_id: str
    prediction_id: str
    subject: str
    operator: str | None
    version: str
    manifest_sha256: str
    config_hash: str
    code_rev: str


@dataclass(frozen=True)
class Outcome:
    """Everything that was decided, ready to be recorded and answered."""

    status: str
    answers: Mapping[str, TaskAnswer]
    items: Sequence[Scored]
    eligible: Sequence[Scored]
    considered: int
    dropped: Mapping[str, int]
    """Reason -> count."""
    attribution: Attribution | None
    findings: Sequence[Finding]
    texts: Sequence[str]
    sources: Sequence[str]
    """Of each text: L1, or L2a where an earlier rewrite of the same was used."""
    provider_model: str | None
    """What wrote the L2a texts."""
    verdict: str
    review: Review
    tolerance: int | None
    opt_out: str
    switches: Sequence[str]
    propensities: Mapping[str, float] = field(default_factory=dict)
    """Eligible item -> probability that it was rank 1."""
    below_limits: Sequence[Scored] = ()
    """Scored items that the limits dropped."""
    draw: Draw | None = None
    ood: Mapping[str, Any] | None = None
    """How far out the row lies, and by which limits."""
    messages_7d: int | None = None
    """Outbound messages that the score knew of; None = not known."""

    @property
    def delivered(self) -> bool:
        """Whether something personal is shown: the answer has an item, and only then."""
        return bool(self.items)


def entries(
    at: Context, request: Request, outcome: Outcome, customer: Customer | None, read: Sequence[str], latency_us: int
) -> list[Entry]:
    """In the order of the record's protocol.

    Args:
        read: the tables about the customer that answered.
    """
    rows = (
        ("log_data_access", "data_access", _access(at, request, customer, read), None),
        (
            "log_model_inference",
            "prediction",
            _prediction(at, request, outcome, customer, latency_us),
            at.prediction_id,
        ),
        ("log_attribution", "attribution", _attribution(at, outcome, customer), at.prediction_id),
        ("log_guardrail", "guardrail", _guardrail(outcome), at.prediction_id),
    )
    return [
        Entry(table, event, complete(table, known), f"{event}:{at.request_id}", at.request_id, prediction_id)
        for table, event, known, prediction_id in rows
    ]


def repeated(at: Context, request: Request, customer: Customer | None, read: Sequence[str]) -> list[Entry]:
    """That the stored answer ``at.prediction_id`` is given again, under a request id of its own."""
    known = {**_access(at, request, customer, [*read, "idempotency"]), "purpose": "repeated answer"}
    entry = complete("log_data_access", known)
    name = f"data_access:{at.request_id}"
    return [Entry("log_data_access", "data_access", entry, name, at.request_id, at.prediction_id)]


def operator_ref(pepper: bytes, operator_id: str) -> str:
    """Pseudonym of an operator: ``o_`` and 64 hex."""
    return "o_" + hmac.new(pepper, f"operator|{operator_id}".encode(), hashlib.sha256).hexdigest()


def _access(at: Context, request: Request, customer: Customer | None, read: Sequence[str]) -> dict[str, Any]:
    # Hundreds of names in every row would be most of the record; the package of this schema lists them.
    schema = f"feature_row:{customer.row.schema_hash}" if customer else "feature_row"
    fields = [schema if name == "feature_row" else name for name in read]
    return {
        "operator_ref": at.operator,
        "operator_kind": "human" if at.operator else "service",
        "subject_ref": at.subject,
        "row_scope": "single",
        "access_reason": request.access_reason,
        "purpose": "recommendation",
        "fields_read": sorted(fields),
        "row_count": int(customer is not None),
        "terminal_ref": request.terminal_id,
        "denied": False,
    }


def _prediction(
    at: Context, request: Request, outcome: Outcome, customer: Customer | None, latency_us: int
) -> dict[str, Any]:
    slate = _slate(outcome)
    return {
        "subject_ref": at.subject,
        "model_version": at.version,
        "model_digest": at.manifest_sha256,
        "layer": LAYERS[_main_layer(outcome)],
        "feature_schema_version": customer.row.schema_hash if customer else None,
        "feature_hash": _feature_hash(customer),
        "feature_asof": customer.snapshot.isoformat() if customer else None,
        "task_scores": [_task_score(answer) for answer in outcome.answers.values()],
        "recommended": [_recommended(rank, scored, outcome) for rank, scored in enumerate(outcome.items, 1)],
        "slate_ref": slate,
        "slate_hash": digest(slate),
        "eligible_n": len(outcome.eligible),
        "filtered_n": sum(outcome.dropped.values()),
        "filter_reasons": [{"k": k, "v": v} for k, v in sorted(outcome.dropped.items())],
        "prot": dict(customer.protected) if customer else {},
        "requester_kind": "human" if at.operator else "service",
        "requester_ref": at.operator,
        "access_reason": request.access_reason,
        "weights_version": at.config_hash,
        "channel": request.channel,
        "latency_us": latency_us,
        "optout_state": outcome.opt_out,
        "experiment_arm": "champion",
        "manifest_hash": at.manifest_sha256,
        "code_rev": at.code_rev,
        "config_hash": at.config_hash,
    }


def _attribution(at: Context, outcome: Outcome, customer: Customer | None) -> dict[str, Any]:
    found = outcome.attribution
    teacher = customer.teacher if customer else None
    known: dict[str, Any] = {
        "task": found.task if found else None,
        "method": found.method if found else "rule",
        "attribution_hash": _feature_hash(customer),
        "input_dim": len(customer.row.columns) if customer else None,
        "reason_layer": max(outcome.sources, default=None),
        "reason_text_hash": _text_hash(outcome.texts),
        "llm_used": "L2a" in outcome.sources,
        "provider_model": outcome.provider_model,
        "source_model_version": at.version,
    }
    if found:
        top = found.contributions[:_TOP_FEATURES]
        known["top_features"] = [
            {"feature": name, "contribution": decimal_text(value), "rank": rank}
            for rank, (name, value) in enumerate(top, 1)
        ]
        known["base_value"] = decimal_text(found.base_value)
        known["residual"] = decimal_text(found.residual)
    if found and teacher and outcome.opt_out == "in":
        known |= _teacher(teacher, found.task)
    return known


def _teacher(teacher: TeacherSignals, task: str) -> dict[str, Any]:
    """The teacher's gates of this customer and task, with their date: never presented as the student's."""
    gates = teacher.gates.get(task, {})
    return {
        "source_asof": teacher.as_of.isoformat(),
        "gates": [{"expert": name, "w": decimal_text(float(w))} for name, w in gates.items()] or None,
        "gate_entropy": decimal_text(float(teacher.entropy[task])) if task in teacher.entropy else None,
    }


def _guardrail(outcome: Outcome) -> dict[str, Any]:
    hits = sorted({hit for finding in outcome.findings for hit in finding.hits})
    grades = [item.risk_grade for item, _ in outcome.items if item.risk_grade is not None]
    return {
        "criteria": criteria(outcome.findings),
        "verdict": outcome.verdict,
        "text_hash_before": _text_hash(outcome.texts),
        "text_hash_after": _text_hash(outcome.texts),
        "edits": [],
        "suit": {
            "subject_tolerance": outcome.tolerance,
            "product_risk": max(grades, default=None),
            "caps_hit": [{"k": k, "v": v} for k, v in sorted(outcome.dropped.items())],
            "verdict": "pass" if outcome.items else "block",
            "review_conditions": list(outcome.review.conditions),
        },
        "keywords_hit": hits,
        "ai_notice_present": bool(outcome.texts) and "ai_notice" not in hits,
        "ood": outcome.ood,
        "tier": outcome.review.tier,
        "delivered": outcome.delivered,
    }


def criteria(findings: Sequence[Finding]) -> dict[str, Any]:
    """All five, by name."""
    by_name = {finding.criterion: finding for finding in findings}
    return {name: _criterion(by_name.get(name)) for name in CRITERIA}


def _criterion(finding: Finding | None) -> dict[str, Any]:
    """A criterion that had no text to look at is not known."""
    if finding is None:
        return {"score": None, "threshold": decimal_text(1, 6), "verdict": None}
    score = finding.score if finding.score is not None else int(finding.passed)
    return {
        "score": decimal_text(score, 6),
        "threshold": decimal_text(finding.threshold, 6),
        "verdict": "pass" if finding.passed else "block",
    }


def _task_score(answer: TaskAnswer) -> dict[str, Any]:
    """One number per task: probability, value, or the probability of the top class (named)."""
    top = max(range(len(answer.values)), key=lambda k: (answer.values[k], -k), default=None)
    raw = answer.prediction.raw[top] if answer.prediction and top is not None else None
    return {
        "task": answer.task,
        "kind": answer.kind,
        "layer": answer.layer,
        "layer_reason": answer.layer_reason,
        "rule": answer.rule.rule if answer.rule else None,
        "class": top if answer.kind == "multiclass" else None,
        "score": decimal_text(raw),
        "calibrated": None if top is None else decimal_text(answer.values[top]),
    }


def _slate(outcome: Outcome) -> list[dict[str, Any]]:
    """Every item that could have been shown with its propensity, best first; then those below the limits, with 0."""
    eligible = [
        {
            "product_id": item.item_id,
            "score": decimal_text(score.value),
            "propensity": _propensity(item.item_id, outcome),
        }
        for item, score in outcome.eligible
    ]
    below = [
        {"product_id": item.item_id, "score": decimal_text(score.value), "propensity": decimal_text(0)}
        for item, score in outcome.below_limits
    ]
    return eligible + below


def _propensity(item_id: str, outcome: Outcome) -> str | None:
    return decimal_text(outcome.propensities.get(item_id))


def _draw(item_id: str, outcome: Outcome) -> dict[str, Any]:
    """On the item that was drawn: how."""
    if outcome.draw is None or outcome.draw.item_id != item_id:
        return {}
    by = outcome.draw.by
    epsilon, temperature = decimal_text(by.epsilon), decimal_text(by.temperature)
    return {"draw": {"epsilon": epsilon, "temperature": temperature}}


def _recommended(rank: int, scored: Scored, outcome: Outcome) -> dict[str, Any]:
    item, score = scored
    parts = [{"k": k, "v": decimal_text(v)} for k, v in sorted(score.parts.items())]
    factors = {name: decimal_text(getattr(score, name)) for name in ("s", "w", "v", "r", "f", "e")}
    return {
        "rank": rank, "product_id": item.item_id, "task": score.deciding_task, "score": decimal_text(score.value),
        "propensity": _propensity(item.item_id, outcome), "parts": parts, **factors,
        "messages_7d": outcome.messages_7d, **_draw(item.item_id, outcome),
    }  # fmt: skip


def _main_layer(outcome: Outcome) -> int:
    """The layer of the best item's deciding task; without items the one that answered most tasks."""
    if outcome.status == "human_fallback":
        return 4
    if outcome.items and (answer := outcome.answers.get(outcome.items[0][1].deciding_task)):
        return answer.layer
    layers = [answer.layer for answer in outcome.answers.values()]
    return max(sorted(set(layers)), key=layers.count, default=3)


def _feature_hash(customer: Customer | None) -> str | None:
    """SHA-256 of the row's float32 bytes."""
    return hashlib.sha256(array("f", customer.row.values).tobytes()).hexdigest() if customer else None


def _text_hash(texts: Sequence[str]) -> str | None:
    return hashlib.sha256("\n".join(texts).encode("utf-8")).hexdigest() if texts else None
