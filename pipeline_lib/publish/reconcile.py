"""Repair what a crash left between two writes: for the start of each run, and every few minutes.

    verdict in the record, no object    -> the object is written
    decision without effect, young      -> it takes effect
    ... old, or the champion moved      -> voided; the verdict's row stays
    pointer ahead of alias, documents   -> both follow the pointer
    version that did not answer         -> taken back
    repair of a lost pointer, not ended -> its done row is written
    published and referenced by nothing -> withdrawn after a day
    lost or moved at the target         -> released again

Source: promotion.md section 12.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from pipeline_lib.publish import steps
from pipeline_lib.publish.effect import give_effect
from pipeline_lib.publish.retention import tidy
from pipeline_lib.publish.steps import Releaser
from pipeline_lib.publish.targets import Target
from pipeline_lib.records import Decision
from pipeline_lib.registry import decisions, lease, pointer, repair, rows, states
from pipeline_lib.registry.decisions import StoredDecision
from pipeline_lib.registry.lease import Lease
from pipeline_lib.registry.pointer import Seen
from pipeline_lib.registry.smoke import Probe, complete_and_loadable
from pipeline_lib.settings import Settings


def reconcile(
    settings: Settings,
    *,
    target: Target | None = None,
    probe: Probe = complete_and_loadable,
    now: datetime | None = None,
) -> list[str]:
    """Make pointer, target, documents and record agree.

    Returns:
        what was repaired, in words; empty when all agree.

    Raises:
        GateCannotJudge: REGISTRY_CORRUPT: the pointer is lost or not ours; a person repairs it.
        ActivationFailed: what serves does not answer, or a released file was changed.
        LockBusy: somebody is judging or releasing, or died doing so less than ``lock_ttl_s`` ago.
    """
    here = Releaser.open(settings, target, probe, now)
    with lease.held(here.objects, "reconcile", settings.promotion.lock_ttl_s, here.now) as lock:
        done = list(_repairs(here, lock))
        generation, version = _recorded_under(here)
        for text in done:
            rows.operation(
                settings,
                "reconciled",
                f"reconciled:{generation}:{text}"[:150],
                object_type="pointer",
                object_id=version,
                reason=text,
                action_id=f"reconcile-{generation}",
            )
    return done


def _repairs(here: Releaser, lock: Lease) -> Iterator[str]:
    for decision_id in decisions.recover(here.settings, here.objects):
        yield f"wrote the object of verdict {decision_id}, which is in the record"
    waiting = [s for s in decisions.open_changes(here.objects) if not steps.took_effect(here.objects, s.decision)]
    pending = [stored.decision.decision_id for stored in waiting]
    for stored in waiting:
        yield _resolve(here, stored, pending, lock)
    seen = here.seen()
    pointer.keep(here.objects, seen)
    if seen.pointer is not None and seen.tag is not None and steps.failed(here, seen.pointer):
        seen = steps.take_back(here, seen.pointer, seen.tag)
        yield f"took back a version that did not answer; {seen.version} serves"
    if seen.pointer is not None and seen.pointer.trigger == pointer.REPAIRED:
        repair.conclude(here.settings, seen.pointer)
    seen, changed = steps.follow(here)
    yield from changed
    yield from tidy(here, seen)
    yield from steps.answering(here, seen)


def _recorded_under(here: Releaser) -> tuple[int, str]:
    seen = here.seen()
    return seen.generation, seen.version or "none"


def _resolve(here: Releaser, stored: StoredDecision, pending: list[str], lock: Lease) -> str:
    """Complete a decision without effect, or void it when it is old or the champion moved."""
    decision = stored.decision
    seen = here.seen(pending)
    pointed = seen.pointer is not None and seen.pointer.decision_id == decision.decision_id
    minutes = (here.now - datetime.fromisoformat(stored.recorded_at)).total_seconds() / 60
    moved = _moved(here, decision, seen)
    if pointed or not (moved or minutes > here.settings.promotion.effect_window_minutes):
        give_effect(here, decision, stored.receipt, lock)
        return f"completed {decision.decision} {decision.challenger_version} ({decision.decision_id})"
    why = "the champion moved since" if moved else "nobody gave it effect in time"
    lock.keep()
    _void(here, decision, why, "superseded" if moved else "expired")
    return f"voided {decision.decision} {decision.challenger_version} ({decision.decision_id}): {why}"


def _moved(here: Releaser, decision: Decision, seen: Seen) -> bool:
    """A verdict holds for the champion it was about; a person's command until a person commands again."""
    if decision.decision == "force_promote":
        return steps.forced_since(here.objects, seen, decision.decision_id) is not None
    return seen.generation != decision.champion_generation


def _void(here: Releaser, decision: Decision, why: str, left_as: str) -> None:
    """The verdict's row stays; its intent ends here, and a version whose approval it was waits for nobody."""
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
    version, question = decision.challenger_version, decision.body["basis_decision_id"]
    if decision.decision == "promote" and question and states.waits_for(here.objects, version, question):
        states.move(here.objects, version, left_as, rows.SERVICE, decision.decision_id, here.now)
