"""One line of the report: what was measured, on what, and whether it passes."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from pipeline_lib.settings.realism import Limit

Verdict = Literal["PASS", "WEAK", "FAIL", "UNKNOWN", "INFO"]


@dataclass(frozen=True)
class Row:
    family: str
    metric: str
    subject: str
    """What was compared: two banks, or a bank and a published figure."""
    value: float | None
    """None = could not be measured; ``note`` says why."""
    limit: str
    verdict: Verdict
    interval: tuple[float, float] | None = None
    """95 % bootstrap interval."""
    note: str = ""


def judged(
    family: str,
    metric: str,
    subject: str,
    value: float | None,
    limit: Limit | None,
    interval: tuple[float, float] | None = None,
    note: str = "",
) -> Row:
    """A row with the verdict of its limit: PASS inside ``good``, FAIL beyond ``bad``, WEAK between."""
    if value is None or not math.isfinite(value):
        return Row(family, metric, subject, None, limit.text if limit else "", "UNKNOWN", None, note or "not defined")
    if limit is None:
        return Row(family, metric, subject, value, "", "INFO", interval, note)
    return Row(family, metric, subject, value, limit.text, limit.verdict(value), interval, note)


def unknown(family: str, metric: str, subject: str, why: str) -> Row:
    return judged(family, metric, subject, None, None, None, why)


def worst(rows: Iterable[Row]) -> Verdict:
    """The worst verdict of these rows; UNKNOWN counts as worse than WEAK, INFO as nothing."""
    order: tuple[Verdict, ...] = ("INFO", "PASS", "WEAK", "UNKNOWN", "FAIL")
    return max((row.verdict for row in rows), key=order.index, default="UNKNOWN")
