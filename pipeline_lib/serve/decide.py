"""What is answered, given what is known: pure functions of package, request and tables; no reads, no clock but the
deadline that the caller hands in.

Routing and prediction; candidates, score and choice; reasons; guardrail; review tier. A failing model is never an
error. Source: serving.md 4, 5, 7, 9 and 10.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any

from pipeline_lib.serve import guardrail, ood, record, reviewing, scopes, slate, tiers
from pipeline_lib.serve.keep import text_key
from pipeline_lib.serve.layers import DEADLINE, FAILED, Overrides, TaskAnswer, never
from pipeline_lib.serve.policy import Policy
from pipeline_lib.serve.reasons import Attribution, Reason, attribute
from pipeline_lib.serve.request import Request
from pipeline_lib.serve.score import task_values
from pipeline_lib.serve.suitability import Item
from pipeline_lib.serve.tables import Assessment, Contact, Customer, OptOut, Switch


@dataclass(frozen=True)
class Known:
    """What was read for this request, in reading order."""

    opt_out: OptOut
    opt_out_state: str
    """in, out, or unreadable (which counts as out)."""
    switches: tuple[Switch, ...]
    contact: Contact | None
    assessment: Assessment
    customer: Customer | None
    trouble: tuple[str, ...]
    """Tables that could not be read."""
    texts: Mapping[str, Any] = field(default_factory=dict)
    """Rewritten texts about the customer by their exact key, with what wrote them; none unless there is a provider."""
    fairness: tuple[tiers.FairnessFlag, ...] | None = ()
    """None = the monitors' flags could not be read."""
    about: tuple[str, ...] = ()
    """Tables about the customer that were read."""

    @property
    def opted_out(self) -> bool:
        return self.opt_out_state != "in"


@dataclass(frozen=True)
class Decided:
    """The decision on one request, before it is recorded."""

    outcome: record.Outcome
    reasons: tuple[Reason, ...]
    methods: tuple[str, ...]
    """How the attribution behind each reason was made."""
    flags: Mapping[str, Any]
    stale_tolerance: bool


def decide(
    policy: Policy, request: Request, subject: str, known: Known, today: date, hour: int, prediction_id: str,
    late: Callable[[], bool] = never, force: str | None = None,
) -> Decided:  # fmt: skip
    """Layers, score, reasons, guardrail and tier of one request.

    Args:
        today: date in Seoul that ages are counted from. hour: hour of the day in Seoul.
        prediction_id: random; what rank 1 is drawn with, where the package explores.
        late: whether the deadline has passed. force: a reason to answer every task by rules.
    """
    override = Overrides(force, raw_only=known.opted_out) if force else overrides(policy, known, today, late)
    u = slate.uniform(prediction_id)
    first = _decide(policy, request, subject, known, today, override, u)
    status = whole_answer(policy, request, known, hour)
    if status:
        return _withheld(first, status)
    review = first.outcome.review
    if review.withholds:
        two = "two_ood_flags" in review.conditions and override.all_tasks is None
        again = replace(override, all_tasks="OOD_TWO_FLAGS") if two else override
        shown = _decide(policy, request, subject, known, today, again, u) if two else first
        blocked = replace(shown, outcome=replace(shown.outcome, review=review))
        return _withheld(blocked, "human_fallback" if policy.layer4 else "withheld_for_review")
    if policy.layer4 and reviewing.unsure(policy, first.outcome):
        return _withheld(first, "human_fallback")
    if review.tier == 2 and request.outbound:  # no teller looks at it first
        return _withheld(first, "withheld_for_review")
    if review.tier == 2 and request.channel != "branch" and override.all_tasks is None:
        rules = _decide(policy, request, subject, known, today, Overrides("WITHHELD_FOR_REVIEW"), u)
        if rules.outcome.review.withholds:
            return _withheld(rules, "withheld_for_review")
        return replace(rules, outcome=replace(rules.outcome, status="withheld_for_review", review=review))
    return first


