"""The weekly rows in a file and in DynamoDB: the same answers, whole rows only, and never an older one over a newer."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest

from pipeline_lib.errors import RequestRefused, SettingsError
from pipeline_lib.gate.switches import require_not_stopped
from pipeline_lib.items import Items, SqliteItems, TableUnreadable, meta
from pipeline_lib.items.dynamo import DynamoItems
from pipeline_lib.objects import LocalObjects
from pipeline_lib.publish import dynamo_rows, tables
from pipeline_lib.runs import RunContext
from pipeline_lib.serve import everyone, local
from pipeline_lib.serve.tables import Tables
from pipeline_lib.settings import Place

from .conftest import DAY, FEATURES
from .stores import PREFIX, make_tables

URL = f"dynamodb:{PREFIX}"
OLDER, NEWER = DAY - timedelta(days=7), DAY
FILE = "feature_rows.sqlite"
CUSTOMERS = 12


def with_tables(ctx: RunContext, url: str | None, objects: LocalObjects | None = None) -> RunContext:
    place = ctx.settings.place.model_copy(update={"tables": url})
    settings = ctx.settings.model_copy(update={"place": place})
    return replace(ctx, settings=settings, objects=objects or ctx.objects)


@pytest.fixture
def weeks(bank: RunContext, tmp_path: Path, aws: str) -> Callable[[date, int], RunContext]:
    """A place of its own with DynamoDB, whose file holds some customers' rows of a day."""
    make_tables()

    def make(day: date, customers: int = CUSTOMERS) -> RunContext:
        folder = tmp_path / day.isoformat()
        file = folder / "serving" / bank.dataset / FILE
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(bank.objects.local_path(f"serving/{bank.dataset}/{FILE}").read_bytes())
        with closing(sqlite3.connect(file)) as database, database:
            kept = "SELECT subject_ref FROM feature_row ORDER BY 1 LIMIT ?"
            database.execute(f"DELETE FROM feature_row WHERE subject_ref NOT IN ({kept})", (customers,))
            database.execute("UPDATE meta SET body = json_set(body, '$.as_of', ?)", (day.isoformat(),))
            for table in ("meta", "feature_row"):
                database.execute(f"UPDATE {table} SET meta_id = ? || substr(meta_id, 11)", (day.isoformat(),))
            database.execute("UPDATE meta SET key = meta_id WHERE key != 'current'")
            database.execute("UPDATE feature_row SET income = ?", (day.toordinal(),))
        return with_tables(bank, URL, LocalObjects(folder))

    return make


def subjects(ctx: RunContext) -> list[str]:
    folder = ctx.objects.local_path(f"serving/{ctx.dataset}/{FILE}").parent
    return SqliteItems(folder).column("feature_row", "subject_ref")


def dates(ctx: RunContext, of: list[str]) -> list[date]:
    """Of every customer's row, the date its export says; the row itself must be of that export."""
    found = [Tables(DynamoItems(PREFIX, 5.0), 0).customer(one) for one in of]
    assert all(one is not None and one.income == one.refreshed.toordinal() for one in found)
    return [one.refreshed for one in found if one is not None]


def test_a_customer_is_the_same_from_both(own_bank: RunContext, aws: str) -> None:
    make_tables()
    tables.export(with_tables(own_bank, URL))
    folder = own_bank.objects.local_path(f"serving/{own_bank.dataset}/{FILE}").parent
    file, there = Tables(SqliteItems(folder), 0), Tables(DynamoItems(PREFIX, 5.0), 0)
    own = {one: file.customer(one) for one in subjects(own_bank)}
    assert len(own) == 240
    assert all(one is not None and one.refreshed == DAY and one.row.columns == tuple(FEATURES) for one in own.values())
    assert {one: repr(there.customer(one)) for one in own} == {one: repr(row) for one, row in own.items()}  # NaN
    assert meta.newest(file.items) == meta.newest(there.items)


def test_a_place_of_files_asks_nobody(own_bank: RunContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dynamo_rows, "copy", lambda ctx: pytest.fail("DynamoDB was asked"))
    tables.export(own_bank)


