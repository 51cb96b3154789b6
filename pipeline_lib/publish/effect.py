"""One decision takes effect, in steps that may be interrupted anywhere.

    intent row -> publish to the target -> pointer (the door) -> (a share of the traffic) -> alias -> health
        -> done row -> state documents

Each step finds out whether it was done, so the same call finishes what a crash left. A version that does not
answer after the shift is taken back: failed row, alias, pointer. Source: promotion.md sections 8, 11 and 12.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from functools import partial

from pipeline_lib.errors import ActivationFailed
from pipeline_lib.publish import steps
from pipeline_lib.publish.steps import Releaser, ReleaseResult
from pipeline_lib.publish.targets import Target
from pipeline_lib.records import Decision, Receipt
from pipeline_lib.registry import decisions, lease, rows, versions
from pipeline_lib.registry.lease import Lease
from pipeline_lib.registry.pointer import Pointer
from pipeline_lib.registry.smoke import Probe, complete_and_loadable
from pipeline_lib.settings import Settings

log = logging.getLogger(__name__)


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

    A forced decision takes no lock: on-call waits for nobody, and the last explicit human wins.

    Raises:
        PromotionUnrecorded: the record does not hold this decision, or it was voided; nothing changed.
        GateCannotJudge: CHAMPION_CHANGED: the champion moved since the decision; nothing changed.
        ActivationFailed: the target did not take it, or it did not answer and the former version serves again.
        LockBusy: somebody else is at work; nothing changed.
    """
    here = Releaser.open(settings, target, probe, now)
    if decision.decision == "force_promote":
        return give_effect(here, decision, receipt, None)
    with lease.held(here.objects, f"release {decision.decision_id}", settings.promotion.lock_ttl_s, here.now) as lock:
        return give_effect(here, decision, receipt, lock)


def give_effect(here: Releaser, decision: Decision, receipt: Receipt, lock: Lease | None) -> ReleaseResult:
    """``release`` under a lock that the caller holds, if any. Raises as ``release``."""
    if steps.took_effect(here.objects, decision):
        return _hold(here, decision)
    rows.require_recorded(here.settings, decision, receipt)
    decisions.require_open(here.objects, decision.decision_id)
    version = decision.challenger_version
    here.row("intent", decision.decision_id, version, decision.reason)
    with versions.opened(here.objects, here.keys, version) as copy:
        here.probe(copy)
        reference = here.target.publish(copy)
    mine = steps.pointed(here, decision, receipt, lock)
    if steps.is_current(here, mine):
        _activated(here, mine, lock)
    seen, _ = steps.follow(here, {version: reference})
    return here.result(decision, seen)


def _activated(here: Releaser, mine: Pointer, lock: Lease | None) -> None:
    """The target serves it and it answers, or what served before does again.

    Raises:
        ActivationFailed: it did not answer, and nobody else moved the pointer meanwhile.
    """
    version, stage = str(mine.version), here.settings.promotion.stage
    # On-call waits for no stage, and a first version has nothing to be staged beside.
    staged = lock is not None and mine.previous_version is not None and stage.share > 0
    if lock is not None and staged and here.target.stage(version, stage.share):
        if not _answers(here, mine, partial(_looked_at, here, version, lock)):
            return
    here.target.shift(version)
    _answers(here, mine, partial(here.target.check, version))


def _looked_at(here: Releaser, version: str, lock: Lease) -> None:
    """Again and again while the version has its share of the traffic.

    Raises:
        ActivationFailed: it did not answer.
        LockBusy: the lock was lost meanwhile.
    """
    stage = here.settings.promotion.stage
    for look in range(1, stage.looks + 1):
        here.wait(stage.every_s)
        lock.keep()
        here.target.look(version)
        log.info("%s has %.0f %% of the traffic: look %d of %d", version, 100 * stage.share, look, stage.looks)


def _answers(here: Releaser, mine: Pointer, ask: Callable[[], None]) -> bool:
    """Whether it does; False when another champion came meanwhile: that one answers, and its pointer is followed.

    Raises:
        ActivationFailed: it does not, and what served before does again.
    """
    try:
        ask()
    except ActivationFailed as failure:
        seen = here.seen()
        if seen.pointer != mine or seen.tag is None:
            return False
        decisions.close(here.objects, mine.decision_id, "failed", str(failure))
        steps.take_back(here, mine, seen.tag)
        raise
    return True


def _hold(here: Releaser, decision: Decision) -> ReleaseResult:
    """The decision took effect before: all that is left is that the target follows the pointer."""
    seen, _ = steps.follow(here)
    return here.result(decision, seen)
