"""``POST /v1/reasons``: why an item was recommended, and perhaps said better. Imported by its first request.

The answer was stored with its grounds when it was given. The opt-out is read first here too, and makes void what
models said of the customer. A switch that lets nothing personal be shown stops explanations too; another one does
not, for what was shown has to be explained. A rewrite is asked for only where the policy names a provider, the context
is rich enough and no switch is active; whatever fails, the template's text is delivered, and the record says what
failed.
Source: serving.md 9.4, 11 and 12.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pipeline_lib.errors import AppendFailed, SettingsError
from pipeline_lib.items import TableUnreadable
from pipeline_lib.serve import explained, scopes
from pipeline_lib.serve.guardrail import Evidence, verdict
from pipeline_lib.serve.keep import text_key
from pipeline_lib.serve.reasons import Grounds, Reason
from pipeline_lib.serve.request import LOCALES, Refused, one_of, only, text_of
from pipeline_lib.serve.scopes import UNREADABLE_SWITCH
from pipeline_lib.serve.tables import Switch

if TYPE_CHECKING:
    from pipeline_lib.serve.rewrite.loop import Rewriter
    from pipeline_lib.serve.service import Service

log = logging.getLogger(__name__)
FIELDS = ("prediction_id", "item_id", "locale")
UNKNOWN = Refused(404, "UNKNOWN_PREDICTION", "no such answer or item, or it is no longer kept")


@dataclass(frozen=True)
class Asked:
    prediction_id: str
    item_id: str
    locale: str | None
    """None: the answer's own."""


def explain(
    service: Service, body: Mapping[str, Any], request_id: str, operator: str | None, channels: Sequence[str] | None
) -> dict[str, Any]:
    """The 200 answer.

    Args:
        operator: pseudonym of who asks. channels: whose answers they may see; None: all.

    Raises:
        Refused: 400, 403, 404 UNKNOWN_PREDICTION, 503 where nothing can be read or recorded.
    """
    asked = parse(body)
    answer = _answer(service, asked)
    if channels is not None and answer.get("channel") not in channels:
        raise Refused(403, "FORBIDDEN", "prediction_id: an answer of a channel that is not the caller's")
    item = next((one for one in answer["items"] if one["grounds"]["item_id"] == asked.item_id), None)
    if item is None:
        raise UNKNOWN
    reason = _template(service, answer, item, asked.locale or answer["locale"])
    evidence = _evidence(service, reason, item)
    switches = _switches(service)
    if scopes.wide([one for one in switches if one.fallback == "disable"], None):
        raise Refused(503, "NO_SAFE_ANSWER", "a kill switch stops what is personal", retryable=True)
    said = _said(service, answer, reason, evidence, bool(switches))
    receipt = _recorded(service, request_id, asked, {**answer, "operator": operator}, item, said)
    if said.rewritten is not None and said.rewritten.text is not None:
        _remember(service, answer, reason, said)
    return {
        "request_id": request_id, "prediction_id": asked.prediction_id, "item_id": asked.item_id,
        "text": said.text, "source": said.source, "locale": reason.locale, "template_id": reason.template_id,
        "ai_notice": True, "cached": said.cached, "receipt": receipt,
    }  # fmt: skip


def parse(body: Mapping[str, Any]) -> Asked:
    """Raises Refused 400 naming the field."""
    only(body, FIELDS, "")
    prediction_id, item_id = (text_of(body, name, required=True) or "" for name in FIELDS[:2])
    return Asked(prediction_id, item_id, one_of(body, "locale", LOCALES) if "locale" in body else None)


def _answer(service: Service, asked: Asked) -> dict[str, Any]:
    """The stored answer, if its customer lets models speak of them."""
    try:
        now = service.now().timestamp()
        found = service.keep.answer(asked.prediction_id, now)
        if found is None:
            raise UNKNOWN
        opted_out = service.tables.opt_out(found["subject"]).opted_out
        if opted_out:
            service.keep.forget(found["subject"], None if found["by_rules"] else asked.prediction_id, now)
    except TableUnreadable as error:
        log.error("nothing can be explained: %s", error)
        raise Refused(503, "NO_SAFE_ANSWER", "what was answered cannot be read", retryable=True) from error
    if opted_out and not found["by_rules"]:
        raise UNKNOWN
    return {**found, "opted_out": opted_out}


