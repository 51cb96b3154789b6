"""Marking a version as known bad, and lifting the mark: by a person, with a reason, in the record first.

A quarantined version is judged by no gate and forced by nobody without the explicit override and two persons. The
champion cannot be quarantined: something must serve, so another version is forced first. Source: promotion.md 2, 8.
"""

from __future__ import annotations

from datetime import datetime

from pipeline_lib.business_time import utc_now
from pipeline_lib.errors import RequestRefused
from pipeline_lib.objects import Objects, open_objects
from pipeline_lib.registry import persons, rows, states
from pipeline_lib.registry.states import StateDoc
from pipeline_lib.settings import Settings


def quarantine(settings: Settings, version: str, operator: str, reason: str, now: datetime | None = None) -> StateDoc:
    """Mark a version as known bad; marking it again changes nothing.

    Raises:
        RequestRefused: it serves, or nobody or no reason is named; nothing changed.
        ObjectMissing: there is no such version.
    """
    objects, now = open_objects(settings.place.root), now or utc_now()
    operator, reason = persons.named(operator, reason, settings.promotion.force)
    before = states.read(objects, version)
    if before["state"] == "champion":
        raise RequestRefused(f"{version} serves: force another version first, then quarantine this one")
    if before["state"] == "quarantined":
        return before
    _record(settings, rows.QUARANTINED, before, operator, reason)
    return states.quarantine(objects, version, operator, reason, now)


def lift(settings: Settings, version: str, operator: str, reason: str, now: datetime | None = None) -> StateDoc:
    """Take the mark away; the version may be judged again.

    Raises:
        RequestRefused: it is not quarantined, or nobody or no reason is named; nothing changed.
        ObjectMissing: there is no such version.
    """
    objects, now = open_objects(settings.place.root), now or utc_now()
    operator, reason = persons.named(operator, reason, settings.promotion.force)
    before = states.read(objects, version)
    if before["state"] != "quarantined":
        raise RequestRefused(f"{version} is {before['state']}, not quarantined: there is nothing to lift")
    _record(settings, rows.LIFTED, before, operator, reason)
    return _registered(objects, version, operator, now)


def _registered(objects: Objects, version: str, operator: str, now: datetime) -> StateDoc:
    return states.move(objects, version, "registered", operator, None, now, quarantine=None)


def _record(settings: Settings, event: str, before: StateDoc, operator: str, reason: str) -> None:
    """One row per change of this document: a repetition after a crash finds it."""
    version, steps = before["version"], len(before["history"])
    rows.operation(
        settings,
        event,
        f"{event}:{version}:{steps}",
        object_type="version",
        object_id=version,
        reason=reason,
        actor=("human", operator),
        severity="major" if event == rows.QUARANTINED else "info",
        details={"version": version, "state_before": before["state"]},
    )
