"""Technical file, twelve sections over the nine points of Annex IV (EU AI Act).

Reader: the national competent authority. At each promotion and each quarter. Kept 10 years (Art. 18).
Source: compliance.md 5.3. A document that people write is unknown until its hash is in the record.
"""

from __future__ import annotations

from typing import Any

from pipeline_lib.comply.evidence import EvidenceBook
from pipeline_lib.comply.report import Item, Number, body, numbers_of, stated, unknown
from pipeline_lib.settings.compliance import Levels, ReportPolicy

KIND = "annex_iv"

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
        "A5": stated("A5", numbers_of(book.ask("changes")) + numbers_of(book.ask("verdicts"))),
        "A8": _post_market(book),
        "A9": _data(book),
        "A11": _human_oversight(book),
        "A12": _validation(book),
    }
    items = [answered.get(item_id) or unknown(item_id, WRITTEN[item_id]) for item_id in policy.sections]
    return body(KIND, policy, book.as_of, items)


def _general(book: EvidenceBook) -> Item:
    champion = book.ask("champion")
    if not champion.values:
        return unknown("A1", "a promotion_decision row that made a version champion")
    return stated("A1", [Number(name, champion.one[name], champion.pointer)
                         for name in ("version", "decision", "decision_id", "decided_at", "code_version")])  # fmt: skip


def _data(book: EvidenceBook) -> Item:
    champion = book.ask("champion")
    if not champion.values or champion.one["training_snapshot_hash"] is None:
        return unknown("A9", "training_snapshot_hash in the champion's promotion_decision row")
    number = Number("training snapshot", champion.one["training_snapshot_hash"], champion.pointer)
    return unknown("A9", "demographic distribution of the training data and the leakage report's hash", [number])


def _post_market(book: EvidenceBook) -> Item:
    windows = book.ask("windows")
    if windows.one["drift_windows"] == 0:
        return unknown("A8", "drift_window rows of the period", numbers_of(windows))
    return stated("A8", numbers_of(windows))


def _human_oversight(book: EvidenceBook) -> Item:
    acts = book.ask("oversight")
    signed = book.ask("verdicts")
    numbers = [Number(name, signed.one[name], signed.pointer) for name in ("sent_to_a_human", "promoted", "forced")]
    numbers += [
        Number(name, acts.one[name], acts.pointer) for name in ("drills", "reviews_decided", "approvals_expired")
    ]
    return stated("A11", numbers) if acts.one["drills"] else unknown("A11", "drill rows of the period", numbers)


def _validation(book: EvidenceBook) -> Item:
    compared, fidelity = book.ask("comparison"), book.ask("fidelity")
    numbers = [Number(row["metric"], row["challenger"], compared.pointer) for row in compared.values]
    numbers += [Number(f"fidelity {row['task']}", row["verdict"], fidelity.pointer) for row in fidelity.values]
    return stated("A12", numbers) if numbers else unknown("A12", "metrics or fidelity in the champion's promotion row")
