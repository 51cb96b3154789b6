"""From a recorded decision to a version that serves, in steps that may be interrupted anywhere.

    intent row -> publish to the target -> pointer (the door) -> alias -> health -> state documents -> done row

Each step finds out whether it was done, so the same call finishes what a crash left. A version that does not
answer after the shift is taken back: failed row, alias, pointer. The stage is ``publish``; ``reconcile`` repairs
what nobody came back for. Source: promotion.md sections 8, 11 and 12.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime

from pipeline_lib.business_time import utc_now
from pipeline_lib.errors import ActivationFailed, GateCannotJudge, PromotionUnrecorded, RequestRefused, SwapLost
from pipeline_lib.keys import KeyFolder
from pipeline_lib.objects import Objects, open_objects
from pipeline_lib.publish.targets import Target, open_target
from pipeline_lib.records import Decision, Receipt
from pipeline_lib.registry import decisions, pointer, rows, states, versions
from pipeline_lib.registry.decisions import StoredDecision
from pipeline_lib.registry.pointer import Pointer, Seen
from pipeline_lib.registry.smoke import Probe, complete_and_loadable
from pipeline_lib.runs import Out, RunContext, StageOutput
from pipeline_lib.settings import Settings

log = logging.getLogger(__name__)


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

    def row(self, phase: rows.Phase, decision_id: str, version: str, reason: str) -> Receipt:
        """One ``manifest_swap`` row of a two-phase action."""
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
            details={"decision_id": decision_id, "version": version, "target": self.target.name},
        )

    def result(self, decision: Decision, seen: Seen) -> ReleaseResult:
        return ReleaseResult(decision.challenger_version, self.target.name, True, seen.version, seen.generation)


def publish(
    ctx: RunContext,
    decision_id: str | None = None,
    *,
    target: Target | None = None,
    probe: Probe = complete_and_loadable,
) -> StageOutput:
    """The stage ``publish``: release what this run's verdict allows, or say that nothing was released.

    Args:
        decision_id: the verdict to act on; without one the gate's, or the human's answer to it.

    Raises:
        RequestRefused: the decision is not about this run's challenger.
        ActivationFailed, PromotionUnrecorded, GateCannotJudge: as ``release``.
    """
    gate = ctx.read("gate")
    stored = _verdict_of(ctx, gate, decision_id)
    target = target or open_target(ctx.settings.place.target)

    def make(out: Out) -> None:
        acts = stored is not None and stored.decision.changes_champion
        if stored is not None and acts:
            release(ctx.settings, stored.decision, stored.receipt, target=target, probe=probe)
        out.facts |= {
            "version": gate.facts["challenger_version"],
            "target": target.name,
            "activated": acts,
            "decision": stored.decision.decision if stored else gate.facts["decision"],
        }

    return ctx.produce("publish", make, [gate], {"decision": stored.decision.decision_id} if stored else None)


def release(
    settings: Settings,
    decision: Decision,
    receipt: Receipt,
    *,
    target: Target | None = None,
    probe: Probe = complete_and_loadable,
    now: datetime | None = None,
) -> ReleaseResult:
    """Give a recorded decision its effect; calling again finishes or finds it done.

    Raises:
        PromotionUnrecorded: the record does not hold this decision, or it was voided; nothing changed.
        GateCannotJudge: CHAMPION_CHANGED: the champion moved since the decision; nothing changed.
        ActivationFailed: the target did not take it, or it did not answer and the former version serves again.
    """
    here = Releaser.open(settings, target, probe, now)
    if _took_effect(here.objects, decision):
        return _hold(here, decision)
    rows.require_recorded(settings, decision, receipt)
    if end := decisions.closed(here.objects, decision.decision_id):
        raise PromotionUnrecorded(f"decision {decision.decision_id} was {end['outcome']}: {end['reason']}")
    version = decision.challenger_version
    here.row("intent", decision.decision_id, version, decision.reason)
    with versions.opened(here.objects, here.keys, version) as copy:
        here.probe(copy)
        reference = here.target.publish(copy)
    seen = _pointed(here, decision, receipt)
    here.target.shift(version)
    try:
        here.target.check(version)
    except ActivationFailed as failure:
        decisions.close(here.objects, decision.decision_id, "failed", str(failure))
        _take_back(here, seen)
        raise
    _finish(here, decision, reference)
    return here.result(decision, seen)


def reconcile(
    settings: Settings,
    *,
    target: Target | None = None,
    probe: Probe = complete_and_loadable,
    now: datetime | None = None,
) -> list[str]:
    """Repair what a crash left: complete young decisions, void old ones, and make target and documents follow the
    pointer. For the start of each run, and every few minutes.

    Returns:
        what was repaired, in words; empty when all agree.
    """
    here = Releaser.open(settings, target, probe, now)
    waiting = [s for s in decisions.open_changes(here.objects) if not _took_effect(here.objects, s.decision)]
    pending = [stored.decision.decision_id for stored in waiting]
    done = [text for stored in waiting if (text := _resolve(here, stored, pending))]
    seen = pointer.read(here.objects, here.keys)
    if _failed(here.objects, seen.pointer):
        seen = _take_back(here, seen)
        done.append(f"took back a version that did not answer; {seen.version} serves")
    done += _follow(here, seen)
    for text in done:
        rows.operation(
            settings,
            "reconciled",
            f"reconciled:{seen.generation}:{text}"[:150],
            object_type="pointer",
            object_id=seen.version or "none",
            reason=text,
            action_id=f"reconcile-{seen.generation}",
        )
    return done


def _verdict_of(ctx: RunContext, gate: StageOutput, decision_id: str | None) -> StoredDecision | None:
    """The decision to act on; None for a dry run, which has none."""
    if gate.facts["mode"] == "dry_run":
        return None
    stored = decisions.get(ctx.objects, decision_id or gate.facts["decision_id"])
    if stored.decision.decision == "await_signoff":
        stored = decisions.find(ctx.objects, decisions.signoff_id(stored.decision.decision_id)) or stored
    if stored.decision.challenger_version != gate.facts["challenger_version"]:
        raise RequestRefused(
            f"decision {stored.decision.decision_id} is about {stored.decision.challenger_version}, "
            f"this run's challenger is {gate.facts['challenger_version']}"
        )
    return stored


def _pointed(here: Releaser, decision: Decision, receipt: Receipt) -> Seen:
    """The pointer at this decision's version: through the door, unless a crashed call had got that far.

    A forced swap that is lost is tried again: the last explicit human wins.
    """
    attempts = here.settings.promotion.force.swap_attempts if decision.decision == "force_promote" else 1
    for attempt in range(1, attempts + 1):
        seen = pointer.read(here.objects, here.keys, (decision.decision_id,))
        if seen.pointer and seen.pointer.decision_id == decision.decision_id:
            return seen
        if seen.pointer:  # what served so far is on its document before the pointer forgets it
            states.settle(here.objects, seen.version, seen.pointer.decision_id, rows.SERVICE, here.now)
        try:
            pointer.swap(here.settings, here.objects, decision, receipt, seen.tag, here.now)
        except SwapLost as lost:
            if attempt == attempts:
                raise GateCannotJudge("CHAMPION_CHANGED", str(lost)) from lost
            log.warning("swap lost, attempt %d of %d: %s", attempt, attempts, lost)
    return pointer.read(here.objects, here.keys, (decision.decision_id,))


def _finish(here: Releaser, decision: Decision, reference: str) -> None:
    """Done row first: what its document shows as champion is closed in the record."""
    version, decision_id = decision.challenger_version, decision.decision_id
    here.row("done", decision_id, version, f"{version} answers on {here.target.name}")
    states.settle(here.objects, version, decision_id, rows.SERVICE, here.now, lambda_version=reference)
    log.info("%s serves on %s", version, here.target.name)


def _hold(here: Releaser, decision: Decision) -> ReleaseResult:
    """The decision took effect before: all that is left is that the target follows the pointer."""
    seen = pointer.read(here.objects, here.keys)
    _follow(here, seen)
    return here.result(decision, seen)


def _take_back(here: Releaser, seen: Seen) -> Seen:
    """Failed row, then alias, then pointer: back to what served before."""
    failed = seen.pointer
    assert failed is not None, "only a version that was pointed at can fail"
    assert seen.tag is not None, "a pointer that was read has a tag"
    why = decisions.closed(here.objects, failed.decision_id) or {"reason": "unknown"}
    receipt = here.row("failed", failed.decision_id, str(failed.version), why["reason"])
    if failed.previous_version is not None:
        _available(here, failed.previous_version)
    here.target.shift(failed.previous_version)
    pointer.restore(here.settings, here.objects, receipt, seen.tag, here.now)
    states.settle(here.objects, failed.previous_version, failed.decision_id, rows.SERVICE, here.now)
    return pointer.read(here.objects, here.keys)


def _resolve(here: Releaser, stored: StoredDecision, pending: list[str]) -> str | None:
    """Complete a decision without effect, or void it when it is old or the champion moved."""
    decision = stored.decision
    seen = pointer.read(here.objects, here.keys, pending)
    pointed = seen.pointer is not None and seen.pointer.decision_id == decision.decision_id
    minutes = (here.now - datetime.fromisoformat(stored.recorded_at)).total_seconds() / 60
    moved = decision.decision != "force_promote" and seen.generation != decision.champion_generation
    if pointed or not (moved or minutes > here.settings.promotion.effect_window_minutes):
        release(here.settings, decision, stored.receipt, target=here.target, probe=here.probe, now=here.now)
        return f"completed {decision.decision} {decision.challenger_version} ({decision.decision_id})"
    why = "the champion moved since" if moved else "nobody gave it effect in time"
    rows.operation(
        here.settings,
        "decision_voided",
        f"decision_voided:{decision.decision_id}",
        object_type="version",
        object_id=decision.challenger_version,
        reason=why,
        action_id=f"swap-{decision.decision_id}",
        phase="failed",  # ends the intent: there will be no effect
        severity="minor",
        details={"decision_id": decision.decision_id},
    )
    decisions.close(here.objects, decision.decision_id, "voided", why)
    _no_longer_waits(here, decision, "superseded" if moved else "expired")
    return f"voided {decision.decision} {decision.challenger_version} ({decision.decision_id}): {why}"


def _no_longer_waits(here: Releaser, decision: Decision, to: str) -> None:
    """A version whose approval was voided waits for nobody; a rerun judges it afresh."""
    version, question = decision.challenger_version, decision.body["basis_decision_id"]
    if decision.decision == "promote" and question and states.waits_for(here.objects, version, question):
        states.move(here.objects, version, to, rows.SERVICE, decision.decision_id, here.now)


def _follow(here: Releaser, seen: Seen) -> list[str]:
    """Alias and state documents say what the pointer says."""
    done: list[str] = []
    if seen.pointer is None:
        return done
    if here.target.serving() != seen.version:
        if seen.version is not None:
            _available(here, seen.version)
        here.target.shift(seen.version)
        done.append(f"shifted {here.target.name} to {seen.version}")
    repaired = states.settle(here.objects, seen.version, seen.pointer.decision_id, rows.SERVICE, here.now)
    return done + [f"rewrote the state of {version}" for version in repaired]


def _available(here: Releaser, version: str) -> None:
    with versions.opened(here.objects, here.keys, version) as copy:
        here.target.publish(copy)


def _failed(objects: Objects, now_at: Pointer | None) -> bool:
    if now_at is None or now_at.trigger == "restore":
        return False
    end = decisions.closed(objects, now_at.decision_id)
    return end is not None and end["outcome"] == "failed"


def _took_effect(objects: Objects, decision: Decision) -> bool:
    """The version's document shows this decision as what made it champion."""
    history = states.read(objects, decision.challenger_version)["history"]
    return any(step["to"] == "champion" and step["decision_id"] == decision.decision_id for step in history)
