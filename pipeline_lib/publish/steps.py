"""The steps between a recorded decision and a version that serves. Each finds out whether it was done before.

Two releases at once end as the pointer says: whoever has written alias or documents looks at the pointer again
afterwards, and writes again if it moved (``follow``). Used by ``effect`` (one decision) and ``reconcile`` (whatever
a crash left).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

from pipeline_lib.business_time import utc_now
from pipeline_lib.errors import ActivationFailed, GateCannotJudge, SwapLost
from pipeline_lib.keys import KeyFolder
from pipeline_lib.objects import Objects, open_objects
from pipeline_lib.publish.targets import Target, open_target
from pipeline_lib.records import Decision, Receipt
from pipeline_lib.registry import decisions, effective, pointer, rows, states, versions
from pipeline_lib.registry.lease import Lease
from pipeline_lib.registry.pointer import Pointer, Seen
from pipeline_lib.registry.smoke import Probe
from pipeline_lib.settings import Settings

log = logging.getLogger(__name__)
ROUNDS = 8
"""Looks at a pointer, or tries at a document, that others keep moving."""
_MADE_BY_NO_VERDICT = (pointer.RESTORED, pointer.REPAIRED)


@dataclass(frozen=True)
class ReleaseResult:
    """``activated``: the decision took effect, now or before. ``serving`` is what serves after this call."""

    version: str
    target: str
    activated: bool
    serving: str | None
    generation: int


@dataclass(frozen=True)
class Releaser:
    """What every step needs."""

    settings: Settings
    objects: Objects
    keys: KeyFolder
    target: Target
    probe: Probe
    now: datetime
    wait: Callable[[float], None] = time.sleep
    """Between two looks at a staged version [s]."""

    @classmethod
    def open(cls, settings: Settings, target: Target | None, probe: Probe, now: datetime | None) -> Releaser:
        return cls(
            settings=settings,
            objects=open_objects(settings.place.root),
            keys=KeyFolder(settings.place.keys),
            target=target or open_target(settings.place.target),
            probe=probe,
            now=now or utc_now(),
        )

    def row(
        self, phase: rows.Phase, decision_id: str, version: str, reason: str, generation: int | None = None
    ) -> Receipt:
        """One ``manifest_swap`` row of a two-phase action; ``generation`` of the pointer once the phase is over."""
        details = {"decision_id": decision_id, "version": version, "target": self.target.name}
        return rows.operation(
            self.settings,
            rows.SWAP,
            f"{rows.SWAP}:{decision_id}:{phase}",
            object_type="pointer",
            object_id=version,
            reason=reason,
            action_id=f"swap-{decision_id}",
            phase=phase,
            severity="major" if phase == "failed" else "info",
            details=details if generation is None else {**details, "generation": generation},
        )

    def seen(self, pending: Collection[str] = ()) -> Seen:
        return pointer.read(self.objects, self.keys, pending)

    def result(self, decision: Decision, seen: Seen) -> ReleaseResult:
        return ReleaseResult(decision.challenger_version, self.target.name, True, seen.version, seen.generation)


def pointed(here: Releaser, decision: Decision, receipt: Receipt, lock: Lease | None) -> Pointer:
    """The pointer that this decision makes: through the door, unless a crashed call had got that far.

    A forced swap that is lost is tried again: the last explicit human wins. One that was lost to another process
    with the same decision is that process's.

    Raises:
        GateCannotJudge: CHAMPION_CHANGED: the swap was lost, or a person forced another version after this decision.
        LockBusy: the lock was lost while the target took the version.
    """
    attempts = here.settings.promotion.force.swap_attempts if decision.decision == "force_promote" else 1
    lost = SwapLost(f"{pointer.KEY}: no attempt")
    for attempt in range(attempts + 1):
        seen = here.seen((decision.decision_id,))
        if seen.pointer and seen.pointer.decision_id == decision.decision_id:
            return seen.pointer
        if by := forced_since(here.objects, seen, decision.decision_id):
            raise _changed(here, f"{seen.version} was forced by {by} after this decision")
        if attempt == attempts:
            break
        if seen.pointer:  # what served so far is on its document before the pointer forgets it
            _documented(here, seen)
        if lock is not None:
            lock.keep()
        try:
            return pointer.swap(here.settings, here.objects, decision, receipt, seen.tag, here.now)
        except SwapLost as found:
            lost = found
            log.warning("swap lost, attempt %d of %d: %s", attempt + 1, attempts, lost)
    raise _changed(here, str(lost)) from lost


def _changed(here: Releaser, why: str) -> GateCannotJudge:
    """Documents may have been written as of the pointer that is no more: they follow the new one first."""
    follow(here)
    return GateCannotJudge("CHAMPION_CHANGED", why)


def forced_since(objects: Objects, seen: Seen, decision_id: str) -> str | None:
    """Who forced what serves after the decision was recorded; None when nobody did."""
    stored = decisions.get(objects, decision_id)
    now = decisions.find(objects, seen.pointer.decision_id) if seen.pointer else None
    if now is None or now.decision.decision != "force_promote" or now.recorded_at <= stored.recorded_at:
        return None
    return now.decision.operator


def is_current(here: Releaser, mine: Pointer) -> bool:
    return here.seen((mine.decision_id,)).pointer == mine


def take_back(here: Releaser, failed: Pointer, tag: str) -> Seen:
    """Failed row, then alias, then pointer: back to what served before, unless another champion came meanwhile."""
    why = decisions.closed(here.objects, failed.decision_id) or {"reason": "unknown"}
    back = failed.generation + 1
    receipt = here.row("failed", failed.decision_id, str(failed.version), why["reason"], back)
    if failed.previous_version is not None:
        available(here, failed.previous_version)
    here.target.shift(failed.previous_version)
    try:
        pointer.restore(here.settings, here.objects, receipt, tag, here.now)
    except SwapLost as lost:
        log.warning("not taken back: %s", lost)
    seen, _ = follow(here)
    return seen


def follow(here: Releaser, references: Mapping[str, str] | None = None) -> tuple[Seen, list[str]]:
    """Alias and documents say what the pointer says, and still do after a last look at it.

    Args:
        references: version -> how the target calls it, where that is known.

    Returns:
        the pointer, and what was changed, in words.

    Raises:
        SwapLost: documents or pointer moved at every one of ``ROUNDS`` looks.
    """
    done: list[str] = []
    for _ in range(ROUNDS):
        seen = here.seen()
        if seen.pointer is None:
            return seen, done
        done += _shifted(here, seen)
        done += [f"rewrote the state of {version}" for version in _documented(here, seen, references)]
        if here.seen().tag == seen.tag:
            return seen, done
    raise SwapLost(f"{pointer.KEY}: it moved at each of {ROUNDS} looks")


def _shifted(here: Releaser, seen: Seen) -> list[str]:
    if here.target.serving() == seen.version:
        return []
    if seen.version is not None:
        available(here, seen.version)
    here.target.shift(seen.version)
    return [f"shifted {here.target.name} to {seen.version}"]


def answering(here: Releaser, seen: Seen) -> list[str]:
    """What serves answers and is what was released; what was lost at the target is released again.

    Raises:
        ActivationFailed: it still does not: a released file was changed, or the target is down.
    """
    if seen.version is None:
        return []
    try:
        here.target.check(seen.version)
    except ActivationFailed as failure:
        available(here, seen.version)
        here.target.shift(seen.version)
        here.target.check(seen.version)
        return [f"released {seen.version} again: {failure}"]
    return []


def _documented(here: Releaser, seen: Seen, references: Mapping[str, str] | None = None) -> list[str]:
    """Documents as of this pointer; a document that somebody else is writing is read again.

    The done row comes first, whoever writes it: what a document shows as champion is closed in the record.
    """
    named = seen.pointer
    assert named is not None, "nothing is documented before there is a pointer"
    if named.trigger not in _MADE_BY_NO_VERDICT and not shown(here.objects, str(named.version), named.decision_id):
        text = f"{named.version} is named by generation {named.generation} on {here.target.name}"
        here.row("done", named.decision_id, str(named.version), text, named.generation)
        log.info("%s", text)
    known = (references or {}).get(str(named.version))
    fields = {"lambda_version": known} if known else {}
    for _ in range(ROUNDS):
        try:
            return states.settle(here.objects, named.version, named.decision_id, rows.SERVICE, here.now, **fields)
        except SwapLost as lost:
            log.warning("documents: %s", lost)
    raise SwapLost(f"the documents of {named.version} and its predecessors moved at each of {ROUNDS} tries")


def available(here: Releaser, version: str) -> None:
    with versions.opened(here.objects, here.keys, version) as copy:
        here.target.publish(copy)


def failed(here: Releaser, now_at: Pointer | None) -> bool:
    """Its version did not answer and is to be taken back. What the record says took effect is in no file's hands.

    Raises:
        AuditError: the record does not verify.
    """
    if now_at is None or now_at.trigger in _MADE_BY_NO_VERDICT:
        return False
    end = decisions.closed(here.objects, now_at.decision_id)
    if end is None or end["outcome"] != "failed":
        return False
    history = effective.read(here.settings)
    return now_at.decision_id in history.failed or not history.took_effect(now_at.decision_id)


def took_effect(objects: Objects, decision: Decision) -> bool:
    return shown(objects, decision.challenger_version, decision.decision_id)


def shown(objects: Objects, version: str, decision_id: str) -> bool:
    """The version's document shows this decision as what made it champion."""
    history = states.read(objects, version)["history"]
    return any(step["to"] == "champion" and step["decision_id"] == decision_id for step in history)