def overrides(policy: Policy, known: Known, today: date, late: Callable[[], bool] = never) -> Overrides:
    """What outranks the manifest, first match wins. Source: serving.md 4."""
    tasks = {switch.target: f"SWITCH:{switch.switch_id}" for switch in known.switches if switch.scope == "task"}
    wide = scopes.wide(known.switches, known.customer)
    if known.opted_out:
        reason = "OPTED_OUT" if known.opt_out_state == "out" else "OPTOUT_UNREADABLE"
        return Overrides(reason, raw_only=True)
    if policy.models.rule_book.broken:
        return Overrides("RULES_BROKEN")
    cut = late()  # then what was not read is not unreadable but late
    if wide and not (cut and "kill_switch" in known.trouble):
        return Overrides(f"SWITCH:{wide.switch_id}")
    if cut:
        return Overrides(DEADLINE)
    if policy.ood(known.customer, today) == ood.OVERRIDE:
        return Overrides("OOD")
    if known.customer is None:
        return Overrides("FEATURES_UNREADABLE" if "feature_row" in known.trouble else "COLD_START")
    if known.customer.row.schema_hash != policy.models.bundle.manifest["feature_schema_hash"]:
        return Overrides("SCHEMA_MISMATCH")
    if trouble := policy.row_trouble(known.customer, today):
        return Overrides(trouble)
    return Overrides(None, tasks, late)


def whole_answer(policy: Policy, request: Request, known: Known, hour: int) -> str | None:
    """A status that leaves no items: contact not allowed, or nothing personal wanted or possible."""
    if request.outbound and not _may_contact(policy, known.contact, hour):
        return "no_contact"
    if policy.models.rule_book.broken:
        return "static_content"
    if known.opted_out:
        choice = known.opt_out.fallback or policy.serving["optout"]["default_fallback"]
        if choice == "human_review":
            return "human_fallback"
        if choice == "disable":
            return "static_content"
    if scopes.wide([switch for switch in known.switches if switch.fallback == "disable"], known.customer):
        return "static_content"
    return None


def _may_contact(policy: Policy, contact: Contact | None, hour: int) -> bool:
    filters = policy.serving["filters"]
    start, end = int(filters["quiet_from"]), int(filters["quiet_to"])
    quiet = hour >= start or hour < end if start > end else start <= hour < end
    if contact is None or quiet:
        return False
    return contact.consent and not contact.do_not_contact and contact.messages_7d < int(filters["max_messages_7d"])


def _decide(
    policy: Policy, request: Request, subject: str, known: Known, today: date, override: Overrides, u: float
) -> Decided:
    customer, features = known.customer, policy.features(known.customer)
    profile = policy.profile(known.assessment, customer, today)
    given = policy.given(customer, profile, today)
    answers = policy.models.answer(customer.row if customer else None, override, given)
    candidates, dropped = policy.candidates(profile, customer, today)
    chosen = _slate(policy, request, known, features, answers, candidates, today, override, u)
    for why in chosen.dropped.values():
        dropped[why] = dropped.get(why, 0) + 1
    asked = [_asked(answers, scored) for scored in chosen.chosen]
    explained = {(task, output): attribute(answers[task], output) for task, output in set(asked)}
    attributions = [explained[one] for one in asked]
    far_out = policy.ood(customer, today)
    reasons = [  # nothing is said about the behaviour of somebody whom the models hardly know
        policy.reasons.reason(item, None if ood.is_flag(far_out) else found, subject, request.locale, features)
        for (item, _), found in zip(chosen.chosen, attributions, strict=True)
    ]
    reasons, by = _reworded(policy, known, subject, chosen.chosen, reasons)
    findings = _findings(policy, chosen.chosen, reasons)
    verdict = guardrail.verdict(findings)
    review = reviewing.review_of(policy, customer, known.fairness, chosen, profile, today, verdict == "pass")
    outcome = record.Outcome(
        status=_status(known, chosen.chosen), answers=answers, items=chosen.chosen, eligible=chosen.eligible,
        considered=len(policy.items), dropped=dropped, attribution=_main_attribution(attributions, answers),
        findings=findings, texts=tuple(reason.text for reason in reasons),
        sources=tuple(reason.source for reason in reasons), provider_model=by, verdict=verdict,
        review=review, tolerance=policy.suitability.tolerance(profile, today), opt_out=known.opt_out_state,
        switches=tuple(switch.switch_id for switch in known.switches),
        ood=ood.row(customer.ood if customer else None, far_out),
        propensities=chosen.propensities, below_limits=chosen.below_limits, draw=chosen.draw,
        messages_7d=known.contact.messages_7d if known.contact else None,
    )  # fmt: skip
    stale = policy.suitability.stale(profile, today)
    methods = tuple(one.method for one in attributions)
    return Decided(outcome, tuple(reasons), methods, _flags(policy, known, override, answers, today), stale)


