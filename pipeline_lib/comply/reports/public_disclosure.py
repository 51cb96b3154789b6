"""Quarterly public disclosure, five sections.

Reader: the public. Each quarter. Permanent. Source: compliance.md 5.5. No claim comes from configuration: what is
printed was counted in the record. Counts of people below 20 are not printed.
"""

from __future__ import annotations

from typing import Any

from pipeline_lib.comply.evidence import EvidenceBook
from pipeline_lib.comply.report import Item, Number, body, numbers_of, stated, unknown
from pipeline_lib.settings.compliance import Levels, ReportPolicy

KIND = "public_disclosure"
MIN_PERSONS = 20


def generate(book: EvidenceBook, policy: ReportPolicy, levels: dict[str, Levels]) -> dict[str, Any]:
    items = (_transparency(book), _performance(book), _fairness(book), _incidents(book), _impact(book))
    return body(KIND, policy, book.as_of, items)


def _transparency(book: EvidenceBook) -> Item:
    champion, answered = book.ask("champion"), book.ask("predictions")
    if not champion.values:
        return unknown("S1", "a version in service")
    numbers = [Number(name, champion.one[name], champion.pointer) for name in ("version", "decided_at")]
    layers = ("predictions", "by_distilled_student", "by_direct_student", "by_rules")
    return stated("S1", numbers + [Number(name, answered.one[name], answered.pointer) for name in layers])


def _performance(book: EvidenceBook) -> Item:
    compared = book.ask("comparison")
    numbers = [Number(row["metric"], row["challenger"], compared.pointer) for row in compared.values]
    return stated("S2", numbers) if numbers else unknown("S2", "metrics in the champion's promotion row")


def _fairness(book: EvidenceBook) -> Item:
    readings = book.ask("fairness")
    if not readings.values:
        return unknown("S3", "fairness_window rows of the period")
    states = sorted({row["state"] for row in readings.values})
    counts = [Number(f"comparisons {state}", sum(row["state"] == state for row in readings.values), readings.pointer)
              for state in states]  # fmt: skip
    return stated("S3", counts)


def _incidents(book: EvidenceBook) -> Item:
    acts, nights = book.ask("oversight"), book.ask("verifications")
    names = ("kill_switch_fired", "fairness_breaches", "incidents")
    numbers = [Number(name, acts.one[name], acts.pointer) for name in names]
    if nights.one["verifications"] == 0:
        return unknown(
            "S4", "verify_result rows of the period: without them no incident count can be vouched for", numbers
        )
    return stated("S4", [*numbers, *numbers_of(nights)])


def _impact(book: EvidenceBook) -> Item:
    answered, acts = book.ask("predictions"), book.ask("oversight")
    people = answered.one["subjects"]
    if people < MIN_PERSONS:
        return unknown("S5", f"answers to at least {MIN_PERSONS} people: fewer are not disclosed")
    names = ("optouts_set", "explanation_requests", "complaints", "reviews_decided")
    return stated("S5", [Number("people answered", people, answered.pointer),
                         *(Number(name, acts.one[name], acts.pointer) for name in names)])  # fmt: skip
