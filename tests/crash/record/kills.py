"""SIGKILL: at random moments of many writers, at every step of the path, and inside LanceDB."""

from __future__ import annotations

import os
import random
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from pipeline_lib.audit import checkpoint, session
from pipeline_lib.settings import Settings
from tests.crash.kill import Nursery
from tests.crash.matrix import points
from tests.crash.record.scene import Ack, Child, Result, append, at, kept, once, opened, scratch, writing

FAMILY = "SIGKILL"
WRITERS = 8
PARTS = {
    "append": "at every write of: open a chain, append twice, record once",
    "checkpoint": "at every write of a checkpoint and its copy",
}
MOST_DELAY_S = 0.004
REPO = Path(__file__).resolve().parents[3]


def random_kills(folder: Path, kills: int, seed: int = 1, count: int = 40) -> Result:
    """So many processes killed while they write, eight at a time; the record is covered and loaded in between."""
    settings, dice, acks, done = scratch(folder), random.Random(seed), [], 0
    while done < kills:
        wave = min(WRITERS, kills - done)
        children = [_started(settings, f"k{done + at_}", count, dice.randint(0, count)) for at_ in range(wave)]
        acks += _watched(children, dice)
        done += wave
        if dice.random() < 0.3:
            session.commit(settings)
    said = f"{len(acks)} receipts"
    return Result(FAMILY, f"at a random moment, {WRITERS} processes at a time", kills, *kept(settings, acks), said)


def eight_writers(folder: Path, count: int = 60) -> Result:
    """Eight processes write while two others make checkpoints."""
    settings = scratch(folder)

    def sealing(_: Callable[[Ack], None]) -> None:
        for _ in range(10):
            checkpoint.seal(settings)

    children = [_started(settings, f"w{number}", count, None) for number in range(WRITERS)]
    children += [Child.start(sealing) for _ in range(2)]
    acks = _watched(children, random.Random(1))
    case = f"{WRITERS} processes write, 2 make checkpoints, nobody dies"
    return Result("at once", case, 1, *kept(settings, acks), f"{len(acks)} receipts")


def _started(settings: Settings, name: str, count: int, kill_after: int | None) -> Child:
    return Child.start(lambda say: writing(settings, name, count, say), kill_after)


def _watched(children: list[Child], dice: random.Random) -> list[Ack]:
    """Promises of all; each is killed a random moment after its time has come, which is inside a later append."""
    due: list[tuple[float, Child]] = [(_soon(dice), child) for child in children if child.kill_after == 0]
    talking = {child.pipe: child for child in children}
    while talking:
        ready, _, _ = select.select(list(talking), [], [], 0.0005 if due else 5)
        for pipe in ready:
            child = talking[pipe]
            before = len(child.acks)
            if not child.hear():
                del talking[pipe]
            elif child.kill_after and before < child.kill_after <= len(child.acks):
                due.append((_soon(dice), child))
        for moment, child in list(due):
            if time.monotonic() >= moment:
                os.kill(child.pid, signal.SIGKILL)
                due.remove((moment, child))
    for child in children:
        child.end()
    return [ack for child in children for ack in child.acks]


def _soon(dice: random.Random) -> float:
    return time.monotonic() + dice.uniform(0, MOST_DELAY_S)


def step_nursery() -> Nursery:
    """Processes that do one part of the path below a home; promises go to a file beside it."""

    def act(home: str, part: str) -> None:
        settings, acks = at(Path(home)), Path(f"{home}.acks")

        def say(ack: Ack) -> None:
            with acks.open("a") as file:
                file.write(ack.to_line())

        if part == "append":
            writer = opened(settings)
            for number in range(2):
                say(append(writer, f"step.{number}"))
            say(once(settings, "step.once"))
        else:
            checkpoint.seal(settings)

    return Nursery(act)


def step_kills(nursery: Nursery, folder: Path, part: str, every: int = 1) -> Result:
    """Kill before every write of a part, with the file torn and just after it where a name appears."""
    start, home = folder / "start", folder / "home"
    settings = scratch(home)
    acks = [append(opened(settings), "before")]
    session.commit(settings)
    if part == "checkpoint":
        acks.append(append(opened(settings), "covered.later"))
    home.rename(start)
    _fresh(start, home)
    _, writes = nursery.run(home, part=part)
    kills = acknowledged = whole = 0
    for write, how in points(writes, every):
        _fresh(start, home)
        killed, _ = nursery.run(home, write.number, how, part=part)
        kills += killed
        known = acks + [Ack.of(line) for line in Path(f"{home}.acks").read_text().splitlines()]
        again = append(opened(settings), "after")
        counted = kept(settings, [*known, again])
        acknowledged, whole = acknowledged + counted[0], whole + counted[1]
    return Result(FAMILY, PARTS[part], kills, acknowledged, whole, f"{len(writes)} writes")


def _fresh(start: Path, home: Path) -> None:
    shutil.rmtree(home, ignore_errors=True)
    shutil.copytree(start, home)
    Path(f"{home}.acks").write_text("")


LOADING = """
import sys
from pathlib import Path
from pipeline_lib.audit import load
from tests.crash.record.scene import at
load.load(at(Path(sys.argv[1])))
"""
CALLS = ("mkdir", "renameat", "linkat", "unlink")


def lance_kills(folder: Path, every: int = 1) -> Result | None:
    """Kill the loading process at the n-th system call that names something; None without strace.

    LanceDB writes outside Python, where no audit event tells of it.
    """
    if shutil.which("strace") is None:
        return None
    start, home = folder / "start", folder / "home"
    settings = scratch(home)
    acks = [append(opened(settings), f"before.{number}") for number in range(3)]
    checkpoint.seal(settings)
    home.rename(start)
    kills = acknowledged = 0
    for call, number in list(_lance_points())[::every]:
        _fresh(start, home)
        kills += _load_killed(home, call, number)
        acknowledged += kept(settings, acks)[0]
    return Result(FAMILY, "at every name that LanceDB makes while rows are loaded", kills, acknowledged, 0, "nothing")


def _lance_points() -> Iterator[tuple[str, int]]:
    return ((call, number) for number in range(1, 7) for call in CALLS)


def _load_killed(home: Path, call: str, number: int) -> bool:
    inject = f"inject={call}:signal=KILL:when={number}"
    command = ["strace", "-f", "-o", os.devnull, "-e", f"trace={call}", "-e", inject, sys.executable, "-c", LOADING]
    environment = {**os.environ, "PYTHONPATH": str(REPO), "TOKIO_WORKER_THREADS": "1"}
    done = subprocess.run([*command, str(home)], env=environment, capture_output=True, check=False)
    return done.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL)
