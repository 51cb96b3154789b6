"""Which conditions of a review hold for one answer, and whether a person should be asked instead of the rules.

Source: serving.md 4 (Layer 4) and 10.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from pipeline_lib.serve import ood, slate, tiers
from pipeline_lib.serve.policy import Policy
from pipeline_lib.serve.record import Outcome
from pipeline_lib.serve.suitability import Profile
from pipeline_lib.serve.tables import Customer


def review_of(
    policy: Policy, customer: Customer | None, fairness: Sequence[tiers.FairnessFlag] | None, chosen: slate.Slate,
    profile: Profile, today: date, all_passed: bool,
) -> tiers.Review:  # fmt: skip
    """The tier of an answer and why.

    Args:
        fairness: the monitors' flags; None = unreadable. all_passed: whether the guardrail let every text through.
    """
    rule, lead, items = policy.serving["review"], slate.margin(chosen), chosen.chosen
    grades = [item.risk_grade or 5 for item, _ in items]
    careful = policy.suitability.senior(profile) or policy.suitability.low_income(profile)
    unsure = policy.teacher_unsure(customer, items, today)
    far_out = ood.is_flag(policy.ood(customer, today))
    deciding = [score.deciding_task for _, score in items]
    return tiers.review(
        {
            "guardrail_block": not all_passed,
            "two_ood_flags": far_out and unsure,
            "one_ood_flag": far_out,
            "gate_entropy": unsure,
            "close_scores": lead is not None and lead < float(rule["min_margin"]),
            "careful_customer": careful and max(grades, default=0) >= int(rule["careful_grade"]),
            "tolerance_stale": policy.suitability.stale(profile, today),
            **tiers.fairness(fairness, customer.protected if customer else {}, deciding),
        }
    )


def unsure(policy: Policy, outcome: Outcome) -> bool:
    """Whether rules alone, and unsure ones, decided every item: only then a person is asked instead (Layer 4)."""
    rules = [outcome.answers[score.deciding_task].rule for _, score in outcome.items]
    limit = float(policy.serving["layer4"]["conf"])
    return bool(rules) and all(rule is not None and rule.confidence < limit for rule in rules)
