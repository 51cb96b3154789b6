"""The kill switch: one person turns models off, two turn them on again.

The state is an item where the function looks on every request, at most a second old; the record says who, when and
why. Firing acts first and is recorded after, from a spool if need be; clearing is recorded first. An item's
``version`` counts its changes, so the rows of one switch in order of it are its history. Source: monitoring.md 6.1,
audit.md 6.2.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

from pipeline_lib.audit import session
from pipeline_lib.audit.operation import Phase
from pipeline_lib.business_time import utc_now
from pipeline_lib.errors import DoneUnrecorded, RequestRefused
from pipeline_lib.items.place import writable
from pipeline_lib.objects import open_objects
from pipeline_lib.oversee import switch_state, unrecorded
from pipeline_lib.oversee.switch_state import TABLE, Switch
from pipeline_lib.registry import persons
from pipeline_lib.scrub import scrub_ticket
from pipeline_lib.settings import Settings

log = logging.getLogger(__name__)

FIRED, ASKED, CLEARED = "kill_switch_fired", "kill_switch_clear_requested", "kill_switch_cleared"
WAITS = timedelta(hours=1)
"""As long as a request to clear waits for its second person."""


def fire(
    settings: Settings, switch: Switch, operator: str, reason: str, request_id: str, incident: str | None = None
) -> dict[str, Any]:
    """Turn models off now; one that is on already stays as it is, and the call is recorded.

    Returns:
        ``switch`` (id), ``version``, ``duplicate``, and ``recorded``: False when the record was not to be reached; the
        row waits in the store then.

    Raises:
        RequestRefused: no operator or no reason.
        TableUnreadable: the state cannot be changed. The function takes a table that it cannot read as on.
        DoneUnrecorded: the switch is on; neither the record nor the store keeps who turned it.
    """
    operator, reason = persons.named(operator, reason, settings.promotion.force)
    objects, at = open_objects(settings.place.root), utc_now()
    now, duplicate = switch_state.turned_on(writable(settings), switch)
    row = _row(
        FIRED, f"{FIRED}:{request_id}", now, operator, reason, severity="info" if duplicate else "critical",
        duplicate=duplicate, effective_at=at.isoformat(), incident_id=_ticket(incident),
    )  # fmt: skip
    log.warning("%s is on (version %d) by %s", now.switch_id, now.version, operator)
    try:
        recorded = unrecorded.record(settings, objects, row)
    except DoneUnrecorded as error:
        raise DoneUnrecorded(f"{now.switch_id} IS ON (version {now.version}). {error}") from error
    return {"switch": now.switch_id, "version": now.version, "duplicate": duplicate, "recorded": recorded}


def ask_to_clear(
    settings: Settings, switch_id: str, operator: str, reason: str, incident: str, evidence: str
) -> dict[str, Any]:
    """Record that somebody wants models on again, and wait for a second person; nothing changes yet.

    Args:
        evidence: what shows that the cause is gone: a reading, a report, a ticket.

    Raises:
        RequestRefused: the switch is not on, or operator, reason, incident or evidence is missing.
        AuditError: it could not be recorded.
    """
    operator, reason = persons.named(operator, reason, settings.promotion.force)
    if not incident.strip() or not evidence.strip():
        raise RequestRefused("clearing a switch names the incident and what shows that its cause is gone")
    objects = open_objects(settings.place.root)
    unrecorded.settle(settings, objects)
    now = switch_state.require_active(switch_state.find(writable(settings), switch_id), switch_id)
    until = utc_now() + WAITS
    row = _row(
        ASKED, f"{ASKED}:{switch_id}:{now.version}:{operator}:{until.isoformat()}", now, operator, reason,
        incident_id=_ticket(incident), evidence_refs=[_ticket(evidence)], until=until.isoformat(),
    )  # fmt: skip
    unrecorded.write(settings, row)
    return {
        "switch": switch_id,
        "version": now.version,
        "waits_for": f"anybody but {operator}",
        "until": until.isoformat(),
    }


def clear(settings: Settings, switch_id: str, person: str, statement: str) -> dict[str, Any]:
    """The second person's word: models answer again. A call that was cut off is finished by the same call.

    Args:
        person: authenticated identity, not who asked.

    Raises:
        RequestRefused: the switch is not on, nobody asked within the hour, or it is who asked.
        DoneUnrecorded: the switch is off, as the record said it would be; that it is done is recorded by the same call.
        AuditError: it could not be recorded; the switch is still on.
    """
    person, statement = persons.named(person, statement, settings.promotion.force)
    objects = open_objects(settings.place.root)
    unrecorded.settle(settings, objects)
    said, items = _said(settings, switch_id), writable(settings)
    now = switch_state.find(items, switch_id)
    if now and not now.active and (begun := _begun(said, now.version)):
        unrecorded.record(settings, objects, _ended(begun))
        return {"switch": switch_id, "version": now.version, "by": begun["actor_ref"]}
    now = switch_state.require_active(now, switch_id)
    asked = _asked(said, now, person)
    off = replace(now, active=False, version=now.version + 1)
    row = _clearing(off, asked, person, statement)
    unrecorded.write(settings, row)
    done = switch_state.swapped(items, off, now.version)
    unrecorded.record(settings, objects, _ended(row, "done" if done else "failed"))
    if not done:
        raise RequestRefused(f"{switch_id} was changed meanwhile: look again")
    return {"switch": switch_id, "version": off.version, "asked_by": asked["actor_ref"], "by": person}


def board(settings: Settings) -> list[Switch]:
    """Every switch that was ever fired, as it is now. Raises TableUnreadable."""
    return sorted((switch_state.of(item) for item in writable(settings).all(TABLE)), key=lambda one: one.switch_id)


def _said(settings: Settings, switch_id: str) -> list[session.StoredRow]:
    """What the record says of requests to clear this switch, and of clearing it."""
    found = session.rows(settings, ["log_operation"])
    return [row for row in found if row.header["event"] in (ASKED, CLEARED) and row.payload["object_id"] == switch_id]


def _asked(said: list[session.StoredRow], now: Switch, person: str) -> Mapping[str, Any]:
    """Somebody else's request of this hour to clear the switch as it is now."""
    moment = utc_now().isoformat()
    found = [
        row.payload
        for row in said
        if row.header["event"] == ASKED
        and row.payload["details"]["state_version"] == now.version
        and row.payload["details"]["until"] > moment
    ]
    others = [one for one in found if not persons.same(one["actor_ref"], person)]
    if not others:
        why = "it takes a second person, under their own login" if found else "nobody asked for it within the hour"
        raise RequestRefused(f"{now.switch_id} stays on: {why}")
    return others[-1]


