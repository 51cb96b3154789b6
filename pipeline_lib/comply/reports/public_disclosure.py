"""Quarterly public disclosure, five sections.

Reader: the public. Each quarter. Permanent. Source: compliance.md 5.5. No claim comes from configuration: what is
printed was counted in the record. Groups of few people are not disclosed.
"""

from __future__ import annotations

from typing import Any

from pipeline_lib.comply.evidence import EvidenceBook
from pipeline_lib.comply.items import Item, Number, column, columns, real, share, stated, unknown
from pipeline_lib.comply.report import body
from pipeline_lib.settings.compliance import Levels, ReportPolicy

KIND = "public_disclosure"


def generate(book: EvidenceBook, policy: ReportPolicy, levels: dict[str, Levels]) -> dict[str, Any]:
    items = (
        _transparency(book),
        _performance(book),
        _fairness(book),
        _incidents(book),
        _impact(book, policy.limits["min_persons"]),
    )
    return body(KIND, policy, book, items)


def _transparency(book: EvidenceBook) -> Item:
    champion, answered = book.ask("champion"), book.ask("predictions")
    layers = columns(answered, "predictions", "by_distilled_student", "by_direct_student", "by_rules", "by_people")
    if not champion.values:
        return unknown("S1", "a version in service", layers)
    return stated("S1", columns(champion, "version", "serves_since") + layers)


def _performance(book: EvidenceBook) -> Item:
    compared = book.ask("comparison")
    numbers = [real(row["metric"], compared, row["challenger"]) for row in compared.values]
    return stated("S2", numbers, "metrics in the verdict about the version in service (a first version has none)")


def _fairness(book: EvidenceBook) -> Item:
    """How many comparisons ended how; no group is named."""
    found = book.ask("fairness")
    states = sorted({row["state"] for row in found.values})
    counts = [
        Number(f"comparisons {state}", sum(row["state"] == state for row in found.values), found.pointer.query_id)
        for state in states
    ]
    return stated("S3", counts, "fairness_window rows of the period")


def _incidents(book: EvidenceBook) -> Item:
    acts, nights, windows = book.ask("oversight"), book.ask("verifications"), book.ask("windows")
    numbers = [
        *columns(acts, "kill_switch_fired", "incidents"),
        *columns(windows, "red_checklists"),
        share("share of answers with a blocked text", book.ask("guardrail"), "texts_blocked", "answers_checked"),
        *columns(nights),
    ]
    if not nights.one["verifications"]:
        return unknown("S4", "a verification of the record: without one no count of incidents is vouched for", numbers)
    return stated("S4", numbers)


def _impact(book: EvidenceBook, min_persons: int) -> Item:
    answered, acts = book.ask("predictions"), book.ask("oversight")
    if answered.one["subjects"] < min_persons:
        return unknown("S5", f"answers to at least {min_persons} people: fewer are not disclosed")
    names = ("optouts_set", "explanation_requests", "complaints", "reviews_decided")
    return stated("S5", [column(answered, "subjects", "people answered"), *columns(acts, *names)])
