"""Privacy impact assessment, six domains (PIPA, Korea).

Reader: the privacy officer. Each quarter and at a new purpose or recipient. Kept 3 years.
Source: compliance.md 5.4. Scores are risks; overall is the worst domain. Weights and caps are in the policy.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from pipeline_lib.comply.evidence import EvidenceBook
from pipeline_lib.comply.items import Item, Number, column, columns, level, scored, share, unknown
from pipeline_lib.comply.report import body
from pipeline_lib.settings.compliance import Levels, ReportPolicy

KIND = "pia"
LADDER = "privacy"


def generate(book: EvidenceBook, policy: ReportPolicy, levels: dict[str, Levels]) -> dict[str, Any]:
    items = (
        _collection(book, policy),
        _processing(book, policy),
        _storage(book, policy),
        _sharing(book, policy),
        unknown("D5", "share of attribution per personal field over the period, against the fields collected"),
        _cross_border(book),
    )
    return body(KIND, policy, book, items, levels[LADDER], _overall(items, levels[LADDER]))


def _overall(items: Sequence[Item], ladder: Levels) -> tuple[Decimal | None, str | None]:
    """The worst domain; not known while one of them is unknown."""
    scores = [item.score for item in items if item.score is not None]
    return (max(scores), level(max(scores), ladder)) if len(scores) == len(items) else (None, None)


def _collection(book: EvidenceBook, policy: ReportPolicy) -> Item:
    """A lawful basis that no access names was not recorded: that is not known to be none."""
    seen = book.ask("access")
    unnamed = seen.one["without_lawful_basis"]
    basis: Number | str = share("share of accesses without lawful basis", seen, "without_lawful_basis", "accesses")
    return scored(
        "D1",
        policy.formulas["D1"],
        {
            "no_lawful_basis": f"the lawful basis of {unnamed} accesses, which do not say it" if unnamed else basis,
            "stale_consent": "consent and its version, where consent is the basis",
            "no_purpose": share("share of accesses without a purpose", seen, "without_purpose", "accesses"),
            "undeclared_source": "the register of declared sources",
            "undeclared_fields": "the register of declared fields",
        },
        [column(seen, "without_lawful_basis", "accesses that name no lawful basis")],
    )


def _processing(book: EvidenceBook, policy: ReportPolicy) -> Item:
    answered, sets, automatic = book.ask("predictions"), book.ask("rowsets"), book.ask("automation")
    ignored = share(
        "share of answers by a model despite opt-out", answered, "model_based_despite_opt_out", "predictions"
    )
    return scored(
        "D2",
        policy.formulas["D2"],
        {
            "purpose_mismatch": "the register of which reasons of access serve which purpose",
            "solely_automated": share("share of answers without a person", automatic, "without_a_person", "delivered"),
            "despite_opt_out": ignored,
            "unpublished_profiling": "the published notice of profiling",
            "incomplete_rows": share("share of answers with an incomplete record", sets, "incomplete", "predictions"),
        },
    )


def _storage(book: EvidenceBook, policy: ReportPolicy) -> Item:
    sets = book.ask("rowsets")
    nightly = "the nightly check of the stores (AUD-18)"
    return scored(
        "D3",
        policy.formulas["D3"],
        {
            "unencrypted_store": f"encryption of every store: {nightly}",
            "transport_finding": f"encryption in transport: {nightly}",
            "past_retention": f"rows past their retention: {nightly}",
            "key_rotation_overdue": "the schedule of key rotations",
            "without_access_row": share(
                "share of answers without access row", sets, "without_access_row", "predictions"
            ),
        },
    )


def _sharing(book: EvidenceBook, policy: ReportPolicy) -> Item:
    seen = book.ask("access")
    return scored(
        "D4",
        policy.formulas["D4"],
        {
            "unregistered_recipient": "the register of recipients",
            "no_agreement": "agreements behind transfers",
            "not_pseudonymous": "whether transfers were pseudonymous",
            "unmatched_egress": "egress of the network, reconciled with the record",
        },
        columns(seen, "accesses", "to_third_parties"),
    )


def _cross_border(book: EvidenceBook) -> Item:
    """No risk of transfer when every access says that it stayed at home; an access that does not say is not known."""
    seen = book.ask("access")
    numbers = [
        *columns(seen, "accesses", "across_borders"),
        column(seen, "without_jurisdiction", "accesses that name no jurisdiction"),
    ]
    if seen.one["across_borders"]:
        return unknown("D6", "adequacy, contract clauses and transfer assessment per destination", numbers)
    if seen.one["without_jurisdiction"] or not seen.one["accesses"]:
        return unknown("D6", "the jurisdiction each access led to", numbers)
    return Item("D6", "OK", tuple(numbers), Decimal(0))
