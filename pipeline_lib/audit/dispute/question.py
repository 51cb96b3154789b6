"""One dispute question: about whom, which day, on whose case and why. Plain values, checked once."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from pipeline_lib.business_time import SEOUL
from pipeline_lib.errors import RequestRefused
from pipeline_lib.keys import KeyFolder, subject_ref
from pipeline_lib.settings import Settings

SubjectOf = Callable[[Settings, str], str]
"""Customer number -> pseudonym. Who asks is logged before this is called."""
_SUBJECT = re.compile(r"s_[0-9a-f]{64}")
_MIN_REASON = 10


@dataclass(frozen=True)
class Question:
    """The customer's number is in no answer and no row: a file that held both would be a mapping nobody can erase."""

    customer: str
    on: date
    """Calendar day in Asia/Seoul."""
    case: str
    reason: str
    product: str | None = None
    """Only answers that recommended this product."""
    as_of_ckpt: int | None = None
    """The record as this checkpoint covered it; the newest loaded one when None."""
    text_sha256: str | None = None
    """Digest of a text the customer shows: was it the one delivered?"""

    def __post_init__(self) -> None:
        if not self.case.strip():
            raise RequestRefused("a dispute question needs an open case: its id is recorded with every row shown")
        if len(self.reason.strip()) < _MIN_REASON:
            raise RequestRefused(f"say why in {_MIN_REASON} characters or more, found {self.reason!r}")

    @property
    def bounds(self) -> tuple[str, str]:
        """The day as [from, to) in UTC, written as the record writes time."""
        start = datetime(self.on.year, self.on.month, self.on.day, tzinfo=SEOUL)
        return _utc(start), _utc(start + timedelta(days=1))

    def parameters(self, subject: str) -> dict[str, Any]:
        """What the answer depends on, without the customer's number."""
        start, end = self.bounds
        return {
            "subject_ref": subject, "on": self.on.isoformat(), "from": start, "to": end, "product": self.product,
            "case": self.case, "reason": self.reason, "text_sha256": self.text_sha256,
        }  # fmt: skip


def pseudonym(settings: Settings, customer: str) -> str:
    """The pseudonym by the pepper of this place; a pseudonym given in its place is itself."""
    return customer if _SUBJECT.fullmatch(customer) else subject_ref(KeyFolder(settings.place.keys).pepper(), customer)


def _utc(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
