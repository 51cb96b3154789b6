"""One monitored value: what, of whom, how much, and whether it is inside its limits. UNKNOWN is never OK."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from pipeline_lib.audit.operation import record_operation
from pipeline_lib.canonical import with_decimals
from pipeline_lib.monitor.served import Window
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
    """Rows of the smaller side."""
    cause: str = ""
    """Why the state is not OK: the limit that was passed, or what was missing."""

    def to_dict(self) -> dict[str, Any]:
        plain: dict[str, Any] = with_decimals(asdict(self))
        return plain


def record(
    settings: Settings, service: str, event: str, window: Window, readings: Sequence[Reading], about: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """One row per run, even when nothing is wrong: proof that the monitor looked.

    Args:
        about: further fields of the row's details.

    Returns:
        the readings as recorded.
    """
    rows = [one.to_dict() for one in readings]
    details = {**window.to_dict(), **about, "readings": rows}
    not_ok = sum(one.state != "OK" for one in readings)
    record_operation(
        settings,
        event,
        f"{event}:{details['ts_to']}",
        service=service,
        object_type="window",
        object_id=details["window_id"],
        reason=f"{not_ok} of {len(rows)} readings are not OK",
        details=details,
    )
    return rows