def _template(service: Service, answer: Mapping[str, Any], item: Mapping[str, Any], locale: str) -> Reason:
    """The text that was given; in another language, or after a release of other words, said anew."""
    grounds = Grounds(**{**item["grounds"], "facts": tuple(item["grounds"]["facts"])})
    said = service.policy.reasons.say(grounds, answer["subject"], locale)
    if locale != answer["locale"]:
        return said
    return replace(said, text=item["text"], template_id=item["template_id"], known=tuple(item["known"]))


def _evidence(service: Service, reason: Reason, item: Mapping[str, Any]) -> Evidence:
    notice = str(service.policy.reasons.policy["ai_notice"][reason.locale])
    return Evidence(reason.product, reason.known, notice, reason.locale, True, item["risk_grade"])


def _said(
    service: Service, answer: Mapping[str, Any], reason: Reason, evidence: Evidence, switched: bool
) -> explained.Said:
    """The cached text, a new one, or the template's."""
    findings = service.policy.gate.check(reason.text, evidence)
    said = explained.Said(reason.text, "L1", reason.text, findings)
    if verdict(findings) != "pass":
        raise Refused(503, "NO_SAFE_ANSWER", "the text does not pass the safety gate")
    if why := _not_rewritten(service, answer, switched):
        return replace(said, why=why)
    cached = _cached(service, answer, reason)
    if cached and verdict(found := service.policy.gate.check(cached["text"], evidence)) == "pass":
        return replace(said, text=cached["text"], source="L2a", findings=found, cached=True, written=cached)
    rewriter = _rewriter(service)
    if rewriter is None:
        return replace(said, why="NO_PROVIDER")
    return explained.of_rewrite(said, rewriter.rewrite(reason.text, reason.known[1:], evidence))


def _not_rewritten(service: Service, answer: Mapping[str, Any], switched: bool) -> str | None:
    """Why no model is asked, nor its earlier text used; None: it may be."""
    if service.policy.serving["l2a"]["provider"] == "none":
        return "PROVIDER_NONE"
    if answer["opted_out"] or answer["by_rules"]:
        return "OPTED_OUT"
    if answer["richness"] == "sparse":
        return "SPARSE"
    return "SWITCH" if switched else None


def _switches(service: Service) -> tuple[Switch, ...]:
    try:
        return service.tables.switches()
    except TableUnreadable as error:
        log.error("switches unreadable, nothing is rewritten: %s", error)
        return (UNREADABLE_SWITCH,)


def _cached(service: Service, answer: Mapping[str, Any], reason: Reason) -> dict[str, Any] | None:
    try:
        texts = service.keep.texts(answer["subject"], service.now().timestamp())
    except TableUnreadable as error:
        log.error("rewritten texts unreadable: %s", error)
        return None
    return texts.get(text_key(answer["subject"], reason, answer["version"]))


def _rewriter(service: Service) -> Rewriter | None:
    if service.rewriter is None:
        from pipeline_lib.serve.rewrite.loop import Rewriter
        from pipeline_lib.serve.rewrite.provider import open_provider

        policy = service.policy.serving["l2a"]
        try:
            provider = open_provider(policy, service.recording)
        except SettingsError as error:
            log.error("no provider, templates stay: %s", error)
            return None
        service.rewriter = Rewriter(provider, service.policy.gate, policy) if provider else None
    made: Rewriter | None = service.rewriter
    return made


def _recorded(
    service: Service, request_id: str, asked: Asked, answer: Mapping[str, Any], item: Mapping[str, Any],
    said: explained.Said,
) -> dict[str, Any]:  # fmt: skip
    try:
        receipt = service.append(explained.entries(request_id, asked.prediction_id, answer, item, said))
    except AppendFailed as error:
        log.error("nothing recorded, so nothing is explained: %s", error)
        raise Refused(503, "AUDIT_UNAVAILABLE", "the answer cannot be recorded", retryable=True) from error
    return {name: value for name, value in receipt.to_dict().items() if name != "origin"}


def _remember(service: Service, answer: Mapping[str, Any], reason: Reason, said: explained.Said) -> None:
    key, now = text_key(answer["subject"], reason, answer["version"]), service.now().timestamp()
    try:
        service.keep.put_text(answer["subject"], key, {"text": said.text, **said.written}, now)
    except TableUnreadable as error:
        log.error("a rewritten text was not kept: %s", error)