@pytest.fixture
def crash(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """The store is lost after so many rows; 0 = it is there."""
    put, lock, left = DynamoItems.put_unless_newer, threading.Lock(), [0, False]

    def broken(self: DynamoItems, table: str, *values: Any) -> bool:
        with lock:
            if left[1] and table == "feature_row":
                left[0] -= 1
                if left[0] < 0:
                    raise TableUnreadable("lost")
        return put(self, table, *values)

    monkeypatch.setattr(DynamoItems, "put_unless_newer", broken)

    def set_to(rows: int) -> None:
        left[:] = [rows, rows > 0]

    return set_to


def test_a_crash_leaves_whole_rows_and_a_repeat_finishes(weeks: Any, crash: Callable[[int], None]) -> None:
    older, newer = weeks(OLDER), weeks(NEWER)
    dynamo_rows.copy(older)
    crash(5)
    with pytest.raises(TableUnreadable, match="lost"):
        dynamo_rows.copy(newer)
    assert sorted(dates(newer, subjects(newer))) == [OLDER] * (CUSTOMERS - 5) + [NEWER] * 5
    assert str(meta.newest_id(DynamoItems(PREFIX, 5.0))).startswith(OLDER.isoformat())
    crash(0)
    dynamo_rows.copy(newer)
    assert dates(newer, subjects(newer)) == [NEWER] * CUSTOMERS
    assert str(meta.newest_id(DynamoItems(PREFIX, 5.0))).startswith(NEWER.isoformat())


def test_an_older_export_that_is_late_changes_nothing(weeks: Any) -> None:
    older, newer = weeks(OLDER), weeks(NEWER)
    dynamo_rows.copy(newer)
    before = DynamoItems(PREFIX, 5.0).all("feature_row"), DynamoItems(PREFIX, 5.0).all("meta")
    dynamo_rows.copy(older)
    assert (DynamoItems(PREFIX, 5.0).all("feature_row"), DynamoItems(PREFIX, 5.0).all("meta")) == before


def test_an_older_export_beside_a_newer_one_loses_row_by_row(weeks: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newer one begins and ends after the older one has looked, and before it writes its first row."""
    older, newer = weeks(OLDER), weeks(NEWER, CUSTOMERS - 1)
    put, begun = DynamoItems.put, []

    def interrupted(self: DynamoItems, *values: Any) -> None:
        put(self, *values)
        if not begun:
            begun.append(True)
            dynamo_rows.copy(newer)

    monkeypatch.setattr(DynamoItems, "put", interrupted)
    dynamo_rows.copy(older)
    assert dates(newer, subjects(newer)) == [NEWER] * (CUSTOMERS - 1)
    assert set(dates(older, subjects(older))) == {OLDER, NEWER}  # whom only the older one has is served from it
    assert str(meta.newest_id(DynamoItems(PREFIX, 5.0))).startswith(NEWER.isoformat())


def test_a_repeat_writes_nothing(weeks: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ctx = weeks(NEWER)
    dynamo_rows.copy(ctx)
    monkeypatch.setattr(DynamoItems, "put_unless_newer", lambda *values: pytest.fail("written again"))
    dynamo_rows.copy(ctx)


def test_rows_expire_a_month_after_their_last_use_and_exports_never(weeks: Any) -> None:
    ctx = weeks(NEWER)
    dynamo_rows.copy(ctx)
    client = boto3.client("dynamodb")
    rows = client.scan(TableName=f"{PREFIX}feature_row")["Items"]
    day = date.fromtimestamp(int(rows[0]["expires_at"]["N"]) + 12 * 3600)
    assert {row["expires_at"]["N"] for row in rows} == {rows[0]["expires_at"]["N"]}
    assert (day - NEWER).days == ctx.settings.serving.feature.hard_max_age_d + 30
    assert all("expires_at" not in one for one in client.scan(TableName=f"{PREFIX}meta")["Items"])


def test_a_file_replaced_half_way_is_not_mixed_in(weeks: Any) -> None:
    ctx = weeks(NEWER)
    with closing(sqlite3.connect(ctx.objects.local_path(f"serving/{ctx.dataset}/{FILE}"))) as database, database:
        database.execute("UPDATE feature_row SET meta_id = '2026-11-23.x'")
    with pytest.raises(TableUnreadable, match=r"2026-11-23\.x.*run this again"):
        dynamo_rows.copy(ctx)
    assert DynamoItems(PREFIX, 5.0).all("feature_row") == []


@pytest.fixture(params=["files", "dynamodb"])
def place(request: pytest.FixtureRequest, bank: RunContext, tmp_path: Path) -> tuple[RunContext, Items]:
    """A place and its tables, each with one week's rows and an empty state."""
    file = bank.objects.local_path(f"serving/{bank.dataset}/{FILE}").parent
    folder = tmp_path / "serving" / bank.dataset
    folder.mkdir(parents=True)
    for name in (FILE, "state.sqlite"):
        (folder / name).write_bytes((file / name).read_bytes())
    objects = LocalObjects(tmp_path)
    if request.param == "files":
        return with_tables(bank, None, objects), SqliteItems(folder)
    request.getfixturevalue("aws")
    items = make_tables()
    for table in ("meta", "feature_row"):
        for item in SqliteItems(folder).all(table)[:CUSTOMERS]:
            items.put(table, item)
    return with_tables(bank, URL, objects), items


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (None, "which is not in meta"),
        ("{", "meta"),
        ("[]", "an object expected"),
        ("{}", "KeyError"),
        ('{"columns": 3}', "TypeError"),
        (7, "meta"),
    ],
)
def test_a_row_whose_export_cannot_be_read_is_unreadable(place: tuple[RunContext, Items], body: Any, why: str) -> None:
    _, items = place
    row = items.all("feature_row")[0]
    items.put("feature_row", {**row, "meta_id": "2026-11-17.x"})
    if body is not None:
        items.put("meta", {"key": "2026-11-17.x", "meta_id": "2026-11-17.x", "body": body})
    with pytest.raises(TableUnreadable, match=why):
        Tables(items, 0).customer(row["subject_ref"])


