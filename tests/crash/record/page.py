"""Write the attack table and the crash table into docs/record-drills.md: ``python -m tests.crash.record --page``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipeline_lib.audit import tamper_drill
from tests.crash.record.scene import Result
from tests.crash.record.table import table

PAGE = Path(__file__).resolve().parents[3] / "docs" / "record-drills.md"


def written(text: str, name: str, body: str) -> str:
    """The page with one of its tables as it is now."""
    start, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
    before, _, rest = text.partition(start)
    _, _, after = rest.partition(end)
    return f"{before}{start}{body}\n{end}{after}"


def attacks() -> str:
    return tamper_drill.table(tamper_drill.run_drill())


def write(results: Sequence[Result]) -> None:
    text = written(PAGE.read_text(encoding="utf-8"), "attacks", attacks())
    PAGE.write_text(written(text, "crashes", table(results)), encoding="utf-8")
