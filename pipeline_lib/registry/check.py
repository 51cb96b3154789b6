"""Does the registry agree with itself and with the record? Read-only: every night, and whenever somebody doubts.

Each question looks at one place that a hand could have reached: the pointer, its copies, the documents, the
decisions, the champion's files, quarantine; files that only repeat the record: ``caches``. The record is the
measure. Source: promotion.md sections 2 and 12.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from pipeline_lib.errors import (
    AuditError,
    GateCannotJudge,
    ManifestMismatch,
    ObjectMissing,
    PipelineError,
    SecretMissing,
)
from pipeline_lib.keys import KeyFolder
from pipeline_lib.objects import Objects, open_objects
from pipeline_lib.registry import caches, decisions, effective, pointer, rows, states, versions
from pipeline_lib.registry.effective import History
from pipeline_lib.registry.pointer import Seen
from pipeline_lib.settings import Settings

WRONG = (AuditError, GateCannotJudge, ManifestMismatch, ObjectMissing, SecretMissing)
"""What a look may end in when something was touched; any other error means that we could not look."""
RECONCILE = "`pipeline registry reconcile` repairs what a crash left"


def require_consistent(settings: Settings) -> dict[str, Any]:
    """Everything at once.

    Returns:
        what serves and by which decision.

    Raises:
        GateCannotJudge: REGISTRY_CORRUPT with every finding.
        StoreError: the store could not answer.
    """
    if findings := examine(settings):
        raise GateCannotJudge("REGISTRY_CORRUPT", "; ".join(findings))
    objects = open_objects(settings.place.root)
    seen = pointer.read(objects, KeyFolder(settings.place.keys))
    if seen.pointer is None or seen.version is None:
        return {"champion": None, "generation": seen.generation, "decision_id": None}
    made = [s["decision_id"] for s in states.read(objects, seen.version)["history"] if s["to"] == "champion"]
    by = made[-1] if seen.pointer.trigger == pointer.RESTORED else seen.pointer.decision_id
    return {"champion": seen.version, "generation": seen.generation, "decision_id": by}


def examine(settings: Settings) -> list[str]:
    """Every disagreement, in words; empty when there is none.

    A second look decides: pointer and record are read one after the other, and a force may land in between.
    """
    return _examined(settings) if _examined(settings) else []


def _examined(settings: Settings) -> list[str]:
    objects, keys = open_objects(settings.place.root), KeyFolder(settings.place.keys)
    try:
        history = effective.read(settings)
    except WRONG as error:
        return [f"the record of the promotions does not verify: {_said(error)}"]
    try:
        seen = pointer.read(objects, keys)
    except WRONG as error:
        found = [_said(error)]
    else:
        try:
            found = [*_pointer(objects, keys, seen, history), *_documents(objects, seen, history)]
        except WRONG as error:
            found = [_said(error)]
    window = timedelta(minutes=settings.promotion.effect_window_minutes)
    try:
        repeated = [*_objects(objects, history), *_quarantine(objects, history)]
        repeated += caches.compare(objects, history, window)
    except WRONG as error:
        repeated = [_said(error)]
    return [*found, *decisions.unreadable(objects), *repeated]


def not_as_recorded(objects: Objects, seen: Seen, history: History) -> str | None:
    """How the pointer differs from the record's newest effective decision; None when it does not.

    A decision whose effect is under way, or that a crash left there, is ahead of the record and no disagreement.
    """
    named, newest = seen.pointer, history.newest
    if named is None:
        return f"no pointer, the record says {newest.version} serves; {pointer.REPAIR}" if newest else None
    if _under_way(objects, named.decision_id, history):
        return None
    recorded = (newest.version, newest.manifest_sha256) if newest else (None, None)
    if (named.version, named.manifest_sha256) != recorded:
        return f"the pointer names {named.version}, the record's newest effect is of {recorded[0]}; {pointer.REPAIR}"
    made_by = newest.stored.decision.decision_id if newest else named.decision_id
    if named.trigger != pointer.RESTORED and named.decision_id != made_by:
        return f"the pointer names decision {named.decision_id}, the record {made_by}; {pointer.REPAIR}"
    if seen.generation < history.generation:
        return (
            f"the pointer is of generation {seen.generation}, the record knows {history.generation}; {pointer.REPAIR}"
        )
    return None


def _under_way(objects: Objects, decision_id: str, history: History) -> bool:
    recorded = history.verdicts.get(decision_id)
    done = any(effect.stored.decision.decision_id == decision_id for effect in history.effects)
    open_ = decisions.closed(objects, decision_id) is None
    return recorded is not None and recorded.decision.changes_champion and not done and open_


def _pointer(objects: Objects, keys: KeyFolder, seen: Seen, history: History) -> Iterator[str]:
    if wrong := not_as_recorded(objects, seen, history):
        yield wrong
    if seen.pointer is None or seen.version is None:
        return
    try:
        package = versions.verify(objects, keys, seen.version)
    except WRONG as error:
        yield f"the champion's package: {_said(error)}; force a known-good version"
        return
    if package.sha256 != seen.pointer.manifest_sha256:
        yield f"{seen.version} hashes to {package.sha256}, the pointer says {seen.pointer.manifest_sha256}"


def _documents(objects: Objects, seen: Seen, history: History) -> Iterator[str]:
    champions = states.listed(objects, "champion")
    if champions != ([] if seen.version is None else [seen.version]):
        yield f"the pointer names {seen.version}, documents say {champions}; {RECONCILE}"
    known = {effect.stored.decision.decision_id for effect in history.effects} | set(history.failed)
    for version in states.listed(objects):
        steps = states.read(objects, version)["history"]
        for made_by in {step["decision_id"] for step in steps if step["to"] == "champion"} - known:
            if not _under_way(objects, str(made_by), history):
                yield f"state/{version}.json: champion by decision {made_by}, which has no effect in the record"


def _objects(objects: Objects, history: History) -> Iterator[str]:
    """Every decision's object is its row."""
    stored = {s.decision.decision_id: s for s in decisions.listed(objects)}
    for decision_id, recorded in history.verdicts.items():
        found = stored.pop(decision_id, None)
        if found is None:
            yield f"decisions/{decision_id}.json is missing, the record has the verdict; {RECONCILE}"
        elif (rows.verdict_payload(found.decision), found.receipt) != (
            rows.verdict_payload(recorded.decision),
            recorded.receipt,
        ):
            yield f"decisions/{decision_id}.json is not what the record says"
    for decision_id in stored:
        yield f"decisions/{decision_id}.json has no row in the record"


def _quarantine(objects: Objects, history: History) -> Iterator[str]:
    """A mark is lifted by a person, or by a person who forces the version."""
    for version in states.listed(objects):
        state, marked = states.read(objects, version)["state"], history.quarantined.get(version)
        forced = any(e.version == version and marked and e.at > marked for e in history.effects)
        if marked and state != "quarantined" and not forced:
            yield f"state/{version}.json is {state}, the record says quarantined at {marked}"
        if state == "quarantined" and not marked:
            yield f"state/{version}.json is quarantined, the record does not say so"


def _said(error: PipelineError) -> str:
    return f"{type(error).__name__}: {error}"
