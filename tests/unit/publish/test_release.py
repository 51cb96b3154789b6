"""A release may be interrupted between any two writes; it is finished, taken back or voided, and recorded once."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pipeline_lib import signing
from pipeline_lib.errors import ActivationFailed, GateCannotJudge, PromotionUnrecorded, RequestRefused
from pipeline_lib.gate import signoff
from pipeline_lib.keys import KeyFolder
from pipeline_lib.publish import release as releases
from pipeline_lib.publish.targets.local_target import LIVE, LocalTarget
from pipeline_lib.registry import decisions, pointer, states
from pipeline_lib.settings import Place
from tests.unit.gate.conftest import MEMORY, policy, world
from tests.unit.gate.promotion_world import Tweaks, World, later

__all__ = ["policy", "world"]
WRITES = ("link", "replace", "rename")


class Crash(BaseException):
    """The process is gone: nothing in the library may catch this."""


@contextmanager
def crash_at(monkeypatch: pytest.MonkeyPatch, number: int) -> Iterator[list[int]]:
    """Die just before the ``number``-th durable write of the process, which is just after the one before."""
    count = [0]

    def dying(write: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> None:
            count[0] += 1
            if count[0] == number:
                raise Crash
            write(*args, **kwargs)

        return call

    with monkeypatch.context() as patched:
        for name in WRITES:
            patched.setattr(os, name, dying(getattr(os, name)))
        yield count


def weekly(world: World) -> None:
    """The end of a run: judge, ask, answer, release."""
    facts = world.judge()
    if facts["decision"] == "await_signoff":
        signoff.open_approval(world.settings, facts["decision_id"])
        world.approve(facts["decision_id"])
    releases.publish(world.ctx)


def require_converged(world: World, version: str) -> None:
    assert world.seen.version == version == world.target.serving()
    assert states.listed(world.ctx.objects, "champion") == [version]
    world.target.check(version)


@pytest.mark.parametrize("week", [1, 2])
def test_a_crash_at_any_write_is_healed_by_running_again(
    policy: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, week: int
) -> None:
    number, expected = 0, uninterrupted(policy, tmp_path / "reference", week)
    while True:
        number += 1
        with new_world(policy) as bank:
            version = prepared(bank, tmp_path / f"{number}", week)
            with crash_at(monkeypatch, number) as count:
                try:
                    weekly(bank)
                except Crash:
                    pass
            if count[0] < number:
                break
            weekly(bank)
            require_converged(bank, version)
            assert len(bank.rows("promotion_decision")) == (1 if week == 1 else 3)
            assert [bank.ctx.read(stage).content_hash for stage in ("gate", "publish")] == expected
            assert releases.reconcile(bank.settings) == []
    assert number > 15


def test_a_crash_at_any_write_of_a_release_is_healed_by_the_reconciler(
    policy: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    number = 0
    while True:
        number += 1
        with new_world(policy) as bank:
            version = prepared(bank, tmp_path / f"{number}", 1)
            stored = bank.stored(bank.judge()["decision_id"])
            with crash_at(monkeypatch, number) as count:
                try:
                    releases.release(bank.settings, stored.decision, stored.receipt)
                except Crash:
                    pass
            if count[0] < number:
                break
            releases.reconcile(bank.settings, now=later(minutes=3))  # the dead one's lock has ended
            assert releases.reconcile(bank.settings) == []
            require_converged(bank, version)
            assert len(bank.rows("promotion_decision")) == 1
    assert number > 7


@contextmanager
def new_world(policy: Any) -> Iterator[World]:
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as home:
        place = Place(dataset="synthetic", home=Path(home), threads=1)
        KeyFolder(place.keys).create_secrets(policy.audit.key_id)
        signing.create_keys(KeyFolder(place.keys))
        yield World(policy.model_copy(update={"place": place}))


def prepared(world: World, tmp: Path, week: int) -> str:
    """All stages before the gate; in the second week there is a champion."""
    if week == 1:
        version = str(world.package(Tweaks(), tmp).facts["version"])
        world.score(Tweaks(), None)
        return version
    world.bootstrap(tmp)
    return world.challenge(tmp)


def uninterrupted(policy: Any, tmp: Path, week: int) -> list[str]:
    with new_world(policy) as bank:
        prepared(bank, tmp, week)
        weekly(bank)
        return [bank.ctx.read(stage).content_hash for stage in ("gate", "publish")]


def test_releasing_again_changes_nothing(world: World, tmp_path: Path) -> None:
    version = world.bootstrap(tmp_path)
    stored = world.stored(world.ctx.read("gate").facts["decision_id"])
    before, rows = world.ctx.objects.get(pointer.KEY), len(world.rows("manifest_swap"))
    again = releases.release(world.settings, stored.decision, stored.receipt)
    assert (again.version, again.activated, again.generation) == (version, True, 1)
    assert world.ctx.objects.get(pointer.KEY) == before
    assert len(world.rows("manifest_swap")) == rows == 2


def test_an_effect_is_an_intent_and_its_outcome_under_one_action(world: World, tmp_path: Path) -> None:
    world.bootstrap(tmp_path)
    rows = sorted(world.rows("manifest_swap"), key=lambda row: row.header["ts"])
    assert [row.payload["phase"] for row in rows] == ["intent", "done"]
    assert len({row.payload["action_id"] for row in rows}) == 1


def test_nothing_is_released_without_a_receipt(world: World, tmp_path: Path) -> None:
    world.bootstrap(tmp_path)
    bootstrap = world.stored(world.ctx.read("gate").facts["decision_id"])
    version, decision_id = world.await_approval(tmp_path)
    approved = world.approve(decision_id)
    with pytest.raises(PromotionUnrecorded):
        releases.release(world.settings, approved, bootstrap.receipt)
    assert world.target.serving() != version
    assert not (world.target.folder / version).exists()


def test_a_decision_against_a_former_champion_is_refused(world: World, tmp_path: Path) -> None:
    first = world.bootstrap(tmp_path)
    _, decision_id = world.await_approval(tmp_path)
    approved = world.approve(decision_id)
    stored = world.stored(approved.decision_id)
    forced = world.challenge(tmp_path, Tweaks(seed=5))
    releases.release(world.settings, *world.force(forced, approver="second.person"))
    with pytest.raises(GateCannotJudge, match="CHAMPION_CHANGED"):
        releases.release(world.settings, stored.decision, stored.receipt)
    assert world.seen.version == forced
    assert "voided promote" in releases.reconcile(world.settings)[0]
    with pytest.raises(PromotionUnrecorded, match="was voided"):
        releases.release(world.settings, stored.decision, stored.receipt)
    assert len(world.rows("decision_voided")) == 1
    assert world.state(first) == "retired"


def test_an_old_decision_is_voided_and_the_run_may_decide_afresh(world: World, tmp_path: Path) -> None:
    version = prepared(world, tmp_path, 1)
    first = world.judge()["decision_id"]
    assert "voided bootstrap" in releases.reconcile(world.settings, now=later(minutes=16))[0]
    assert world.seen.tag is None
    second = world.judge()["decision_id"]
    assert second != first
    releases.publish(world.ctx)
    require_converged(world, version)
    assert decisions.closed(world.ctx.objects, first) is not None


class Silent(LocalTarget):
    """A target on which new versions do not answer."""

    def check(self, version: str) -> None:
        raise ActivationFailed(f"{version}: no answer in 30 s")


def test_a_first_version_that_does_not_answer_leaves_nothing_serving(world: World, tmp_path: Path) -> None:
    prepared(world, tmp_path, 1)
    world.judge()
    with pytest.raises(ActivationFailed):
        releases.publish(world.ctx, target=Silent(world.target.folder))
    assert (world.seen.version, world.seen.generation, world.target.serving()) == (None, 2, None)
    assert releases.reconcile(world.settings) == []


def test_a_crash_while_taking_back_is_healed(policy: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    number = 0
    while True:
        number += 1
        with new_world(policy) as bank:
            prepared(bank, tmp_path / f"{number}", 2)
            first = bank.seen.version
            facts = bank.judge()
            signoff.open_approval(bank.settings, facts["decision_id"])
            bank.approve(facts["decision_id"])
            with crash_at(monkeypatch, number) as count:
                try:
                    releases.publish(bank.ctx, target=Silent(bank.target.folder))
                except (Crash, ActivationFailed):
                    pass
            if count[0] < number:
                break
            releases.reconcile(bank.settings, now=later(minutes=3))  # the dead one's lock has ended
            assert releases.reconcile(bank.settings) == []
            require_converged(bank, str(bank.seen.version))
            if decisions.closed(bank.ctx.objects, decisions.signoff_id(facts["decision_id"])):
                assert bank.seen.version == first
    assert number > 8


def test_the_reconciler_brings_a_wandering_target_back(world: World, tmp_path: Path) -> None:
    first, second = world.bootstrap(tmp_path), world.promote(tmp_path)
    world.target.shift(first)
    assert releases.reconcile(world.settings) == [f"shifted local to {second}"]
    (world.target.folder / LIVE).unlink()
    releases.reconcile(world.settings)
    require_converged(world, second)
    assert len(world.rows("reconciled")) == 1  # the same repair of the same generation is one row


def test_what_was_lost_at_the_target_is_released_again(world: World, tmp_path: Path) -> None:
    version = world.bootstrap(tmp_path)
    live = world.target.folder / LIVE
    live.write_bytes(live.read_bytes().replace(b'"manifest_sha256":"', b'"manifest_sha256":"0'))
    assert f"released {version} again" in releases.reconcile(world.settings)[0]
    shutil.rmtree(world.target.folder / version)
    assert f"released {version} again" in releases.reconcile(world.settings)[0]
    require_converged(world, version)
    (world.target.folder / version / "students/churn_signal/model.txt").write_bytes(b"tree\nother")
    with pytest.raises(ActivationFailed, match="not the package"):
        releases.reconcile(world.settings)


def test_a_released_folder_that_was_touched_is_not_healthy(world: World, tmp_path: Path) -> None:
    version = world.bootstrap(tmp_path)
    (world.target.folder / version / "students/churn_signal/model.txt").write_bytes(b"tree\nother")
    with pytest.raises(ActivationFailed, match="not the package"):
        world.target.check(version)


def test_the_stage_acts_on_its_own_run_only(world: World, tmp_path: Path) -> None:
    world.bootstrap(tmp_path)
    other = world.ctx.read("gate").facts["decision_id"]
    world.challenge(tmp_path)
    world.judge()
    with pytest.raises(RequestRefused, match="this run's challenger is"):
        releases.publish(world.ctx, other)


def test_the_last_explicit_human_wins(world: World, tmp_path: Path) -> None:
    first = world.bootstrap(tmp_path)
    second = world.promote(tmp_path)
    third = world.challenge(tmp_path, Tweaks(seed=5))
    early = world.force(first, approver="second.person", request_id="early")
    late = world.force(third, approver="second.person", request_id="late")
    releases.release(world.settings, *early)
    releases.release(world.settings, *late)
    require_converged(world, third)
    assert world.seen.generation == 4
    assert world.state(second) == "retired"
