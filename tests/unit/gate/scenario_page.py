"""Write the scenario table into ``docs/gate.md``: python -m tests.unit.gate.scenario_page."""

from __future__ import annotations

from pathlib import Path

from tests.unit.gate import scenario, scenarios_competition, scenarios_operation, scenarios_packages, scenarios_people

FAMILIES = (scenarios_competition, scenarios_operation, scenarios_packages, scenarios_people)
"""Importing them fills the table."""
PAGE = Path(__file__).resolve().parents[3] / "docs" / "gate.md"
START, END = "<!-- scenarios -->\n", "<!-- end of scenarios -->"


def written(text: str) -> str:
    """The page with the table as it is now."""
    before, _, rest = text.partition(START)
    _, _, after = rest.partition(END)
    return f"{before}{START}{scenario.page()}\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
