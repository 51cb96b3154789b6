"""One monitored value: what, of whom, how much, and whether it is inside its limits. UNKNOWN is never OK."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from pipeline_lib.audit.operation import record_operation
from pipeline_lib.business_time import utc_now
from pipeline_lib.canonical import with_decimals
from pipeline_lib.settings import Settings

State = Literal["OK", "WARN", "FAIL", "UNKNOWN"]


@dataclass(frozen=True)
class Reading:
    monitor: str
    about: str
    statistic: str
    value: float | None
    state: State
    n: int
    cause: str = ""
    """Why the state is not OK: the limit that was passed, or what was missing."""

    def to_dict(self) -> dict[str, Any]:
        plain: dict[str, Any] = with_decimals(asdict(self))
        return plain


def record(settings: Settings, service: str, event: str, window_start: str, details: Sequence[dict[str, Any]]) -> None:
    """One row per run, even when nothing is wrong: proof that the monitor looked."""
    moment = utc_now().strftime("%Y-%m-%dT%H:%M:%SZ")
    record_operation(
        settings,
        service,
        event,
        f"{event}:{moment}",
        object_type="window",
        object_id=window_start,
        reason=f"{len(details)} readings",
        details={"readings": list(details), "window_start": window_start},
    )
