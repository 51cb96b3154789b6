"""Stores of the record that fail, are full or are slow."""

from __future__ import annotations

import errno

from pipeline_lib.errors import StoreError
from tests.unit.serve.faults.table import STATIC, Seen, error, fault
from tests.unit.serve.faults.world import World

RECORD = "record"
SECOND = "4, second store"


@fault(RECORD, "the first store is down", Seen(rows=SECOND))
def first_down(world: World) -> None:
    world.record_stores()[0].down()


@fault(
    RECORD, "the first store goes down after answers were recorded: the chain goes on in the second", Seen(rows=SECOND)
)
def first_down_later(world: World) -> None:
    first, _ = world.record_stores()
    world.ask()
    first.down()


@fault(RECORD, "the first store is full", Seen(rows=SECOND))
def first_full(world: World) -> None:
    world.record_stores()[0].down(OSError(errno.ENOSPC, "No space left on device"))


@fault(RECORD, "the first store times out but has kept the entries", Seen(rows="4, both stores"))
def first_keeps(world: World) -> None:
    first, _ = world.record_stores()
    world.ask()
    first.keeps = True
    first.down(StoreError("read timeout"))


@fault(RECORD, "both stores are down", STATIC)
def both_down(world: World) -> None:
    for store in world.record_stores():
        store.down()


@fault(RECORD, "both stores are down, and static content is not allowed", error(503, "AUDIT_UNAVAILABLE"))
def both_down_alone(world: World) -> None:
    both_down(world)
    world.policy(static_content=False)


@fault(RECORD, "both stores were down and are up again", Seen())
def up_again(world: World) -> None:
    first, second = world.record_stores()
    both_down(world)
    world.ask()
    first.up()
    second.up()
    world.seconds += 6


@fault(RECORD, "somebody else wrote into the next place of the chain", Seen())
def place_taken(world: World) -> None:
    world.record_stores()
    world.take_next_place()
