"""What an answer leaves behind to be explained by, and which rewritten texts a new one may use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from pipeline_lib.conditions import Condition
from pipeline_lib.serve.decide import Decided, Known
from pipeline_lib.serve.request import Request

if TYPE_CHECKING:
    from pipeline_lib.serve.service import Service


def texts(service: Service, subject: str, known: Known) -> Mapping[str, Any]:
    """Rewritten texts about the customer; nothing is read where nothing is rewritten. Raises TableUnreadable."""
    if known.opted_out or service.policy.serving["l2a"]["provider"] == "none":
        return {}
    return service.keep.texts(subject, service.now().timestamp())


def remember(
    service: Service, prediction_id: str, subject: str, request: Request, known: Known, decided: Decided
) -> None:
    """Store what explains a recorded answer. Raises TableUnreadable."""
    if not decided.reasons:
        return
    features = service.policy.features(known.customer)
    book = service.policy.reasons
    templates = [r if r.source == "L1" else book.say(r.grounds, subject, request.locale) for r in decided.reasons]
    items = zip(decided.outcome.items, templates, decided.methods, strict=True)
    body = {
        "subject": subject, "channel": request.channel, "locale": request.locale,
        "version": service.policy.models.bundle.version,
        "by_rules": known.opted_out, "richness": richness(service.policy.serving["l2a"], features),
        "tolerance": decided.outcome.tolerance, "tier": decided.outcome.review.tier,
        "items": [
            {"text": reason.text, "template_id": reason.template_id, "known": reason.known,
             "grounds": asdict(reason.grounds), "method": method, "risk_grade": item.risk_grade}
            for (item, _), reason, method in items
        ],
    }  # fmt: skip
    service.keep.put_answer(prediction_id, body, service.now().timestamp())


def richness(policy: Mapping[str, Any], known: Mapping[str, float]) -> str:
    """rich, moderate or sparse: how much there is to write about, never what the customer is worth."""
    for name in ("rich", "moderate"):
        if any(Condition(text).holds(known) for text in policy[name]):
            return name
    return "sparse"
