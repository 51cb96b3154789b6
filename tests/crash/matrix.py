"""Kill every flow at every write and look whether everything agrees again: ``python -m tests.crash.matrix``.

Three ways to go on are tried after each kill: the reconciler within 15 minutes, the reconciler later, and doing the
same again, as Airflow's retry does. Prints one table for each flow, in Markdown; exits 1 if anything did not agree.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import yaml

from pipeline_lib import settings
from pipeline_lib.runs import code_version
from pipeline_lib.settings import Place, Settings
from tests.crash import converged
from tests.crash.flows import FLOWS, Flow, fresh_world, open_world
from tests.crash.kill import How, Nursery, Write
from tests.unit.gate.promotion_world import POLICY

MEMORY = Path("/dev/shm")  # noqa: S108  fsync costs nothing there
GOING_ON = ("young", "late", "again")


@dataclass(frozen=True)
class Outcome:
    """One kill and what came of it."""

    write: Write
    how: How
    found: str
    ends: dict[str, str]


class Bench:
    """One flow, prepared once; each kill starts from a copy at the same place."""

    def __init__(self, shipped: Settings, nursery: Nursery, flow: Flow, root: Path) -> None:
        self.flow, self._shipped, self._nursery = flow, shipped, nursery
        self.home, self._start, self._dead = root / "home", root / "start", root / "dead"
        with tempfile.TemporaryDirectory() as tmp:
            flow.prepare(fresh_world(shipped, self.home), Path(tmp))
        self.home.rename(self._start)
        self._to(self._start)
        self.before = converged.facts(self._world())

    def writes(self) -> list[Write]:
        """A dry pass: every write of the flow."""
        return self._run()[1]

    def kill(self, write: Write, how: How) -> Outcome | None:
        """None when the flow was over before it could be killed."""
        killed, _ = self._run(write.number, how)
        if not killed:
            return None
        found = converged.found(self._world(), self.before)
        shutil.rmtree(self._dead, ignore_errors=True)
        self.home.rename(self._dead)
        return Outcome(write, how, found, {way: self._gone_on(way) for way in self._ways()})

    def _run(self, at: int = 0, how: How = "before") -> tuple[bool, list[Write]]:
        self._to(self._start)
        return self._nursery.run(self.home, at, how, number=FLOWS.index(self.flow))

    def _ways(self) -> Sequence[str]:
        return GOING_ON if self.flow.again else GOING_ON[:2]

    def _gone_on(self, way: str) -> str:
        self._to(self._dead)
        return self._converge(way)

    def _converge(self, way: str) -> str:
        world = self._world()
        try:
            if self.flow.name.startswith("repair") and way != "again":
                self.flow.act(world)  # nothing but the person's repair can go on
            if way == "again":
                self.flow.act(world)
            passes = converged.reconciled(world, converged.LATE if way == "late" else converged.YOUNG)
            needed = sum(1 for one in passes if one)
            end = converged.require_converged(world, self.before, self.flow.decides)
        except Exception as error:  # noqa: BLE001  the table shows it
            return f"FAILED {type(error).__name__}: {error}"
        return f"{end} ({needed} {'pass' if needed == 1 else 'passes'})"

    def _world(self) -> Any:
        return open_world(self._shipped, self.home, self.flow.weeks)

    def _to(self, state: Path) -> None:
        shutil.rmtree(self.home, ignore_errors=True)
        shutil.copytree(state, self.home, symlinks=True)


def points(writes: Sequence[Write], every: int, private: int = 1) -> Iterator[tuple[Write, How]]:
    """Before each write; where a name appears also with its file torn, and just after.

    Args:
        every: only every n-th write.
        private: ... and of those in private scratch folders only every n-th.
    """
    hidden = [write.number for write in writes if write.is_private]
    for write in writes[::every]:
        if write.is_private and hidden.index(write.number) % private:
            continue
        yield write, "before"
        if write.names_something:
            yield write, "torn"
            yield write, "after"


def outcomes(
    shipped: Settings, nursery: Nursery, flow: Flow, every: int = 1, private: int = 1
) -> tuple[int, list[Outcome]]:
    """Number of writes of the flow, and what came of each kill."""
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as root:
        bench = Bench(shipped, nursery, flow, Path(root))
        writes = bench.writes()
        found = [bench.kill(write, how) for write, how in points(writes, every, private)]
    return len(writes), [one for one in found if one is not None]


def nursery_of(shipped: Settings) -> Nursery:
    code_version()  # read once, not in every child

    def act(home: str, number: int) -> None:
        flow = FLOWS[number]
        flow.act(open_world(shipped, Path(home), flow.weeks))

    return Nursery(act)


def policy() -> Settings:
    with tempfile.TemporaryDirectory() as folder:
        layer = Path(folder) / "layer.yaml"
        layer.write_text(yaml.safe_dump(POLICY), encoding="utf-8")
        return settings.load("synthetic", Place(dataset="synthetic", overrides=layer))


def table(flow: Flow, writes: int, found: Sequence[Outcome]) -> str:
    """Kills with the same state and the same end share a row."""
    lines = [f"### {flow.name}", "", f"{writes} writes, {len(found)} kills.", ""]
    ways = [way for way in GOING_ON if way in (found[0].ends if found else ())]
    heads = {"young": "reconciled after 3 min", "late": "reconciled after 16 min", "again": "the same again"}
    lines += [f"| writes | up to | found | {' | '.join(heads[way] for way in ways)} |", "|---" * (3 + len(ways)) + "|"]
    for (state, ends), group in groupby(found, key=lambda one: (one.found, tuple(one.ends.values()))):
        kills = list(group)
        first, last = kills[0].write, kills[-1].write
        numbers = f"{first.number}" if first == last else f"{first.number}-{last.number}"
        lines.append(f"| {numbers} ({len(kills)} kills) | `{last.what}` | {state} | {' | '.join(ends)} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--flow", type=int, nargs="*", default=list(range(len(FLOWS))), help="numbers from 0")
    asked.add_argument("--every", type=int, default=1, help="only every n-th write")
    asked.add_argument("--private", type=int, default=1, help="of writes in private scratch only every n-th")
    asked.add_argument("--json", action="store_true", help="only the failures and counts, as JSON")
    given = asked.parse_args()
    logging.disable(logging.CRITICAL)  # thousands of forced releases announce themselves
    shipped = policy()
    nursery, failures, counts = nursery_of(shipped), [], {}
    for number in given.flow:
        flow, start = FLOWS[number], time.monotonic()
        writes, found = outcomes(shipped, nursery, flow, given.every, given.private)
        bad = [f"{flow.name}: {o.write} {o.how}: {o.ends}" for o in found if "FAILED" in str(o.ends)]
        failures += bad
        counts[flow.name] = {"writes": writes, "kills": len(found), "failures": len(bad)}
        if not given.json:
            print(table(flow, writes, found), flush=True)
            print(f"{flow.name}: {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
    print(json.dumps({"flows": counts, "failures": failures}) if given.json else "\n".join(failures) or "All agree.")
    return int(bool(failures))


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
