"""Real sources under the raw rules, twice: as their file declares them, and blind, as if nobody had said anything.

As declared, nothing may be accused. Blind, the rules that need no declaration must find the traps; a trap that they
cannot see is caught by its declaration alone, and the table says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from pipeline_lib import settings
from pipeline_lib.contracts import leakage
from pipeline_lib.contracts.leakage import RawSet
from pipeline_lib.contracts.leakage.raw import reason
from pipeline_lib.errors import RequestRefused
from pipeline_lib.features.leak_inputs import raw_set_of
from pipeline_lib.features.plants.run import PlantResult
from pipeline_lib.records import Finding
from pipeline_lib.settings import Place
from pipeline_lib.settings.leakage import Leakage

ALONE = "by its declaration alone"


def run_real(folders: Mapping[str, Path]) -> list[PlantResult]:
    """One row per trap that the sources declare, and two for the honest columns of each.

    Raises:
        RequestRefused: a folder does not hold the raw tables of its source.
    """
    return [row for name, folder in folders.items() for row in _judged(name, folder)]


def judge_raw(raw: RawSet, limits: Leakage) -> list[PlantResult]:
    declared = [f for f in leakage.raw_findings(raw, limits) if f.verdict != "WARN"]
    blind = [f for f in leakage.raw_findings(raw.blind(), limits) if f.verdict != "WARN"]
    seen = {f.column for f in blind}
    traps = {column: why for column, role, why in _traps(raw) if role in ("feature", "weight") or column in seen}
    honest = [f for f in blind if f.column not in traps and not _of_a_class(f)]
    return [
        _clean(f"{raw.name}: honest columns, as declared", declared),
        _clean(f"{raw.name}: honest columns, blind", honest),
        *(_trap(column, why, [f for f in blind if f.column == column]) for column, why in traps.items()),
        *(_bank_made(f) for f in blind if _of_a_class(f) and f.column not in traps),
    ]


def _judged(name: str, folder: Path) -> Iterator[PlantResult]:
    loaded = settings.load(name, Place(dataset=name, source=folder))
    raw, _ = raw_set_of(loaded.source, folder, loaded.leakage.raw.sample_rows)
    if not raw.tables:
        raise RequestRefused(f"{folder.name}/ holds none of the raw tables of {name}: {', '.join(loaded.source.raw)}")
    yield from judge_raw(raw, loaded.leakage)


def _traps(raw: RawSet) -> Iterator[tuple[str, str, str]]:
    """Raw columns that must not feed features, their role, and why."""
    for table in raw.tables:
        for name, column in table.columns.items():
            why = reason(column, raw.first_day)
            if why:
                yield f"{table.name}.{name}", column.role, column.why or why


def _of_a_class(f: Finding) -> bool:
    """A finding about one value of a column, not about the column."""
    return f.check == "R07"


def _clean(what: str, found: list[Finding]) -> PlantResult:
    accused = "; ".join(str(f) for f in found)
    return PlantResult(what, "-", "ACCUSED" if found else "PASSED", accused)


def _trap(column: str, why: str, found: list[Finding]) -> PlantResult:
    checks = ", ".join(dict.fromkeys(f.check for f in found))
    if not found:
        return PlantResult(column, "R01", "CAUGHT", f"{ALONE}: {why}")
    return PlantResult(column, checks, "CAUGHT", f"{found[0].statistic} = {found[0].value}. {why}")


def _bank_made(f: Finding) -> PlantResult:
    return PlantResult(f.column, f.check, "CAUGHT", f"{f.statistic} = {f.value}. {f.message}")
