"""The fault table: each row is brought about on a real release, and what is seen is what the row says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.serve.faults import page
from tests.unit.serve.faults.table import TABLE, Seen
from tests.unit.serve.faults.world import World


@pytest.fixture
def world(bank: Any, tmp_path: Path) -> Iterator[World]:
    made = World(bank, tmp_path)
    yield made
    made.close()


@pytest.mark.parametrize("words", TABLE)
def test_what_breaks_is_seen_as_the_table_says(words: str, world: World) -> None:
    row = TABLE[words]
    row.bring_about(world)
    assert observed(world) == row.seen


def observed(world: World) -> Seen:
    """One request, and what it left in the record."""
    before = world.where()
    answer = world.ask()
    kept = [after - was for after, was in zip(world.where(), before, strict=True)]
    body = answer.body
    if answer.http != 200:
        assert kept == [0, 0]
        return Seen(answer.http, body["error"]["code"], "-", "-", "0")
    assert (body["receipt"] is None) == (not any(kept))
    if not body["tasks"]:
        return Seen(200, body["status"], "-", "-", rows(world, kept))
    return Seen(200, body["status"], layer(world, body), body["tasks"][world.task]["layer_reason"], rows(world, kept))


def layer(world: World, body: Any) -> str:
    layers = {task["layer"] for task in body["tasks"].values()}
    found = body["tasks"][world.task]["layer"]
    return "all 3" if layers == {3} else "as released" if found == 1 else str(found)


def rows(world: World, kept: list[int]) -> str:
    """How many entries, and where; the record verifies with them."""
    if kept == [4, 4]:
        return "4, both stores"
    if kept == [0, 4]:
        return "4, second store"
    return str(kept[0])


def test_the_page_shows_this_table() -> None:
    text = page.PAGE.read_text(encoding="utf-8")
    assert page.written(text) == text, "run python -m tests.unit.serve.faults.page"
