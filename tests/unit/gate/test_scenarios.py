"""The scenario table of promotion.md section 15: one test for each row, by its number, through the real gate.

The rows are in the ``scenarios_*`` files; everything they bring about is real: packages, signatures, registry,
record. ``docs/gate.md`` shows the same table, and ``python -m tests.unit.gate.scenario_page`` writes it there.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.gate import scenario_page
from tests.unit.gate.promotion_world import World
from tests.unit.gate.scenario import TABLE

ROWS = 57


@pytest.mark.parametrize("number", sorted(TABLE))
def test_situation_has_its_verdict(number: int, world: World, tmp_path: Path) -> None:
    row = TABLE[number]
    assert row.bring_about(world, tmp_path) == (row.decision, row.effect)


def test_every_row_of_the_table_is_here() -> None:
    assert sorted(TABLE) == list(range(1, ROWS + 1))


def test_the_page_shows_this_table() -> None:
    text = scenario_page.PAGE.read_text(encoding="utf-8")
    assert scenario_page.written(text) == text, "run python -m tests.unit.gate.scenario_page"