def _slate(
    policy: Policy, request: Request, known: Known, features: Mapping[str, float], answers: Mapping[str, TaskAnswer],
    candidates: Sequence[Item], today: date, override: Overrides, u: float,
) -> slate.Slate:  # fmt: skip
    scored, broken, churn = scores(policy, request.channel, known.contact, features, answers, candidates, today)
    k = min(request.k or int(policy.serving["k"]), int(policy.serving["k"]))
    modelled = override.all_tasks is None and policy.models.predictor is not None
    explored = slate.Exploration.of(policy.serving) if modelled else None
    chosen = slate.choose(scored, churn, k, policy.serving["filters"], explored, u)
    return replace(chosen, dropped={**chosen.dropped, **broken})


def scores(
    policy: Policy, channel: str, contact: Contact | None, features: Mapping[str, float],
    answers: Mapping[str, TaskAnswer], candidates: Sequence[Item], today: date,
) -> tuple[list[slate.Scored], dict[str, str], float | None]:  # fmt: skip
    """Scored candidates, those without a score, and the churn probability if there is one."""
    values = {name: found.values for name, found in answers.items()}
    churn = next(iter(values.get("churn_signal", ())), None)
    situation = policy.situation(channel, contact, features, answers)
    multipliers = policy.scorer.multipliers(situation.segment, features, today)
    scored, broken = [], {}
    for item in candidates:
        found = policy.scorer.score(item, task_values(item, values, policy.normalisers), churn, situation, multipliers)
        if found is None:
            broken[item.item_id] = "unscorable"
        else:
            scored.append((item, found))
    return scored, broken, churn


def _asked(answers: Mapping[str, TaskAnswer], scored: slate.Scored) -> tuple[str, int]:
    """Deciding task of an item and which of its outputs speaks of the item: what its reason is read from."""
    item, score = scored
    return score.deciding_task, item.nba_class if answers[score.deciding_task].kind == "multiclass" else 0


def _main_attribution(found: Sequence[Attribution], answers: Mapping[str, TaskAnswer]) -> Attribution | None:
    """The best item's; without items the first task that a model answered, so that the row says something."""
    if found:
        return found[0]
    modelled = next((one for one in answers.values() if one.prediction), None) or next(iter(answers.values()), None)
    return attribute(modelled) if modelled else None


def _reworded(
    policy: Policy, known: Known, subject: str, chosen: Sequence[slate.Scored], reasons: list[Reason]
) -> tuple[list[Reason], str | None]:
    """Rewritten texts where there is one for exactly this and it passes the rules today; and what wrote them."""
    by = None
    for i, (item, _) in enumerate(chosen if known.texts else ()):
        found = known.texts.get(text_key(subject, reasons[i], policy.models.bundle.version))
        if found and guardrail.verdict(policy.gate.check(found["text"], policy.evidence(item, reasons[i]))) == "pass":
            reasons[i], by = replace(reasons[i], text=found["text"], source="L2a"), found["provider_model"]
    return reasons, by


def _findings(
    policy: Policy, chosen: Sequence[slate.Scored], reasons: Sequence[Reason]
) -> tuple[guardrail.Finding, ...]:
    """Worst finding per criterion over all texts."""
    return guardrail.worst(
        [
            policy.gate.check(reason.text, policy.evidence(item, reason))
            for (item, _), reason in zip(chosen, reasons, strict=True)
        ]
    )


def _status(known: Known, items: Sequence[slate.Scored]) -> str:
    if not items:
        return "no_suitable_candidate"
    return "opted_out_rules" if known.opted_out else "ok"


def _withheld(decided: Decided, status: str) -> Decided:
    """The same decision without anything to show: what was computed is still recorded."""
    outcome = replace(decided.outcome, status=status, items=(), texts=(), sources=())
    return replace(decided, outcome=outcome, reasons=(), methods=())


def _flags(
    policy: Policy, known: Known, override: Overrides, answers: Mapping[str, TaskAnswer], today: date
) -> dict[str, Any]:
    failed = any(answer.layer_reason in FAILED for answer in answers.values())
    age_h = (today - known.customer.refreshed).days * 24 if known.customer else None
    return {
        "degraded": bool(known.trouble) or policy.models.predictor is None or failed,
        "cold_start": known.customer is None,
        "stale_features": age_h is not None and age_h > int(policy.serving["feature"]["max_age_h"]),
        "ood": policy.ood(known.customer, today),
        "switch": [switch.switch_id for switch in known.switches],
        "override": override.all_tasks,
    }
