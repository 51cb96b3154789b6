"""Numbers with their evidence, and the items of a report made from them. Nothing here knows any law.

Scores are risks: 0 good, 1 bad. What was not recorded is UNKNOWN with what was looked for; it is never a default.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

from pipeline_lib.canonical import decimal_text
from pipeline_lib.comply.evidence import Answer
from pipeline_lib.settings.compliance import Levels, Part

Status = Literal["OK", "UNKNOWN"]
NUMBER_PLACES = 6


@dataclass(frozen=True)
class Number:
    """One printed value with the counts and the question behind it."""

    name: str
    value: int | str | Decimal | None
    query_id: str
    num: int | None = None
    den: int | None = None

    def to_dict(self) -> dict[str, Any]:
        shown = decimal_text(self.value, NUMBER_PLACES) if isinstance(self.value, Decimal) else self.value
        return {"name": self.name, "value": shown, "num": self.num, "den": self.den, "query_id": self.query_id}


@dataclass(frozen=True)
class Item:
    """One section, dimension, step or domain of a report."""

    id: str
    status: Status
    numbers: tuple[Number, ...] = ()
    score: Decimal | None = None
    at_least: Decimal | None = None
    """For an UNKNOWN with a formula: the risk that the known parts make already, if any."""
    looked_for: tuple[str, ...] = ()
    """For UNKNOWN: what was sought in the record and is not there, one line each."""


def column(answer: Answer, name: str, label: str | None = None) -> Number:
    """One column of a one-row answer."""
    return Number(label or name.replace("_", " "), answer.one[name], answer.pointer.query_id)


def columns(answer: Answer, *names: str) -> list[Number]:
    """Several columns of a one-row answer; all of them without names."""
    return [column(answer, name) for name in names or answer.one]


def share(label: str, answer: Answer, num: str, den: str) -> Number:
    """Ratio of two counts of a one-row answer; unknown when the denominator is 0."""
    over, under = answer.one[num], answer.one[den]
    ratio = Decimal(over) / Decimal(under) if under else None
    return Number(label, ratio, answer.pointer.query_id, over, under)


def real(label: str, answer: Answer, text: str | None) -> Number:
    """A recorded decimal, from its text."""
    return Number(label, None if text is None else Decimal(text), answer.pointer.query_id)


def stated(item_id: str, numbers: Sequence[Number], otherwise: str = "") -> Item:
    """An item that states facts; unknown when one of them is missing, or when there is none and ``otherwise`` says
    what was looked for.
    """
    missing = tuple(f"{number.name}: no row says it" for number in numbers if number.value is None)
    if not numbers:
        missing = (otherwise,)
    return Item(item_id, "UNKNOWN" if missing else "OK", tuple(numbers), looked_for=missing)


def unknown(item_id: str, looked_for: str, numbers: Sequence[Number] = ()) -> Item:
    """An item that cannot be answered, with the numbers that are known all the same."""
    return Item(item_id, "UNKNOWN", tuple(numbers), looked_for=(looked_for,))


def scored(
    item_id: str, formula: Mapping[str, Part], inputs: Mapping[str, Number | str], beside: Sequence[Number] = ()
) -> Item:
    """Sum of weight x risk over the parts of a formula; unknown while one of them is.

    Args:
        inputs: part -> its number, or what was looked for where the record cannot say.
        beside: numbers printed with them that do not enter the score.

    Raises:
        ValueError: the inputs are not the formula's parts.
    """
    if inputs.keys() != formula.keys():
        raise ValueError(f"{item_id}: inputs {sorted(inputs)}, parts of the formula {sorted(formula)}")
    numbers = [given for given in inputs.values() if isinstance(given, Number)]
    known = [
        Decimal(repr(formula[name].weight)) * risk(Decimal(given.value), formula[name])
        for name, given in inputs.items()
        if isinstance(given, Number) and given.value is not None
    ]
    missing = tuple(text for given in inputs.values() if (text := _missing(given)))
    total = sum(known, Decimal(0))
    if missing:
        return Item(item_id, "UNKNOWN", (*numbers, *beside), None, total or None, missing)
    return Item(item_id, "OK", (*numbers, *beside), total)


def risk(value: Decimal, part: Part) -> Decimal:
    """``sat(x, c) = min(1, max(0, x / c))``, or 1 above a limit and 0 up to it. Source: compliance.md section 4."""
    if part.cap is not None:
        return min(Decimal(1), max(Decimal(0), value / Decimal(repr(part.cap))))
    return Decimal(int(value > Decimal(repr(part.above))))


def level(score: Decimal, ladder: Levels) -> str:
    return ladder.names[sum(score >= Decimal(repr(cut)) for cut in ladder.cuts)]


def _missing(given: Number | str) -> str:
    if isinstance(given, str):
        return given
    return f"{given.name}: no row to count" if given.value is None else ""
