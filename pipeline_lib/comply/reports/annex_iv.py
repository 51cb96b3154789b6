"""Technical file, twelve sections over the nine points of Annex IV (EU AI Act).

Reader: the national competent authority. At each promotion and each quarter. Kept 10 years (Art. 18).
Source: compliance.md 5.3. A document that people write is unknown until its hash is in the record.
"""

from __future__ import annotations

from typing import Any

from pipeline_lib.comply.evidence import EvidenceBook
from pipeline_lib.comply.items import Item, Number, columns, real, stated, unknown
from pipeline_lib.comply.report import body
from pipeline_lib.settings.compliance import Levels, ReportPolicy

KIND = "annex_iv"
NO_CHAMPION = "a finished release of a version and the verdict behind it"

WRITTEN = {
    "A2": "recorded hashes of the architecture document, component list and compute record",
    "A3": "recorded hashes of the limits-and-capabilities document and of accuracy per group",
    "A4": "a filed Article 9 record within 120 days",
    "A6": "a recorded list of standards, or of alternative solutions",
    "A7": "a recorded declaration, or the classification that makes it not applicable",
    "A10": "recorded access tests, dependency scan and key rotations",
}


def generate(book: EvidenceBook, policy: ReportPolicy, levels: dict[str, Levels]) -> dict[str, Any]:
    answered = {
        "A1": _general(book),
        "A5": stated("A5", columns(book.ask("changes")) + columns(book.ask("verdicts"))),
        "A8": _post_market(book),
        "A9": _data(book),
        "A11": _human_oversight(book),
        "A12": _validation(book),
    }
    items = [answered.get(item_id) or unknown(item_id, WRITTEN[item_id]) for item_id in policy.sections]
    return body(KIND, policy, book, items)


def _general(book: EvidenceBook) -> Item:
    champion = book.ask("champion")
    return stated("A1", columns(champion) if champion.values else [], NO_CHAMPION)


def _post_market(book: EvidenceBook) -> Item:
    """Monitoring of the quarter; the plan it follows is a document."""
    windows = book.ask("windows")
    return unknown("A8", "the recorded hash of the post-market monitoring plan and its schedule", columns(windows))


def _data(book: EvidenceBook) -> Item:
    training = book.ask("training")
    numbers = columns(training) if training.values else []
    return unknown("A9", "demographic distribution of the training data and the leakage report's hash", numbers)


def _human_oversight(book: EvidenceBook) -> Item:
    acts, signed = book.ask("oversight"), book.ask("verdicts")
    numbers = columns(signed, "sent_to_a_human", "promoted", "declined_by_a_human", "forced")
    numbers += columns(acts, "drills", "reviews_decided", "approvals_expired", "force_promotes_refused")
    if not acts.one["drills"]:
        return unknown("A11", "drills of the kill switch in the period", numbers)
    return stated("A11", numbers)


def _validation(book: EvidenceBook) -> Item:
    """What the gate measured of the serving version: against the version before it, and against its teacher."""
    compared, fidelity = book.ask("comparison"), book.ask("fidelity")
    query = fidelity.pointer.query_id
    numbers = [real(row["metric"], compared, row["challenger"]) for row in compared.values]
    for row in fidelity.values:
        numbers.append(Number(f"fidelity of {row['task']}", row["verdict"], query))
        if row["kl"] is not None:
            numbers.append(real(f"KL to the teacher of {row['task']}", fidelity, row["kl"]))
    return stated("A12", numbers, "metrics and fidelity in the verdict about the serving version")
