"""Privacy impact assessment, six domains (PIPA, Korea).

Reader: the privacy officer. Each quarter and at a new purpose or recipient. Kept 3 years.
Source: compliance.md 5.4. Levels are LOW to CRITICAL; overall is the worst known domain.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from pipeline_lib.comply.evidence import EvidenceBook, ratio
from pipeline_lib.comply.report import Item, Number, body, sat, stated, unknown, weighted
from pipeline_lib.settings.compliance import Levels, ReportPolicy

KIND = "pia"
LADDER = "privacy"
NO_TRANSFER = Decimal(0)
"""Nothing was transferred: no risk of transfer."""


def generate(book: EvidenceBook, policy: ReportPolicy, levels: dict[str, Levels]) -> dict[str, Any]:
    items = (
        _collection(book, policy.caps),
        _processing(book, policy.caps),
        unknown("D3", "encryption, retention and key-rotation facts of the stores (nightly check AUD-18)"),
        _sharing(book),
        unknown("D5", "share of attribution per personal field over the period, against the fields collected"),
        _cross_border(book),
    )
    return body(KIND, policy, book.as_of, items, levels[LADDER])


def _collection(book: EvidenceBook, caps: dict[str, float]) -> Item:
    """Of the published formula the record carries lawful basis and purpose; their weights are rescaled to one."""
    seen = book.ask("access")
    basis = ratio(seen.one["without_lawful_basis"], seen.one["accesses"])
    purpose = ratio(seen.one["without_purpose"], seen.one["accesses"])
    numbers = [
        Number("share of accesses without a lawful basis", basis, seen.pointer,
               seen.one["without_lawful_basis"], seen.one["accesses"]),
        Number("share of accesses without a purpose", purpose, seen.pointer,
               seen.one["without_purpose"], seen.one["accesses"]),
    ]  # fmt: skip
    if basis is None or purpose is None:
        return stated("D1", numbers)
    return stated(
        "D1", numbers, weighted([(0.7, sat(basis, caps["no_basis"])), (0.3, sat(purpose, caps["no_purpose"]))])
    )


def _processing(book: EvidenceBook, caps: dict[str, float]) -> Item:
    answered, sets = book.ask("predictions"), book.ask("rowsets")
    ignored = ratio(answered.one["model_based_despite_opt_out"], answered.one["predictions"])
    holes = ratio(sets.one["predictions"] - sets.one["complete"], sets.one["predictions"])
    numbers = [
        Number("share of answers by a model despite opt-out", ignored, answered.pointer,
               answered.one["model_based_despite_opt_out"], answered.one["predictions"]),
        Number("share of answers with an incomplete record", holes, sets.pointer,
               sets.one["predictions"] - sets.one["complete"], sets.one["predictions"]),
    ]  # fmt: skip
    if ignored is None or holes is None:
        return stated("D2", numbers)
    parts = [(0.5, sat(ignored, caps["opted_out"])), (0.5, sat(holes, caps["incomplete_rows"]))]
    return stated("D2", numbers, weighted(parts))


def _sharing(book: EvidenceBook) -> Item:
    seen = book.ask("access")
    number = Number("accesses with a third-party recipient", seen.one["to_third_parties"], seen.pointer)
    if not seen.one["accesses"]:
        return unknown("D4", "log_data_access rows of the period")
    if seen.one["to_third_parties"] == 0:
        return stated("D4", [number], NO_TRANSFER)
    return unknown("D4", "agreement ids and pseudonymisation of the transfers", [number])


def _cross_border(book: EvidenceBook) -> Item:
    seen = book.ask("access")
    number = Number("accesses across a border", seen.one["across_borders"], seen.pointer)
    if not seen.one["accesses"]:
        return unknown("D6", "log_data_access rows of the period")
    if seen.one["across_borders"] == 0:
        return stated("D6", [number], NO_TRANSFER)
    return unknown("D6", "adequacy, contract clauses and transfer assessment per destination", [number])
