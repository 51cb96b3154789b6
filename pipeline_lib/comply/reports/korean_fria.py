"""AI impact assessment, seven dimensions (Korea).

Reader: the ministry and the financial supervisor. At each promotion and each quarter. Kept 5 years.
Source: compliance.md 5.1. Weights and caps of the formulas are in the policy; the seven dimensions are ours, the
articles prescribe a content list.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from pipeline_lib.comply.evidence import EvidenceBook
from pipeline_lib.comply.items import Item, Number, column, columns, level, scored, share, unknown
from pipeline_lib.comply.report import body
from pipeline_lib.settings.compliance import Levels, ReportPolicy

KIND = "korean_fria"
LADDER = "impact"
JUDGED = ("OK", "MARGIN", "BREACH_POINT")
"""Alarm states of a comparison that had enough answers."""


def generate(book: EvidenceBook, policy: ReportPolicy, levels: dict[str, Levels]) -> dict[str, Any]:
    items = (
        _life_and_safety(book, policy),
        _fundamental_rights(book, policy),
        _discrimination(book),
        _transparency(book, policy),
        _oversight(book, policy),
        _personal_information(book, policy),
        _accountability(book, policy),
    )
    return body(KIND, policy, book, items, levels[LADDER], _overall(items, levels[LADDER]))


def _overall(items: Sequence[Item], ladder: Levels) -> tuple[Decimal | None, str]:
    """Equal-weight mean; its level at most one step below the worst dimension, and not the best with one unknown."""
    scores = [item.score for item in items if item.score is not None]
    complete = len(scores) == len(items)
    mean = sum(scores, Decimal(0)) / len(items) if complete else None
    worst = max((ladder.names.index(level(score, ladder)) for score in scores), default=0)
    lowest = ladder.names.index(level(mean, ladder)) if mean is not None else 1
    return mean, ladder.names[max(lowest, worst - 1)]


def _life_and_safety(book: EvidenceBook, policy: ReportPolicy) -> Item:
    """Financial harm."""
    seen = book.ask("delivered")
    return scored(
        "K1",
        policy.formulas["K1"],
        {
            "blocked_as_unsuitable": share("share delivered though unsuitable", seen, "unsuitable", "delivered"),
            "high_risk_to_protected": "risk grade of what was offered to people of 65 and older or of low income",
            "harm_complaints": "complaints of financial harm: no channel for complaints writes to the record",
        },
    )


def _fundamental_rights(book: EvidenceBook, policy: ReportPolicy) -> Item:
    """Access and remedy."""
    seen = book.ask("predictions")
    label = "share of model answers despite opt-out"
    return scored(
        "K2",
        policy.formulas["K2"],
        {
            "unequal_access": "share of each group's eligible people who received a personalised item",
            "overdue_rights": "requests about profiling and explanations with their due times",
            "despite_opt_out": share(label, seen, "model_based_despite_opt_out", "model_based"),
        },
    )


def _discrimination(book: EvidenceBook) -> Item:
    """Not a weighted sum: the worst of impact, parity and opportunity; the last needs outcomes of delivered answers."""
    found = book.ask("fairness")
    judged = [row for row in found.values if row["state"] in JUDGED]
    breaches = [row for row in judged if row["state"] == "BREACH_POINT"]
    query = found.pointer.query_id
    numbers = [
        Number("comparisons", len(found.values), query),
        Number("comparisons with enough answers", len(judged), query),
        Number("comparisons outside limits", len(breaches), query),
        *(Number(f"{row['metric']} of {row['attribute']} {row['compared']} against {row['reference']}",
                 Decimal(row["value"]), query) for row in breaches),
    ]  # fmt: skip
    if not found.values:
        return unknown("K3", "a fairness_window row of the period", numbers)
    return unknown("K3", "equal opportunity: what became of delivered answers is not in the record", numbers)


def _transparency(book: EvidenceBook, policy: ReportPolicy) -> Item:
    seen = book.ask("delivered")
    return scored(
        "K4",
        policy.formulas["K4"],
        {
            "unexplained": share("share delivered without explanation", seen, "unexplained", "delivered"),
            "without_notice": share("share delivered without the AI notice", seen, "without_notice", "delivered"),
            "hard_to_read": "reading level of the texts (column readability of log_attribution)",
            "days_to_explain": "requests for an explanation with the time of their answer",
        },
    )


def _oversight(book: EvidenceBook, policy: ReportPolicy) -> Item:
    """Bootstraps and forced promotions are printed beside: no human can have compared a first version."""
    seen, drill, acts = book.ask("verdicts"), book.ask("drill"), book.ask("oversight")
    auto = share("share of promotions without a human", seen, "promoted_without_a_human", "promoted")
    return scored(
        "K5",
        policy.formulas["K5"],
        {
            "days_since_drill": column(drill, "days_since", "days since the last drill"),
            "overdue_reviews": "reviews of withheld answers with their due times",
            "minutes_to_act": "times from a breach of fairness to the first act of a human",
            "unattended_promotions": auto,
        },
        columns(seen, "bootstrap", "forced", "sent_to_a_human") + columns(acts, "approvals_expired"),
    )


def _personal_information(book: EvidenceBook, policy: ReportPolicy) -> Item:
    seen = book.ask("access")
    silent = [
        column(seen, "accesses"),
        column(seen, "without_purpose", "accesses that name no purpose"),
        column(seen, "without_permission", "accesses that name no permission"),
    ]
    return scored(
        "K6",
        policy.formulas["K6"],
        {
            "late_opt_outs": "opt-outs with the time from which they were honoured",
            "undeclared_access": "declared and used permission of each access",
            "overdue_credit_explanations": "whether any task evaluates credit, and requests to explain it",
            "storage_finding": "the nightly check of encryption and retention (AUD-18)",
        },
        silent,
    )


def _accountability(book: EvidenceBook, policy: ReportPolicy) -> Item:
    """Can every answer be led back to a verdict, was the record whole, did announced acts come to an end?

    A configuration counts as traced when a recorded verdict was made under it.
    """
    traced, nights, intents = book.ask("traced"), book.ask("verifications"), book.ask("intents")
    lost = share("share of model answers not traced to verdict, data and settings", traced, "untraced", "model_based")
    return scored(
        "K7",
        policy.formulas["K7"],
        {
            "untraced_answers": lost,
            "days_not_intact": share("share of verified days not intact", nights, "days_not_intact", "days_verified"),
            "open_intents": column(intents, "open_intents", "acts without outcome for over 24 hours"),
        },
        columns(nights, "verifications"),
    )
