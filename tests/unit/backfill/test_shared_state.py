"""What every week writes to: two weeks at the same moment end as one after the other would."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import date
from io import BytesIO
from pathlib import Path

import polars as pl
import pytest

from pipeline_lib.ingest.customer_keys import write_index
from pipeline_lib.objects import LocalObjects
from pipeline_lib.publish import tables
from tests.unit.backfill.weeks import WEEKS, make_home, open_week, run_week

PEPPER = b"p" * 32
INDEX = "restricted/synthetic/customer_index.parquet"
OLDER, NEWER = WEEKS[0], WEEKS[1]


class Interrupted(LocalObjects):
    """A store in which another run gets in just before the first swap of a key."""

    def __init__(self, root: Path, key: str, other: Callable[[], None]) -> None:
        super().__init__(root)
        self._at, self._other = key, other

    def swap(self, key: str, data: bytes, tag: str | None) -> None:
        if key == self._at:
            self._at = ""
            self._other()
        super().swap(key, data, tag)


def customers(n: int) -> pl.DataFrame:
    return pl.DataFrame({"customer_id": [f"c{i}" for i in range(n)]}).with_columns(
        customer_key=pl.int_range(1, n + 1, dtype=pl.Int32)
    )


def write(objects: LocalObjects, n: int) -> None:
    write_index(objects, "synthetic", customers(n), PEPPER, may_replace=False)


def known(objects: LocalObjects) -> int:
    return pl.read_parquet(BytesIO(objects.get(INDEX))).height


@pytest.mark.parametrize(("own", "other"), [(3, 5), (5, 3)], ids=["older run is late", "newer run is late"])
@pytest.mark.parametrize("there", [0, 2])
def test_the_index_of_customers_knows_all_that_any_run_knew(tmp_path: Path, own: int, other: int, there: int) -> None:
    plain = LocalObjects(tmp_path)
    if there:
        write(plain, there)
    write(Interrupted(tmp_path, INDEX, lambda: write(plain, other)), own)
    assert known(plain) == 5


@pytest.fixture(scope="module")
def two_weeks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = make_home(tmp_path_factory.mktemp("two") / "bank", WEEKS[:2])
    for day in WEEKS[:2]:
        run_week(open_week(home, day), until="package")
    return home


@pytest.mark.parametrize(("own", "other"), [(OLDER, NEWER), (NEWER, OLDER)], ids=["older is late", "newer is late"])
def test_rows_that_answers_come_from_are_never_replaced_by_older_ones(two_weeks: Path, own: date, other: date) -> None:
    ctx, rival = open_week(two_weeks, own), open_week(two_weeks, other)
    key = "serving/synthetic/feature_rows.sqlite"
    ctx.objects.delete(key)
    root = two_weeks / "store"
    assert ctx.objects.url == f"file://{root}"
    tables.export(replace(ctx, objects=Interrupted(root, key, lambda: tables.export(rival))))
    assert tables.refreshed_on(ctx) == NEWER


def test_state_that_people_wrote_survives_a_run_that_was_about_to_create_it(two_weeks: Path) -> None:
    ctx, key = open_week(two_weeks, OLDER), "serving/synthetic/state.sqlite"
    ctx.objects.delete(key)

    def somebody_opts_out() -> None:
        tables.create_state(ctx)
        with closing(sqlite3.connect(ctx.objects.local_path(key))) as database, database:
            database.execute("INSERT INTO optout VALUES ('s_1', NULL, '2026-11-01')")

    tables.create_state(replace(ctx, objects=Interrupted(two_weeks / "store", key, somebody_opts_out)))
    with closing(sqlite3.connect(ctx.objects.local_path(key))) as database:
        assert database.execute("SELECT count(*) FROM optout").fetchone() == (1,)
