"""Two processes at the pointer at once, again and again: ``python -m tests.crash.race``.

Two processes start together at a barrier, each with a small random delay. Afterwards, before and after one pass of
the reconciler: one champion, pointer equal to documents, target and record, one row per decision, generations in
order. Prints one table, in Markdown; exits 1 if anything did not agree.
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import os
import random
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from pipeline_lib.errors import PipelineError
from pipeline_lib.gate import force, signoff
from pipeline_lib.publish import release as releases
from pipeline_lib.registry import check, decisions, states
from pipeline_lib.settings import Settings
from tests.crash import converged
from tests.crash.flows import REASON, fresh_world
from tests.crash.matrix import MEMORY, policy
from tests.unit.gate.promotion_world import Tweaks, World

SPREAD_S = 0.06
"""Largest delay of one of the two [s]: so that either may come first, at any point of the other."""
OTHER = Tweaks(seed=5)


@dataclass(frozen=True)
class Contest:
    name: str
    prepare: Callable[[World, Path], Any]
    """Returns what the acts need to know, as plain values."""
    acts: tuple[Callable[[World, Any], str], Callable[[World, Any], str]]


def _two_first(world: World, tmp: Path) -> Any:
    for tweaks in (Tweaks(), OTHER):
        world.package(tweaks, tmp)
        world.score(tweaks, None)
        world.next_week()
    return None


def _two_challengers(world: World, tmp: Path) -> Any:
    world.bootstrap(tmp)
    world.challenge(tmp)
    world.challenge(tmp, OTHER)
    return None


def _promoted_and_challenged(world: World, tmp: Path) -> Any:
    first = world.bootstrap(tmp)
    world.promote(tmp)
    world.challenge(tmp, Tweaks(strength=4.0), Tweaks())
    return {"first": first}


def _asked(world: World, tmp: Path) -> Any:
    first = world.bootstrap(tmp)
    second = world.promote(tmp)
    third = world.challenge(tmp, Tweaks(strength=4.0), Tweaks())
    decision_id = world.judge()["decision_id"]
    signoff.open_approval(world.settings, decision_id)
    return {"first": first, "second": second, "third": third, "question": decision_id}


def _approved(world: World, tmp: Path) -> Any:
    known = _asked(world, tmp)
    world.approve(known["question"])
    return known


def judge(week: int) -> Callable[[World, Any], str]:
    """The gate's run of one Monday, released without a human if it passes."""

    def act(world: World, _: Any) -> str:
        world.monday += timedelta(days=7 * week)
        facts = world.with_policy(auto_promote=True).judge()
        releases.publish(world.ctx)
        return str(facts["decision"] if facts["mode"] == "evaluate" else facts["mode"])

    return act


def approve(world: World, known: Any) -> str:
    verdict = world.approve(known["question"])
    stored = world.stored(verdict.decision_id)
    releases.release(world.settings, stored.decision, stored.receipt)
    return "approved"


def forced(who: str, target: str = "first") -> Callable[[World, Any], str]:
    def act(world: World, known: Any) -> str:
        made = world.force(known[target], operator=who, approver="second.person", request_id=f"by-{who}")
        releases.release(world.settings, *made)
        return str(force.outcome(made[0], f"by-{who}"))

    return act


def roll_back(world: World, known: Any) -> str:
    made = force.rollback(
        world.settings, "on.call", REASON, request_id="back", approver="second.person", approver_signed_in=True
    )
    releases.release(world.settings, *made)
    return "rolled back"


def release(world: World, known: Any) -> str:
    stored = world.stored(decisions.signoff_id(known["question"]))
    releases.release(world.settings, stored.decision, stored.receipt)
    return "released"


def reconcile(world: World, known: Any) -> str:
    return (releases.reconcile(world.settings) or ["found nothing to do"])[0].split(" (")[0]


CONTESTS = (
    Contest("two gates, nothing serves yet", _two_first, (judge(0), judge(1))),
    Contest("two gates, two challengers, no human", _two_challengers, (judge(1), judge(2))),
    Contest("the same gate run twice", _two_challengers, (judge(2), judge(2))),
    Contest("gate against force", _promoted_and_challenged, (judge(2), forced("on.call"))),
    Contest("approve against force", _asked, (approve, forced("on.call"))),
    Contest("approve against approve", _asked, (approve, approve)),
    Contest("force against force", _asked, (forced("on.call"), forced("other.person", "third"))),
    Contest("approve against rollback", _asked, (approve, roll_back)),
    Contest("release against reconcile", _approved, (release, reconcile)),
)


