"""What breaks in the store at 3 a.m. is named, and stops only what rests on it."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from pipeline_lib.business_time import utc_now
from pipeline_lib.errors import ActivationFailed, GateCannotJudge, LockBusy, RequestRefused, SwapLost
from pipeline_lib.gate import standing
from pipeline_lib.publish import oversight
from pipeline_lib.publish import release as releases
from pipeline_lib.publish.targets.local_target import LocalTarget
from pipeline_lib.registry import check, decisions, effective, lease, pointer, repair, rows
from tests.unit.gate.promotion_world import Tweaks, World

REASON = "pointer file found empty after the disk was full"
BROKEN = {
    "a stray file among the pointer's copies": ("registry/pointer/past/readme.json", b"hello", None),
    "half a decision": ("registry/decisions/abc.json", b'{"decision": {', "registry/decisions/abc.json"),
    "a list for a decision": ("registry/decisions/abc.json", b"[1]", "found a JSON list"),
    "a state without its fields": ("registry/state/v20260101-00000000.json", b"{}", "without history"),
    "half a state": ("registry/state/v20260101-00000000.json", b"{", "registry/state/v20260101-00000000.json"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_an_unreadable_file_is_a_finding_and_stops_no_force(world: World, tmp_path: Path, name: str) -> None:
    first = world.bootstrap(tmp_path)
    world.promote(tmp_path)
    world.served_since(first, 30)
    key, data, said = BROKEN[name]
    world.ctx.objects.put(key, data)
    found = check.examine(world.settings)
    assert found == [] if said is None else any(said in finding for finding in found), found
    releases.release(world.settings, *world.force(first))
    assert world.seen.version == first


def test_a_lease_that_ends_in_a_lifetime_was_not_written_here(world: World) -> None:
    objects = world.ctx.objects
    for expires in ("2099-01-01T00:00:00+00:00", "2099-01-01T00:00:00", "soon"):
        objects.put(lease.KEY, json.dumps({"holder": "nobody", "expires_at": expires}).encode())
        with lease.held(objects, "me", 120):
            pass
    objects.put(lease.KEY, json.dumps(
        {"holder": "other", "expires_at": (utc_now() + timedelta(seconds=100)).isoformat()}).encode())  # fmt: skip
    with pytest.raises(LockBusy, match="held by other"), lease.held(objects, "me", 120):
        pass


def test_before_the_first_release_nobody_has_served(world: World, tmp_path: Path) -> None:
    version = str(world.package(Tweaks(), tmp_path).facts["version"])
    assert effective.read(world.settings).reigns(version, utc_now()) == []
    shown = standing.standing(world.settings)
    assert [one["version"] for one in shown["versions"]] == [version]


def during(monkeypatch: pytest.MonkeyPatch, act: Callable[[], None]) -> None:
    """``act`` happens once, just after the record was read."""
    read, done = effective.read, []

    def slow(settings: Any) -> Any:
        found = read(settings)
        if not done:
            done.append(True)
            act()
        return found

    monkeypatch.setattr(effective, "read", slow)


def test_a_force_during_the_check_is_no_alarm(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = world.bootstrap(tmp_path)
    world.promote(tmp_path)
    world.served_since(first, 30)
    during(monkeypatch, lambda: releases.release(world.settings, *world.force(first)) and None)
    assert check.examine(world.settings) == []
    assert world.seen.version == first


def test_a_repair_never_undoes_a_force_that_came_in_between(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = world.bootstrap(tmp_path)
    world.promote(tmp_path)
    world.served_since(first, 30)
    during(monkeypatch, lambda: releases.release(world.settings, *world.force(first)) and None)
    with pytest.raises((SwapLost, RequestRefused, GateCannotJudge)):
        repair.repair_pointer(world.settings, "on.call", REASON)
    assert (world.seen.version, world.target.serving()) == (first, first)


def test_what_was_done_and_then_did_not_answer_serves_nobody(world: World, tmp_path: Path) -> None:
    """The reconciler completed a force; then the force's own health check failed: two rows, one truth."""
    first = world.bootstrap(tmp_path)
    second = world.promote(tmp_path)
    made = effective.read(world.settings).newest
    assert made is not None
    assert made.version == second
    decision_id = made.stored.decision.decision_id
    rows.operation(world.settings, rows.SWAP, f"{rows.SWAP}:{decision_id}:failed", object_type="version",
                   object_id=second, reason="GET /v1/health: 500", action_id=decision_id, phase="failed",
                   details={"decision_id": decision_id, "generation": 2})  # fmt: skip
    history = effective.read(world.settings)
    assert history.newest is not None
    assert (history.newest.version, history.took_effect(decision_id)) == (first, False)
    assert decisions.find(world.ctx.objects, decision_id) is not None
    assert pointer.newest_past(world.ctx.objects) >= 1


def test_a_force_that_fails_after_the_reconciler_completed_it_leaves_a_sound_registry(
    world: World, tmp_path: Path
) -> None:
    """Done and failed are rows of one swap and its way back: the record knows no generation that was never made."""

    class Slow(LocalTarget):
        looks = 0

        def check(self, version: str) -> None:
            self.looks += 1
            if self.looks == 1:
                releases.reconcile(world.settings)
                raise ActivationFailed("one probe timed out")
            super().check(version)

    first = world.bootstrap(tmp_path)
    second = world.promote(tmp_path)
    world.served_since(first, 30)
    with pytest.raises(ActivationFailed, match="timed out"):
        releases.release(world.settings, *world.force(first), target=Slow(world.target.folder))
    assert {row.payload["phase"] for row in world.rows("manifest_swap")} == {"intent", "done", "failed"}
    assert effective.read(world.settings).generation == world.seen.generation
    assert (world.target.serving(), oversight.verify_champion(world.settings)["champion"]) == (second, second)
