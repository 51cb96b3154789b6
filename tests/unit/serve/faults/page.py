"""Write the fault table into ``docs/serving.md``: python -m tests.unit.serve.faults.page."""

from __future__ import annotations

from pathlib import Path

from tests.unit.serve.faults import models, sinks, table, tables

FAMILIES = (models, tables, sinks)
"""Importing them fills the table."""
PAGE = Path(__file__).resolve().parents[4] / "docs" / "serving.md"
START, END = "<!-- faults -->\n", "<!-- end of faults -->"


def written(text: str) -> str:
    """The page with the table as it is now."""
    before, _, rest = text.partition(START)
    _, _, after = rest.partition(END)
    return f"{before}{START}{table.page()}\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