def work(pipe: Connection, barrier: Any) -> None:
    """One of the two: waits for a task, then for the other, acts and says what came of it."""
    logging.disable(logging.CRITICAL)
    while (task := pipe.recv()) is not None:
        settings, contest, side, known, delay_s = task
        world = World(settings)
        barrier.wait()
        time.sleep(delay_s)
        try:
            pipe.send(CONTESTS[contest].acts[side](world, known))
        except PipelineError as error:
            pipe.send(f"{type(error).__name__} {getattr(error, 'code', '')}".strip())
        except BaseException:
            pipe.send("FAILED " + traceback.format_exc())


class Pair:
    """Two processes that are started once."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._barrier = context.Barrier(2)  # its semaphore lives as long as this reference
        self._pipes = []
        for _ in range(2):
            here, there = context.Pipe()
            context.Process(target=work, args=(there, self._barrier), daemon=True).start()
            self._pipes.append(here)

    def close(self) -> None:
        for pipe in self._pipes:
            pipe.send(None)

    def race(self, settings: Settings, contest: int, known: Any, random_: random.Random) -> tuple[str, str]:
        for side, pipe in enumerate(self._pipes):
            pipe.send((settings, contest, side, known, random_.uniform(0, SPREAD_S)))
        first, second = (pipe.recv() for pipe in self._pipes)
        return first, second


def prepared(shipped: Settings, number: int, root: Path, place: dict[str, Any]) -> tuple[World, Any]:
    contest = CONTESTS[number]
    world = fresh_world(shipped, root / "home", **place)
    with tempfile.TemporaryDirectory() as tmp:
        known = contest.prepare(world, Path(tmp))
    return World(world.settings), known


def once(pair: Pair, world: World, number: int, known: Any, chance: random.Random) -> tuple[tuple[str, str], str]:
    """One race: what each of the two said, and how it ended."""
    before = converged.facts(world)
    said = pair.race(world.settings, number, known, chance)
    if any(one.startswith("FAILED") for one in said):
        return said, "FAILED"
    try:
        at_once = check.examine(world.settings) == [] and world.target.serving() == world.seen.version
        converged.reconciled(world, converged.YOUNG)
        converged.require_converged(world, before, decides=2)
    except (AssertionError, PipelineError) as error:
        return said, f"FAILED {type(error).__name__}: {error}"
    champions = states.listed(world.ctx.objects, "champion")
    return said, f"1 champion, {'at once' if at_once else 'after reconcile'}" if len(champions) == 1 else "FAILED none"


def table(name: str, found: list[tuple[tuple[str, str], str]]) -> list[str]:
    rows = Counter((*said, end) for said, end in found)
    return [f"| {name} | {' | '.join(key)} | {count} |" for key, count in rows.most_common()]


def main() -> int:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--times", type=int, default=50)
    asked.add_argument("--contest", type=int, nargs="*", default=list(range(len(CONTESTS))), help="numbers from 0")
    asked.add_argument("--bucket", help="race in this S3 bucket, at AWS_ENDPOINT_URL, instead of a folder")
    asked.add_argument("--seed", type=int, default=1)
    asked.add_argument("--json", action="store_true")
    given = asked.parse_args()
    logging.disable(logging.CRITICAL)
    shipped, pair, chance, failures, summary = policy(), Pair(), random.Random(given.seed), [], {}  # noqa: S311
    if not given.json:
        print("| contest | one | the other | end | times |\n|---|---|---|---|---|")
    for number in given.contest:
        found = []
        for time_ in range(given.times):
            with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as root:
                folder = f"s3://{given.bucket}/{number}-{time_}" if given.bucket else None
                place = {"root": f"{folder}/store", "audit": f"{folder}/audit"} if folder else {}
                world, known = prepared(shipped, number, Path(root), place)
                found.append(once(pair, world, number, known, chance))
                shutil.rmtree(Path(root) / "home", ignore_errors=True)
        failures += [f"{CONTESTS[number].name}: {one}" for one in found if "FAILED" in str(one)]
        summary[CONTESTS[number].name] = len(found)
        if not given.json:
            print("\n".join(table(CONTESTS[number].name, found)), flush=True)
    pair.close()
    print(json.dumps({"races": summary, "failures": failures}) if given.json else "\n".join(failures) or "\nAll agree.")
    return int(bool(failures))


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
