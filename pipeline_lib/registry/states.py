"""Where a version is in its life: one small document each, changed by compare-and-swap.

The pointer is the truth about what serves; a document that disagrees is repaired (``settle``).
"""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Any

from pipeline_lib.business_time import utc_now
from pipeline_lib.canonical import canonical_bytes
from pipeline_lib.errors import GateCannotJudge, ObjectMissing, RequestRefused
from pipeline_lib.objects import Objects
from pipeline_lib.registry.documents import corrupt, document

ALLOWED: dict[str, tuple[str, ...]] = {
    "registered": ("rejected", "pending_approval", "champion", "quarantined"),
    "incomplete": ("quarantined",),
    "rejected": ("registered", "champion", "quarantined"),
    "pending_approval": ("champion", "rejected", "expired", "superseded", "quarantined"),
    "expired": ("registered", "champion", "quarantined"),
    "superseded": ("registered", "champion", "quarantined"),
    "champion": ("retired",),
    "retired": ("champion", "quarantined"),
    "quarantined": ("registered",),
}
"""State -> states that may follow. Source: promotion.md section 2."""

log = logging.getLogger(__name__)

StateDoc = dict[str, Any]


def begin(objects: Objects, version: str, manifest_sha256: str, package_state: str) -> None:
    """The first document of a version; kept when there is one already."""
    if objects.exists(_key(version)):
        return
    complete = package_state == "complete"
    document: StateDoc = {
        "version": version,
        "state": "registered" if complete else "incomplete",
        "registered_at": utc_now().isoformat(),
        "manifest_sha256": manifest_sha256,
        "promotable": complete,
        "lambda_version": None,
        "last_decision_id": None,
        "history": [],
        "quarantine": None,
    }
    objects.swap(_key(version), canonical_bytes(document), None)


def read(objects: Objects, version: str) -> StateDoc:
    """Raises ObjectMissing when the version was never registered."""
    return _read(objects, version)[0]


def move(
    objects: Objects, version: str, to: str, by: str, decision_id: str | None, at: datetime, **fields: Any
) -> StateDoc:
    """Change the state of a version; moving to the state it is in changes only ``fields``.

    Raises:
        RequestRefused: the life of a version does not allow this step.
        SwapLost: somebody else moved it in between.
    """
    document, tag = _read(objects, version)
    came_from = document["state"]
    if came_from != to:
        if to not in ALLOWED[came_from]:
            raise RequestRefused(f"{version} is {came_from}; that may become {ALLOWED[came_from]}, not {to}")
        step = {"from": came_from, "to": to, "at": at.isoformat(), "by": by, "decision_id": decision_id}
        document = {**document, "state": to, "history": [*document["history"], step]}
    document = {**document, **fields}
    if decision_id is not None:
        document["last_decision_id"] = decision_id
    objects.swap(_key(version), canonical_bytes(document), tag)
    return document


def waits_for(objects: Objects, version: str, decision_id: str) -> bool:
    """Whether the version waits for the answer to this verdict of the gate, and not to a later one."""
    document = read(objects, version)
    return (document["state"], document["last_decision_id"]) == ("pending_approval", decision_id)


def quarantine(objects: Objects, version: str, by: str, reason: str, at: datetime) -> StateDoc:
    """Mark a version as known bad."""
    mark = {"by": by, "reason": reason, "at": at.isoformat()}
    return move(objects, version, "quarantined", by, None, at, quarantine=mark)


def settle(
    objects: Objects, champion: str | None, decision_id: str | None, by: str, at: datetime, **fields: Any
) -> list[str]:
    """Make the documents say what the pointer says.

    Args:
        fields: further fields of the champion's document, e.g. ``lambda_version``.

    Returns:
        the versions that were repaired.
    """
    repaired = []
    for version in (v for v in listed(objects) if v != champion):
        try:
            state = read(objects, version)["state"]
        except GateCannotJudge as unreadable:  # somebody else's broken document stops no release; the check names it
            log.error("%s", unreadable)
            continue
        if state == "champion":
            move(objects, version, "retired", by, decision_id, at)
            repaired.append(version)
    if champion is not None and (document := read(objects, champion))["state"] != "champion":
        if "champion" not in ALLOWED[document["state"]]:  # the pointer wins: e.g. a forced quarantined version
            move(objects, champion, "registered", by, decision_id, at, quarantine=None)
        move(objects, champion, "champion", by, decision_id, at, **fields)
        repaired.append(champion)
    return repaired


def listed(objects: Objects, state: str | None = None) -> list[str]:
    """Versions with a state document, sorted; only those in ``state`` when given."""
    versions = [key.rsplit("/", 1)[1].removesuffix(".json") for key in objects.list("registry/state")]
    return [v for v in versions if state is None or read(objects, v)["state"] == state]


def reigns(document: StateDoc, now: datetime) -> list[tuple[datetime, datetime]]:
    """[from, to) of every time the version served; an open one ends now."""
    spans, start = [], None
    for step in document["history"]:
        at = datetime.fromisoformat(step["at"])
        if step["to"] == "champion":
            start = at
        elif step["from"] == "champion" and start is not None:
            spans.append((start, at))
            start = None
    return spans if start is None else [*spans, (start, now)]


def _read(objects: Objects, version: str) -> tuple[StateDoc, str]:
    try:
        data, tag = objects.get_tagged(_key(version))
    except ObjectMissing:
        raise ObjectMissing(f"{objects.url}: no version named {version} is registered") from None
    found = document(_key(version), data)
    if missing := sorted({"state", "history", "registered_at"} - found.keys()):
        raise corrupt(_key(version), f"a document without {', '.join(missing)}")
    return found, tag


def _key(version: str) -> str:
    return f"registry/state/{version}.json"
