"""What a report is made of, and the one form in which it is stored. Nothing here knows any law.

A body has no clock, no path and no random id: the same record, checkpoint and policy give the same bytes.
Source: compliance.md sections 3 and 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from pipeline_lib.canonical import canonical_bytes, decimal_text, digest, with_decimals
from pipeline_lib.comply.evidence import EvidenceBook
from pipeline_lib.comply.items import Item, level
from pipeline_lib.errors import ReportIncomplete
from pipeline_lib.settings.compliance import Levels, ReportPolicy

SCHEMA_VERSION = 1
SCORE_PLACES = 6
COVERAGE = "coverage"


def body(
    kind: str,
    policy: ReportPolicy,
    book: EvidenceBook,
    items: Sequence[Item],
    ladder: Levels | None = None,
    overall: tuple[Decimal | None, str | None] = (None, None),
) -> dict[str, Any]:
    """The report as stored.

    Args:
        ladder: names of the risk levels, for a report that scores.
        overall: score and level of the whole, as its law combines them.

    Raises:
        ValueError: the items are not the policy's sections, in order.
    """
    if [item.id for item in items] != list(policy.sections):
        raise ValueError(f"{kind}: items {[item.id for item in items]}, sections {list(policy.sections)}")
    as_of, covered = book.as_of, book.ask(COVERAGE)
    asked = {pointer.query_id: pointer for pointer in book.asked}
    spec = {
        "policy": policy.model_dump(mode="json"),
        "levels": ladder.model_dump(mode="json") if ladder else None,
        "statements": {name: pointer.sql_sha256 for name, pointer in asked.items()},
    }
    unknown = [item.id for item in items if item.status == "UNKNOWN"]
    made = {
        "generator": kind,
        "schema_version": SCHEMA_VERSION,
        "title": policy.title,
        "reader": policy.reader,
        "legal_basis": list(policy.legal_basis),
        "spec_version": policy.spec_version,
        "spec_hash": digest(with_decimals(spec, 12)),
        "period": {"label": as_of.label, "from": as_of.start, "to": as_of.end},
        "as_of": {
            "origin": as_of.origin,
            "ckpt_n": as_of.ckpt_n,
            "root": as_of.root,
            "verification": as_of.verification,
        },
        "coverage": [dict(row) for row in covered.values],
        "items": [_item(item, policy.sections[item.id], ladder) for item in items],
        "overall": {
            "complete": not unknown,
            "score": decimal_text(overall[0], SCORE_PLACES),
            "level": overall[1],
        },
        "unknown_mandatory": [item_id for item_id in policy.mandatory if item_id in unknown],
        "evidence": [
            {"query_id": p.query_id, "sql_sha256": p.sql_sha256, "rows": p.rows, "rows_sha256": p.rows_sha256}
            for p in asked.values()
        ],
    }
    return {"report_id": _report_id(made), **made}


def require_fileable(made: dict[str, Any]) -> None:
    """Returns nothing; raises ReportIncomplete naming the clauses, or the unverified record."""
    if made["as_of"]["verification"] != "INTACT":
        raise ReportIncomplete(f"{made['generator']}: the record is {made['as_of']['verification']}, not INTACT", [])
    if made["unknown_mandatory"]:
        raise ReportIncomplete(
            f"{made['generator']} {made['period']['label']}: mandatory sections are unknown", made["unknown_mandatory"]
        )


def to_bytes(made: dict[str, Any]) -> bytes:
    return canonical_bytes(made) + b"\n"


def _report_id(made: dict[str, Any]) -> str:
    """Names what was asked and of which record, so that another answer to the same cannot be stored beside it."""
    named = ("generator", "schema_version", "spec_hash", "period", "as_of")
    return digest({name: made[name] for name in named})[:32]


def _item(item: Item, title: str, ladder: Levels | None) -> dict[str, Any]:
    return {
        "id": item.id,
        "title": title,
        "status": item.status,
        "score": decimal_text(item.score, SCORE_PLACES),
        "at_least": decimal_text(item.at_least, SCORE_PLACES),
        "level": level(item.score, ladder) if item.score is not None and ladder else None,
        "numbers": [number.to_dict() for number in item.numbers],
        "looked_for": list(item.looked_for),
    }