def _begun(said: list[session.StoredRow], version: int) -> dict[str, Any] | None:
    """The row of a clearing that turned the switch off and was cut off before it said so."""
    of = [row.payload for row in said if row.header["event"] == CLEARED]
    of = [one for one in of if one["details"]["state_version"] == version]
    phases = {one["phase"]: one for one in of}
    return dict(phases["intent"]) if set(phases) == {"intent"} else None


def _clearing(off: Switch, asked: Mapping[str, Any], person: str, statement: str) -> dict[str, Any]:
    """The intent row of a clearing."""
    idem = f"{CLEARED}:{off.switch_id}:{off.version}"
    known = {name: asked["details"][name] for name in ("incident_id", "evidence_refs")}
    row = _row(CLEARED, idem, off, person, statement, second_actor=asked["actor_ref"], **known)
    return {**row, "phase": "intent", "action_id": idem}


def _ended(row: Mapping[str, Any], phase: Phase = "done") -> dict[str, Any]:
    """The row that ends a clearing; from its intent as it was made or as the record has it."""
    actor = row.get("actor") or (row["actor_kind"], row["actor_ref"])
    same = {name: row[name] for name in ("object_type", "object_id", "reason", "severity", "action_id", "details")}
    return {**same, "event": CLEARED, "idem": f"{row['action_id']}:{phase}", "actor": actor, "phase": phase}


def _row(
    event: str, idem: str, switch: Switch, operator: str, reason: str, severity: str = "major", **details: Any
) -> dict[str, Any]:
    """What ``record_operation`` is given."""
    by = "auto" if operator.startswith("auto:") else "human"
    return {
        "event": event, "idem": idem, "object_type": TABLE, "object_id": switch.switch_id, "reason": reason,
        "actor": ("service" if by == "auto" else "human", operator), "severity": severity,
        "details": {
            "switch_id": switch.switch_id, "scope": switch.scope, "target": switch.target, "fallback": switch.fallback,
            "fired_by": by, "state_version": switch.version, **details,
        },
    }  # fmt: skip


def _ticket(text: str | None) -> str | None:
    return scrub_ticket(text) if text else None