def test_an_export_is_read_once_and_its_rows_each_time(place: tuple[RunContext, Items]) -> None:
    _, items = place
    rows, reads = items.all("feature_row")[:3], []

    class Counted:
        def __getattr__(self, name: str) -> Any:
            return getattr(items, name)

        def get(self, table: str, key: str) -> Any:
            reads.append(table)
            return items.get(table, key)

        def all(self, table: str) -> Any:
            pytest.fail(f"{table} was read whole")

    counted = Tables(Counted(), 0)
    assert all(counted.customer(row["subject_ref"]) for row in rows)
    assert (reads.count("meta"), reads.count("feature_row")) == (1, 3)


def test_a_file_replaced_between_the_two_reads_is_read_again(place: tuple[RunContext, Items]) -> None:
    _, items = place
    row = items.all("feature_row")[0]
    seen: list[str] = []

    class Replaced:
        def __getattr__(self, name: str) -> Any:
            return getattr(items, name)

        def get(self, table: str, key: str) -> Any:
            seen.append(table)
            return {**row, "meta_id": "gone"} if seen == ["feature_row"] else items.get(table, key)

    found = Tables(Replaced(), 0).customer(row["subject_ref"])
    assert found is not None
    assert found.refreshed == DAY


def test_the_gate_sees_a_switch_where_the_function_does(place: tuple[RunContext, Items]) -> None:
    ctx, items = place
    switch = {"id": "k1", "scope": "global", "target": "*", "fallback": "rule_based", "active": 1, "version": 1}
    items.put("kill_switch", {**switch, "id": "k2", "scope": "task"})
    items.put("kill_switch", {**switch, "id": "k3", "active": 0})
    require_not_stopped(ctx.settings, ctx.objects)
    items.put("kill_switch", switch)
    assert [one.switch_id for one in Tables(items, 0).switches()] == ["k1", "k2"]
    with pytest.raises(RequestRefused, match="kill switch k1 is on"):
        require_not_stopped(ctx.settings, ctx.objects)


def test_switches_that_cannot_be_read_stop_the_gate(bank: RunContext, tmp_path: Path, aws: str) -> None:
    for url in (None, "dynamodb:nobody-"):
        ctx = with_tables(bank, url, LocalObjects(tmp_path))
        with pytest.raises(RequestRefused, match="kill switches cannot be read"):
            require_not_stopped(ctx.settings, ctx.objects)


def test_the_date_of_the_rows_is_told_from_both(bank: RunContext, aws: str) -> None:
    make_tables()
    tables.export(with_tables(bank, URL))
    for url in (None, URL):
        assert local.refreshed_on(with_tables(bank, url).settings) == DAY


def test_everybody_is_answered_from_files_only(bank: RunContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "environment", lambda settings: {"SERVE_BUNDLE": "/v-1", "SERVE_MANIFEST_SHA256": "0"})
    with pytest.raises(SettingsError, match=f"must be files of the store, found {URL}"):
        everyone.plan(with_tables(bank, URL))


@pytest.mark.parametrize("url", ["dynamodb:", "s3://bucket/tables", "file:///tables", "bank-"])
def test_tables_elsewhere_are_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="PIPELINE_TABLES"):
        Place.from_environment({"PIPELINE_TABLES": url})
    assert Place.from_environment({"PIPELINE_TABLES": URL}).tables == URL
