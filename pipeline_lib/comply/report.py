"""What a report is made of, and the one form in which it is stored. Nothing here knows any law.

Scores are risks: 0 good, 1 bad. What was not recorded is UNKNOWN with what was looked for; it is never a default.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

from pipeline_lib.canonical import canonical_bytes, decimal_text, digest
from pipeline_lib.comply.evidence import Answer, AsOf, Pointer
from pipeline_lib.errors import ReportIncomplete
from pipeline_lib.settings.compliance import Levels, ReportPolicy

Status = Literal["OK", "UNKNOWN", "NOT_APPLICABLE"]
SCORE_PLACES = 6


@dataclass(frozen=True)
class Number:
    """One printed value with the counts behind it."""

    name: str
    value: int | str | Decimal | None
    pointer: Pointer
    num: int | None = None
    den: int | None = None

    def to_dict(self) -> dict[str, Any]:
        shown = decimal_text(self.value, SCORE_PLACES) if isinstance(self.value, Decimal) else self.value
        return {"name": self.name, "value": shown, "num": self.num, "den": self.den, "evidence": self.pointer.text}


@dataclass(frozen=True)
class Item:
    """One section, dimension, step or domain of a report."""

    id: str
    status: Status
    numbers: tuple[Number, ...] = ()
    score: Decimal | None = None
    looked_for: str = ""
    """For UNKNOWN: which recorded facts were sought and not found. For NOT_APPLICABLE: why."""


def stated(item_id: str, numbers: Sequence[Number], score: Decimal | None = None) -> Item:
    """An answered item; unknown when any of its numbers is."""
    missing = [number.name for number in numbers if number.value is None]
    if missing:
        return Item(item_id, "UNKNOWN", tuple(numbers), None, f"recorded rows for: {', '.join(missing)}")
    return Item(item_id, "OK", tuple(numbers), score)


def unknown(item_id: str, looked_for: str, numbers: Sequence[Number] = ()) -> Item:
    return Item(item_id, "UNKNOWN", tuple(numbers), None, looked_for)


def numbers_of(answer: Answer) -> list[Number]:
    """Every column of a one-row answer as a number."""
    return [Number(name, value, answer.pointer) for name, value in answer.one.items()]


def sat(value: Decimal, cap: float) -> Decimal:
    """min(1, max(0, value / cap)). Source: compliance.md section 4."""
    return min(Decimal(1), max(Decimal(0), value / Decimal(repr(cap))))


def weighted(parts: Sequence[tuple[float, Decimal]]) -> Decimal:
    """Sum of weight x part."""
    return sum((Decimal(repr(weight)) * part for weight, part in parts), Decimal(0))


def level(score: Decimal, ladder: Levels) -> str:
    return ladder.names[sum(score >= Decimal(repr(cut)) for cut in ladder.cuts)]


def body(
    kind: str, policy: ReportPolicy, as_of: AsOf, items: Sequence[Item], ladder: Levels | None = None
) -> dict[str, Any]:
    """The report as stored: no clock, no path, no random id; same record and policy give the same bytes."""
    by_id = {item.id: item for item in items}
    if list(by_id) != list(policy.sections):
        raise ValueError(f"{kind}: items {list(by_id)} are not the sections {list(policy.sections)}")
    spec = {"policy": policy.model_dump(mode="json")}
    complete = all(item.status != "UNKNOWN" for item in items)
    scores = [item.score for item in items if item.score is not None]
    worst = max(scores) if scores else None
    made = {
        "generator": kind,
        "title": policy.title,
        "legal_basis": list(policy.legal_basis),
        "spec_version": policy.spec_version,
        "spec_hash": digest(_plain(spec)),
        "period": {"label": as_of.label, "from": as_of.start, "to": as_of.end},
        "as_of": {"ckpt_n": as_of.ckpt_n, "root": as_of.root, "verification": as_of.verification},
        "items": [_item(item, policy.sections[item.id], ladder) for item in items],
        "overall": {
            "complete": complete,
            "worst_score": decimal_text(worst, SCORE_PLACES),
            "level": level(worst, ladder) if worst is not None and ladder else None,
        },
        "unknown_mandatory": [i for i in policy.mandatory if by_id[i].status == "UNKNOWN"],
    }
    return {"report_id": digest(made)[:32], **made}


def require_fileable(made: dict[str, Any]) -> None:
    """Returns nothing; raises ReportIncomplete naming the clauses, or the unverified record."""
    if made["as_of"]["verification"] != "INTACT":
        raise ReportIncomplete(f"{made['generator']}: the record is {made['as_of']['verification']}, not INTACT", [])
    if made["unknown_mandatory"]:
        raise ReportIncomplete(
            f"{made['generator']} {made['period']['label']}: mandatory clauses are unknown", made["unknown_mandatory"]
        )


def to_bytes(made: dict[str, Any]) -> bytes:
    return canonical_bytes(made) + b"\n"


def _item(item: Item, title: str, ladder: Levels | None) -> dict[str, Any]:
    scored = item.score is not None and ladder is not None
    return {
        "id": item.id,
        "title": title,
        "status": item.status,
        "score": decimal_text(item.score, SCORE_PLACES),
        "level": level(item.score, ladder) if scored else None,  # type: ignore[arg-type]
        "numbers": [number.to_dict() for number in item.numbers],
        "looked_for": item.looked_for,
    }


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return decimal_text(value, 12)
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return value
