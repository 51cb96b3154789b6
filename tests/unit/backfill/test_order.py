"""Four past weeks get the same verdicts whatever the order they are judged in, and no backfill changes who serves."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from pipeline_lib.audit import session
from tests.unit.backfill.weeks import WEEKS, make_home, open_week, outcome, run_week, serves

MEMORY = Path("/dev/shm")  # noqa: S108  fsync costs nothing there


def in_order(home: Path) -> None:
    one_by_one(home, WEEKS)


def in_reverse(home: Path) -> None:
    one_by_one(home, WEEKS[::-1])


def in_parallel(home: Path) -> None:
    with ThreadPoolExecutor(len(WEEKS)) as pool:
        list(pool.map(lambda day: run_week(open_week(home, day)), WEEKS))


def killed_and_run_again(home: Path) -> None:
    """Two weeks done, the third dead before its verdict and the fourth before its scores; then all of it again."""
    for day, until in zip(WEEKS, ("gate", "gate", "drift", "package"), strict=True):
        run_week(open_week(home, day), until=until)
    one_by_one(home, WEEKS)


def one_by_one(home: Path, weeks: Sequence[date]) -> None:
    for day in weeks:
        run_week(open_week(home, day))


KEPT = ("manifests", "verdict", "comparison.md", "package manifest", "drift.json", "drift.png", "record")
ORDERS: tuple[Callable[[Path], None], ...] = (in_order, in_reverse, in_parallel, killed_and_run_again)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as name:
        yield Path(name)


@pytest.fixture(scope="module")
def before(folder: Path) -> Path:
    return make_home(folder / "before")


@pytest.fixture(scope="module")
def after(before: Path, folder: Path) -> dict[str, Path]:
    """Name of the order -> a copy of the bank after the backfill."""
    homes = {order.__name__: folder / order.__name__ for order in ORDERS}
    for order in ORDERS:
        shutil.copytree(before, homes[order.__name__])
        order(homes[order.__name__])
    return homes


@pytest.fixture(scope="module")
def outcomes(after: dict[str, Path]) -> dict[str, dict[date, dict[str, Any]]]:
    return {name: {day: outcome(home, day) for day in WEEKS} for name, home in after.items()}


@pytest.mark.parametrize("order", [order.__name__ for order in ORDERS[1:]])
@pytest.mark.parametrize("what", KEPT)
def test_the_order_of_a_backfill_changes_nothing(outcomes: dict[str, Any], order: str, what: str) -> None:
    for day in WEEKS:
        assert outcomes[order][day][what] == outcomes["in_order"][day][what]


def test_each_week_was_judged_in_full_and_as_a_dry_run(outcomes: dict[str, Any]) -> None:
    for week in outcomes["in_order"].values():
        assert week["verdict"]["mode"] == "dry_run"
        assert week["verdict"]["decision"] in ("await_signoff", "reject")
        (row,) = week["record"]
        assert row["details"]["comparison"], "the competition was reached"
        assert row["details"]["drift"]["champion"]["churn_signal"]["psi"] is not None
    assert len({week["package manifest"] for week in outcomes["in_order"].values()}) == len(WEEKS)


def test_a_backfill_changes_nothing_that_serves(before: Path, after: dict[str, Path]) -> None:
    was = serves(before)
    for home in after.values():
        now = serves(home)
        assert now.pop("rows as of") == WEEKS[-1], "the rows that are answered from are the newest there are"
        assert now == {name: value for name, value in was.items() if name != "rows as of"}
        assert session.verification(open_week(home, WEEKS[0]).settings).verdict == "INTACT"
