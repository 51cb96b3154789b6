"""The promotion lock: one holder at a time, for as long as it says so."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from pipeline_lib.business_time import utc_now
from pipeline_lib.errors import LockBusy
from pipeline_lib.objects import Objects, open_objects
from pipeline_lib.publish import release as releases
from pipeline_lib.registry import lease
from tests.unit.gate.promotion_world import Tweaks, World, later

TTL_S = 120


@pytest.fixture
def objects(tmp_path: Path) -> Objects:
    return open_objects(f"file://{tmp_path}/store")


def test_a_second_holder_is_told_who_has_it(objects: Objects) -> None:
    with lease.held(objects, "first", TTL_S):
        with pytest.raises(LockBusy, match="held by first until"), lease.held(objects, "second", TTL_S):
            pass
    with lease.held(objects, "second", TTL_S):
        pass


def test_the_same_holder_comes_back_at_once_and_another_after_its_time(objects: Objects) -> None:
    lease.Lease(objects, "dead", TTL_S, utc_now()).keep()
    lease.Lease(objects, "dead", TTL_S, utc_now()).keep()
    with pytest.raises(LockBusy):
        lease.Lease(objects, "next", TTL_S, utc_now() + timedelta(seconds=TTL_S - 5)).keep()
    lease.Lease(objects, "next", TTL_S, utc_now() + timedelta(seconds=TTL_S + 5)).keep()


def test_a_lease_that_was_lost_stops_its_holder_and_is_left_to_the_other(objects: Objects) -> None:
    slow = lease.Lease(objects, "slow", 0, utc_now())
    slow.keep()
    other = lease.Lease(objects, "other", TTL_S, utc_now())
    other.keep()
    with pytest.raises(LockBusy, match="held by other"):
        slow.keep()
    slow.drop()
    with pytest.raises(LockBusy, match="held by other"):
        lease.Lease(objects, "third", TTL_S, utc_now()).keep()


def test_a_lease_is_dropped_when_its_work_fails(objects: Objects) -> None:
    with pytest.raises(ZeroDivisionError), lease.held(objects, "first", TTL_S):
        1 / 0  # noqa: B018
    with lease.held(objects, "second", TTL_S):
        pass


def test_a_release_waits_its_turn_and_a_forced_one_does_not(world: World, tmp_path: Path) -> None:
    first = world.bootstrap(tmp_path)
    _, question = world.await_approval(tmp_path)
    stored = world.stored(world.approve(question).decision_id)
    with lease.held(world.ctx.objects, "somebody", TTL_S):
        with pytest.raises(LockBusy):
            releases.release(world.settings, stored.decision, stored.receipt)
        with pytest.raises(LockBusy):
            releases.reconcile(world.settings)
        assert world.seen.version == first
        forced = world.challenge(tmp_path, Tweaks(seed=5))
        releases.release(world.settings, *world.force(forced, approver="second.person"))
        assert world.seen.version == forced
    assert "voided promote" in releases.reconcile(world.settings)[0]


def test_a_dead_holder_delays_the_reconciler_by_its_time_only(world: World, tmp_path: Path) -> None:
    world.bootstrap(tmp_path)
    lease.Lease(world.ctx.objects, "dead", TTL_S, utc_now()).keep()
    with pytest.raises(LockBusy):
        releases.reconcile(world.settings)
    assert releases.reconcile(world.settings, now=later(seconds=TTL_S + 5)) == []
