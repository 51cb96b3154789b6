"""The scenario table of promotion.md section 15 as it is kept here: number, situation, what comes of it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pipeline_lib.errors import GateCannotJudge, RequestRefused
from pipeline_lib.records import Decision
from tests.unit.gate.exact import Figures, present
from tests.unit.gate.promotion_world import World

Situation = Callable[[World, Path], tuple[str, str]]
"""Brings it about; returns the decision, and the code or effect, as they were found."""


@dataclass(frozen=True)
class Scenario:
    number: int
    words: str
    decision: str
    effect: str
    bring_about: Situation


TABLE: dict[int, Scenario] = {}


def scenario(number: int, words: str, decision: str, effect: str) -> Callable[[Situation], Situation]:
    def keep(situation: Situation) -> Situation:
        assert number not in TABLE, f"two scenarios have number {number}"
        TABLE[number] = Scenario(number, words, decision, effect, situation)
        return situation

    return keep


def page() -> str:
    """The table of ``docs/gate.md``."""
    lines = ["| # | situation | decision | code or effect |", "|---|---|---|---|"]
    lines += [f"| {s.number} | {s.words} | {s.decision} | {s.effect} |" for _, s in sorted(TABLE.items())]
    return "\n".join(lines)


def judged(world: World, **options: Any) -> Decision:
    """This run's verdict, as it was recorded."""
    return world.stored(world.judge(**options)["decision_id"]).decision


def compared(world: World, tmp: Path, challenger: Figures, champion: Figures = Figures()) -> World:  # noqa: B008
    """A champion, and a challenger on rows with these figures."""
    world.bootstrap(tmp)
    world.challenge(tmp)
    present(world, champion, challenger)
    return world


def found(decision: Decision) -> tuple[str, str]:
    return decision.decision, f"`{decision.reason_code}`"


def refusal(call: Callable[[], object]) -> str:
    """What a refused request was told."""
    with pytest.raises(RequestRefused) as caught:
        call()
    return str(caught.value)


def error(call: Callable[[], object]) -> str:
    """The code of being unable to judge."""
    with pytest.raises(GateCannotJudge) as caught:
        call()
    return caught.value.code


@contextmanager
def pages() -> Iterator[list[str]]:
    """What on-call is paged about meanwhile."""
    heard: list[str] = []

    class Pager(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            heard.append(record.getMessage())

    pager = Pager(logging.CRITICAL)
    logging.getLogger("pipeline_lib").addHandler(pager)
    try:
        yield heard
    finally:
        logging.getLogger("pipeline_lib").removeHandler(pager)


def damage(world: World, version: str) -> None:
    """Change one byte of a model."""
    path = world.ctx.objects.local_path(f"registry/versions/{version}/students/churn_signal/model.txt")
    path.write_bytes(path.read_bytes().replace(b"v4", b"v5"))


def forced(world: World, version: str, **options: Any) -> Decision:
    decision, _ = world.force(version, **options)
    return decision


def advise(world: World, stage: str, **summary: Any) -> None:
    """Finish a stage whose advice the gate reads."""

    def make(out: Any) -> None:
        out.facts["summary"] = summary

    world.ctx.produce(stage, make, [world.ctx.read("score")], {"advice": repr(summary)})


def verdicts(world: World) -> int:
    return len(world.rows("promotion_decision"))
