"""The limits a verdict rests on are in the record, and so is every change of them.

Before a run is judged the policy in force is compared with what the record's ``threshold_change`` rows add up to. A
difference is written first; when it cannot be made durable, nothing is judged. The first row of a record names every
limit, with nothing before it. Who wanted the change is known to the review that merged it, not to the pipeline:
``approvers`` and the references stay empty here. Source: promotion.md 12, monitoring.md R6.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pipeline_lib.audit import session
from pipeline_lib.canonical import digest, with_decimals
from pipeline_lib.registry import rows
from pipeline_lib.settings import Settings

EVENT = "threshold_change"
SECTIONS = ("promotion", "distillation")
NAMED = 5
"""Keys spelt out in a row's reason; all of them are in its details."""


def trace(settings: Settings) -> list[dict[str, Any]]:
    """Record what changed since the last trace: {key, old, new}, new None where a key is gone; empty when nothing did.

    Raises:
        AuditError: the row is not durable.
    """
    now, past = in_force(settings), [row.payload["details"] for row in _rows(settings)]
    before = _folded(past)
    keys = sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key))
    changes = [{"key": key, "old": before.get(key), "new": now.get(key)} for key in keys]
    if not changes:
        return []
    named = ", ".join(keys[:NAMED]) + (f" and {len(keys) - NAMED} more" if len(keys) > NAMED else "")
    rows.operation(
        settings,
        EVENT,
        f"{EVENT}:{len(past)}:{digest(now)}",
        object_type="policy",
        object_id=" ".join(SECTIONS),
        reason=f"changed: {named}" if past else "first limits of this record",
        details={"changes": changes, "config_hash": settings.config_hash, "approvers": [], "change_request_ref": None},
    )
    return changes


def in_force(settings: Settings) -> dict[str, Any]:
    """Dotted key -> value of every limit that the gate and fidelity judge by; reals as decimal text."""
    return {
        f"{section}.{key}": value
        for section in SECTIONS
        for key, value in _flat(with_decimals(getattr(settings, section).model_dump(mode="json")))
    }


def _rows(settings: Settings) -> list[session.StoredRow]:
    found = (row for row in session.rows(settings, ["log_operation"]) if row.header["event"] == EVENT)
    return sorted(found, key=lambda row: str(row.header["ts"]))


def _folded(past: list[Mapping[str, Any]]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for details in past:
        values |= {change["key"]: change["new"] for change in details["changes"]}
    return {key: value for key, value in values.items() if value is not None}


def _flat(body: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in body.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
