"""Every way to the pointer, as something that can be prepared, done, killed and done again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from pipeline_lib import signing
from pipeline_lib.errors import ActivationFailed, RequestRefused
from pipeline_lib.gate import force, signoff
from pipeline_lib.keys import KeyFolder
from pipeline_lib.publish import release as releases
from pipeline_lib.publish.targets.local_target import LocalTarget
from pipeline_lib.registry import pointer, repair
from pipeline_lib.settings import Place, Settings
from tests.unit.gate.promotion_world import MONDAY, Tweaks, World

REASON = "Disparate impact breach on lending since 02:40"


class Silent(LocalTarget):
    """A target on which new versions do not answer."""

    def check(self, version: str) -> None:
        raise ActivationFailed(f"{version}: no answer in 30 s")


@dataclass(frozen=True)
class Flow:
    """``weeks``: how many Mondays after the first the run is of."""

    name: str
    prepare: Callable[[World, Path], None]
    act: Callable[[World], None]
    weeks: int = 1
    decides: int = 1
    """Verdicts that the act records."""
    again: bool = True
    """Whether doing it again is what a retry does."""


def open_world(settings: Settings, home: Path, weeks: int = 0, **elsewhere: str) -> World:
    place = Place(dataset="synthetic", home=home, threads=1, **elsewhere)
    world = World(settings.model_copy(update={"place": place}))
    world.monday = MONDAY + timedelta(days=7 * weeks)
    return world


def fresh_world(settings: Settings, home: Path, **elsewhere: str) -> World:
    world = open_world(settings, home, **elsewhere)
    KeyFolder(world.settings.place.keys).create_secrets(settings.audit.key_id)
    signing.create_keys(KeyFolder(world.settings.place.keys))
    return world


def _first(world: World, tmp: Path) -> None:
    world.package(Tweaks(), tmp)
    world.score(Tweaks(), None)


def _challenged(world: World, tmp: Path) -> None:
    world.bootstrap(tmp)
    world.challenge(tmp)


def _asked(world: World, tmp: Path) -> None:
    world.bootstrap(tmp)
    world.await_approval(tmp)


def _promoted(world: World, tmp: Path) -> None:
    world.bootstrap(tmp)
    world.promote(tmp)


def _decided(world: World, tmp: Path) -> None:
    _asked(world, tmp)
    _approve(world)


def _lost(world: World, tmp: Path) -> None:
    _promoted(world, tmp)
    world.ctx.objects.delete(pointer.KEY)


def _evaluate(world: World) -> None:
    world.judge()
    releases.publish(world.ctx)


def _evaluate_alone(world: World) -> None:
    """Outside production a pass may be released without a human."""
    _evaluate(world.with_policy(auto_promote=True))


def _approve(world: World) -> None:
    world.approve(world.ctx.read("gate").facts["decision_id"])


def _approve_and_release(world: World) -> None:
    _approve(world)
    releases.publish(world.ctx)


def _take_back(world: World) -> None:
    _approve(world)
    try:
        releases.publish(world.ctx, target=Silent(world.target.folder))
    except ActivationFailed:
        pass


def _force(world: World) -> None:
    former = world.seen.pointer
    assert former is not None
    version = str(former.previous_version if former.generation == 2 else former.version)
    decision, receipt = world.force(version, approver="second.person")
    releases.release(world.settings, decision, receipt)


def _rollback(world: World) -> None:
    decision, receipt = force.rollback(
        world.settings, "on.call", REASON, request_id="req-1", approver="second.person", approver_signed_in=True
    )
    releases.release(world.settings, decision, receipt)


def _ask(world: World) -> None:
    decision_id = world.judge()["decision_id"]
    signoff.open_approval(world.settings, decision_id)


def _reconcile(world: World) -> None:
    releases.reconcile(world.settings)


def _repair(world: World) -> None:
    try:
        repair.repair_pointer(world.settings, "on.call", REASON)
    except RequestRefused:  # it was repaired before the crash
        pass
    releases.reconcile(world.settings)


FLOWS = (
    Flow("evaluate -> release, the first version", _first, _evaluate, weeks=0),
    Flow("evaluate -> release, without a human", _challenged, _evaluate_alone),
    Flow("evaluate -> sign-off is asked for", _challenged, _ask),
    Flow("approve -> release", _asked, _approve_and_release),
    Flow("approve -> release, no answer -> taken back", _asked, _take_back, again=False),
    Flow("force -> release", _promoted, _force),
    Flow("rollback -> release", _promoted, _rollback),
    Flow("reconcile completes a decision", _decided, _reconcile, decides=0),
    Flow("repair of a lost pointer", _lost, _repair, decides=0),
)
