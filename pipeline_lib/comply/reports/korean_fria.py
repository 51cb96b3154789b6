"""AI impact assessment, seven dimensions (Korea).

Reader: the ministry and the financial supervisor. At each promotion and each quarter. Kept 5 years.
Source: compliance.md 5.1. Scores are risks; a dimension whose inputs were not all recorded is unknown.
"""

from __future__ import annotations

from typing import Any

from pipeline_lib.comply.evidence import EvidenceBook, ratio
from pipeline_lib.comply.report import Item, Number, body, sat, stated, unknown, weighted
from pipeline_lib.settings.compliance import Levels, ReportPolicy

KIND = "korean_fria"
LADDER = "impact"


def generate(book: EvidenceBook, policy: ReportPolicy, levels: dict[str, Levels]) -> dict[str, Any]:
    caps = policy.caps
    items = (
        _life_and_safety(book, caps),
        _fundamental_rights(book, caps),
        _discrimination(book),
        _transparency(book, caps),
        _oversight(book, caps),
        _personal_information(book, caps),
        _accountability(book, caps),
    )
    return body(KIND, policy, book.as_of, items, levels[LADDER])


def _life_and_safety(book: EvidenceBook, caps: dict[str, float]) -> Item:
    """Financial harm: offers the suitability rules had to stop. The published formula also needs complaints."""
    seen = book.ask("guardrail")
    blocked = ratio(seen.one["suitability_blocks"], seen.one["verdicts"])
    number = Number(
        "share of answers blocked as unsuitable",
        blocked,
        seen.pointer,
        seen.one["suitability_blocks"],
        seen.one["verdicts"],
    )
    return unknown(
        "K1", "product risk per protected customer and complaints of financial harm (0.3 + 0.3 of the score)", [number]
    )


def _fundamental_rights(book: EvidenceBook, caps: dict[str, float]) -> Item:
    seen = book.ask("predictions")
    share = ratio(seen.one["model_based_despite_opt_out"], seen.one["model_based"])
    number = Number(
        "share of model answers despite opt-out",
        share,
        seen.pointer,
        seen.one["model_based_despite_opt_out"],
        seen.one["model_based"],
    )
    return unknown("K2", "delivered items per group and clocks of rights requests (0.5 + 0.3 of the score)", [number])


def _discrimination(book: EvidenceBook) -> Item:
    readings = book.ask("fairness")
    judged = [row for row in readings.values if row["state"] in {"OK", "MARGIN", "BREACH_POINT", "BREACH_CONFIRMED"}]
    if not readings.values or 2 * len(judged) < len(readings.values):
        found = Number("comparisons with enough data", len(judged), readings.pointer, len(judged), len(readings.values))
        return unknown("K3", "fairness comparisons with enough data in more than half of the cells", [found])
    breaches = sum(row["state"].startswith("BREACH") for row in judged)
    return stated("K3", [Number("comparisons outside limits", breaches, readings.pointer, breaches, len(judged))])


def _transparency(book: EvidenceBook, caps: dict[str, float]) -> Item:
    explained, seen = book.ask("explanations"), book.ask("guardrail")
    unexplained = ratio(explained.one["model_based"] - explained.one["explained"], explained.one["model_based"])
    silent = ratio(seen.one["delivered_without_notice"], seen.one["delivered"])
    numbers = [
        Number("share of model answers without an explanation", unexplained, explained.pointer,
               explained.one["model_based"] - explained.one["explained"], explained.one["model_based"]),
        Number("share delivered without the AI notice", silent, seen.pointer,
               seen.one["delivered_without_notice"], seen.one["delivered"]),
    ]  # fmt: skip
    return unknown(
        "K4", "readability of texts and days to answer explanation requests (0.2 + 0.2 of the score)", numbers
    )


def _oversight(book: EvidenceBook, caps: dict[str, float]) -> Item:
    """Promotions no human agreed to; bootstraps are the stated exception and printed beside."""
    seen = book.ask("verdicts")
    auto = ratio(seen.one["promoted_without_a_human"], seen.one["verdicts"])
    numbers = [
        Number("share of verdicts that promoted without a human", auto, seen.pointer,
               seen.one["promoted_without_a_human"], seen.one["verdicts"]),
        Number("bootstraps", seen.one["bootstrap"], seen.pointer),
        Number("forced by on-call", seen.one["forced"], seen.pointer),
    ]  # fmt: skip
    return stated("K5", numbers, None if auto is None else sat(auto, caps["auto_promotion"]))


def _personal_information(book: EvidenceBook, caps: dict[str, float]) -> Item:
    seen = book.ask("access")
    undeclared = ratio(seen.one["without_purpose"], seen.one["accesses"])
    number = Number(
        "share of accesses without a declared purpose", undeclared, seen.pointer,
        seen.one["without_purpose"], seen.one["accesses"],
    )  # fmt: skip
    return unknown("K6", "late opt-outs and the nightly access check (0.3 + 0.2 of the score)", [number])


def _accountability(book: EvidenceBook, caps: dict[str, float]) -> Item:
    """Can every answer be led back to a verdict, and was the record whole? The intent clock (0.2) is not read yet."""
    versions, nights = book.ask("unresolved_versions"), book.ask("verifications")
    lost = ratio(versions.one["unresolved"], versions.one["model_based"])
    broken = ratio(nights.one["not_intact"], nights.one["verifications"])
    numbers = [
        Number("share of answers by a version no verdict promoted", lost, versions.pointer,
               versions.one["unresolved"], versions.one["model_based"]),
        Number("share of verifications that were not intact", broken, nights.pointer,
               nights.one["not_intact"], nights.one["verifications"]),
    ]  # fmt: skip
    if lost is None or broken is None:
        return stated("K7", numbers)
    parts = [(0.5, sat(lost, caps["unresolved_version"])), (0.5, sat(broken, caps["not_intact"]))]
    return stated("K7", numbers, weighted(parts))
