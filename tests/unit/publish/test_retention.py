"""What stays published: the last champions and what a decision wants; an orphan goes after a day."""

from __future__ import annotations

import os
import time
from pathlib import Path

import boto3
import pytest

from pipeline_lib.errors import ActivationFailed
from pipeline_lib.publish import release as releases
from pipeline_lib.publish.targets.base import Target
from pipeline_lib.publish.targets.lambda_target import LambdaTarget
from pipeline_lib.registry import versions
from tests.unit.gate.conftest import policy, world
from tests.unit.gate.promotion_world import MONDAY, Tweaks, World, later, write_package

__all__ = ["policy", "world"]


def orphan(world: World, tmp: Path, seed: int, target: Target | None = None) -> str:
    """Published by a release that died before its decision could be told."""
    write_package(tmp / f"orphan-{seed}", MONDAY, Tweaks(seed=seed), world.keys)
    version = versions.register(world.ctx.objects, world.keys, tmp / f"orphan-{seed}").version
    with versions.opened(world.ctx.objects, world.keys, version) as copy:
        (target or world.target).publish(copy)
    return version


def test_an_orphan_goes_after_a_day_and_not_before(world: World, tmp_path: Path) -> None:
    champion = world.bootstrap(tmp_path)
    version = orphan(world, tmp_path, 7)
    assert releases.reconcile(world.settings, now=later(hours=23)) == []
    assert releases.reconcile(world.settings, now=later(hours=25)) == [f"withdrew {version} from local"]
    assert (set(world.target.published()), world.target.serving()) == ({champion}, champion)
    assert version in versions.listed(world.ctx.objects)


def test_what_a_kill_left_half_published_goes_too(world: World, tmp_path: Path) -> None:
    world.bootstrap(tmp_path)
    half = world.target.folder / ".tmp-abc"
    (half / "v20990101-00000000").mkdir(parents=True)
    (world.target.folder / ".tmp-live").write_text("{")
    for path in (half, world.target.folder / ".tmp-live"):
        os.utime(path, (time.time() - 90_000,) * 2)
    assert len(releases.reconcile(world.settings)) == 2
    assert [path.name for path in world.target.folder.iterdir() if path.name.startswith(".")] == []


def test_the_last_champions_stay_and_older_ones_are_published_again_when_needed(world: World, tmp_path: Path) -> None:
    few = world.with_policy(keep_published=2)
    names = [world.bootstrap(tmp_path)]
    for seed in (2, 3):
        names.append(world.challenge(tmp_path, Tweaks(seed=seed)))
        made = world.force(names[-1], approver="second.person", request_id=f"r{seed}")
        releases.release(world.settings, *made)
    assert releases.reconcile(few.settings, now=later(hours=25)) == [f"withdrew {names[0]} from local"]
    assert set(world.target.published()) == set(names[1:])
    releases.release(world.settings, *world.force(names[0], approver="second.person", request_id="back"))
    assert world.target.serving() == names[0]


def test_what_a_young_decision_wants_stays(world: World, tmp_path: Path) -> None:
    world.bootstrap(tmp_path)
    version, question = world.await_approval(tmp_path)
    world.approve(question)
    with versions.opened(world.ctx.objects, world.keys, version) as copy:
        world.target.publish(copy)
    os.utime(world.target.folder / version, (time.time() - 90_000,) * 2)
    slow = world.with_policy(effect_window_minutes=10_000)
    assert [text.split(" (")[0] for text in releases.reconcile(slow.settings)] == [f"completed promote {version}"]


def test_what_serves_cannot_be_withdrawn(world: World, tmp_path: Path) -> None:
    version = world.bootstrap(tmp_path)
    with pytest.raises(ActivationFailed, match="serves and cannot be withdrawn"):
        world.target.withdraw(version)
    world.target.withdraw("v20990101-00000000")


def test_a_function_version_is_withdrawn_and_the_aliased_one_is_not(world: World, tmp_path: Path, aws: str) -> None:
    trust = '{"Version": "2012-10-17", "Statement": []}'
    role = boto3.client("iam").create_role(RoleName="serve", AssumeRolePolicyDocument=trust)["Role"]["Arn"]
    target = LambdaTarget("recommend", role)
    first, second = orphan(world, tmp_path, 1, target), orphan(world, tmp_path, 2, target)
    target.shift(second)
    assert set(target.published()) == {first, second}
    assert all(since <= later() for since in target.published().values())
    target.withdraw(first)
    target.withdraw(first)
    assert set(target.published()) == {second}
    with pytest.raises(ActivationFailed, match="serves and cannot be withdrawn"):
        target.withdraw(second)
