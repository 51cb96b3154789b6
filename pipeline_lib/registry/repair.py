"""The way out when the pointer is lost or not ours: it is built again from the record, never from a guess.

The record's newest effective decision says which version serves. A person runs the repair and gives a reason; the
repair is itself a two-phase row. It gets a generation above every one that the record and the kept copies know, so
that nothing that was decided before it takes effect by itself. Source: promotion.md sections 2, 11 and 12.
"""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Any

from pipeline_lib.business_time import utc_now
from pipeline_lib.errors import GateCannotJudge, ObjectMissing, RequestRefused
from pipeline_lib.keys import KeyFolder
from pipeline_lib.objects import Objects, open_objects
from pipeline_lib.registry import check, decisions, effective, persons, pointer, rows
from pipeline_lib.registry.effective import History
from pipeline_lib.registry.pointer import Pointer
from pipeline_lib.settings import Settings

NO_DECISION = "0" * 32


def repair_pointer(settings: Settings, operator: str, reason: str, now: datetime | None = None) -> Pointer:
    """Write the pointer that the record names.

    Raises:
        RequestRefused: the pointer is sound, the record names no version that ever served, or nobody or no reason
            is named; nothing changed.
        AuditError: the record does not verify; it is no ground to build on.
        SwapLost: somebody wrote the pointer in between.
    """
    objects = open_objects(settings.place.root)
    operator, reason = persons.named(operator, reason, settings.promotion.force)
    keys, tag = KeyFolder(settings.place.keys), _tag(objects)  # before the record: a force in between loses us the swap
    history = effective.read(settings)
    wrong = _wrong(settings, objects, keys, history)
    if history.newest:
        decisions.put_back(objects, history.newest.stored)
    named = _named(objects, history)
    receipt = rows.operation(
        settings,
        rows.REPAIR,
        f"{rows.REPAIR}:{named['generation']}:intent",
        object_type="pointer",
        object_id=str(named["version"]),
        reason=reason,
        actor=("human", operator),
        action_id=_action(named["generation"]),
        phase="intent",
        severity="critical",
        details={"pointer": named, "found": wrong},
    )
    pointer_now = pointer.rebuild(settings, objects, receipt, tag, now or utc_now())
    conclude(settings, pointer_now)
    return pointer_now


def conclude(settings: Settings, repaired: Pointer) -> None:
    """The repair's done row; safe to repeat, so that whoever comes after a crash can write it."""
    rows.operation(
        settings,
        rows.REPAIR,
        f"{rows.REPAIR}:{repaired.generation}:done",
        object_type="pointer",
        object_id=str(repaired.version),
        reason=f"{repaired.version} is named again, by generation {repaired.generation}",
        action_id=_action(repaired.generation),
        phase="done",
        details={"generation": repaired.generation},
    )


def _wrong(settings: Settings, objects: Objects, keys: KeyFolder, history: History) -> str:
    """What is wrong with the pointer. Raises RequestRefused when nothing is."""
    try:
        seen = pointer.read(objects, keys)
    except GateCannotJudge as error:
        return str(error)
    if wrong := check.not_as_recorded(objects, seen, history):
        return wrong
    raise RequestRefused(f"the pointer is sound: it names {seen.version}, generation {seen.generation}, as the record")


def _named(objects: Objects, history: History) -> dict[str, Any]:
    """The pointer without trigger and time. Source of every field: the record."""
    newest = history.newest
    generation = max(history.generation, pointer.newest_past(objects)) + 1
    if newest is None and not history.failed and generation == 1:
        raise RequestRefused("the record names no version that ever served; `pipeline registry reconcile` may help")
    before = [e for e in history.effects if newest and e.version != newest.version]
    previous = before[-1] if before else None
    rebuilt = Pointer(
        generation=generation,
        version=newest.version if newest else None,
        manifest_sha256=newest.manifest_sha256 if newest else None,
        previous_version=previous.version if previous else None,
        previous_sha256=previous.manifest_sha256 if previous else None,
        decision_id=newest.stored.decision.decision_id if newest else NO_DECISION,
        trigger=pointer.REPAIRED,
        activated_at="",
    )
    return {name: value for name, value in asdict(rebuilt).items() if name not in ("trigger", "activated_at")}


def _tag(objects: Objects) -> str | None:
    try:
        return objects.get_tagged(pointer.KEY)[1]
    except ObjectMissing:
        return None


def _action(generation: int) -> str:
    return f"repair-{generation}"
