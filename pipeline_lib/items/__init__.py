"""A tiny keyed store: items by key from named tables. What they mean is in ``serve/tables.py`` and ``meta.py``.

Of a folder, ``feature_rows.sqlite`` is replaced as a whole by the nightly refresh and ``state.sqlite`` is changed row
by row by oversight; ``kept.sqlite`` is the function's own, made when it is first written. Each read looks whether the
file is still the one that it opened, so a replaced file is seen at once.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Protocol

from pipeline_lib.errors import PipelineError, SettingsError

FEATURES, STATE, KEPT = "feature_rows.sqlite", "state.sqlite", "kept.sqlite"

KEYS: Mapping[str, str] = {
    "meta": "key",
    "feature_row": "subject_ref",
    "optout": "subject_ref",
    "kill_switch": "id",
    "fairness_state": "id",
    "contact": "subject_ref",
    "suitability": "subject_ref",
    "idempotency": "key",
    "kept": "key",
}
"""Table -> name of its key."""
EXPIRING = ("kept",)
"""Items with ``stored_at`` and ``expires_at`` [s since 1970]: they may be lost at any time, and go when they expire."""
_KEPT_TABLE = """
CREATE TABLE IF NOT EXISTS kept (
    key TEXT PRIMARY KEY, body TEXT NOT NULL, stored_at REAL NOT NULL, expires_at REAL NOT NULL);
CREATE INDEX IF NOT EXISTS kept_expires_at ON kept (expires_at);
"""
REFRESHED = ("meta", "feature_row")
"""The nightly refresh owns these; oversight and the function own the others."""
TIMEOUT_S = 0.2
"""For tools that open tables beside the function, which has its policy's own [s]."""


class TableUnreadable(PipelineError):
    """A table is missing, locked, corrupt or holds something else than expected."""


class Items(Protocol):
    """Items are mappings of field name -> text, number, bytes or None, the key among them.

    Every method raises TableUnreadable and nothing else.
    """

    def get(self, table: str, key: str) -> Mapping[str, Any] | None:
        """The item as last written (strongly consistent), or None when there is none."""

    def all(self, table: str) -> list[Mapping[str, Any]]:
        """Every item, in no order: for small tables only."""

    def put(self, table: str, item: Mapping[str, Any], expires_at: float | None = None) -> None:
        """Write an item whole, over one of the same key.

        Args:
            expires_at: when the store may forget it [s since 1970], sooner or later; a reader looks at ages itself.
        """

    def swap(self, table: str, item: Mapping[str, Any], field: str, was: Any, expires_at: float | None = None) -> bool:
        """Write an item whole if that field of the one of its key is ``was`` (None: there is none); whether it did."""

    def delete(self, table: str, key: str) -> None:
        """Remove an item; one that is not there is no error."""


def open_items(url: str, timeout_s: float = TIMEOUT_S) -> Items:
    """The tables at ``file:///folder`` or ``dynamodb:<prefix of their names>``.

    Args:
        timeout_s: how long one read or write may wait for its store [s].

    Raises:
        SettingsError: another form.
        TableUnreadable: AWS's region or address is not known.
    """
    if url.startswith("file:///"):
        return SqliteItems(Path(url.removeprefix("file://")), timeout_s)
    scheme, _, prefix = url.partition(":")
    if scheme == "dynamodb" and prefix:
        from pipeline_lib.items.dynamo import DynamoItems

        return DynamoItems(prefix, timeout_s)
    raise SettingsError(f"serving tables are at file:///folder or dynamodb:<prefix>, found {url!r}")


class SqliteItems:
    """``Items`` in the three files of a folder.

    Args:
        timeout_s: how long a read or write may wait for somebody who holds a file [s].
    """

    def __init__(self, folder: Path, timeout_s: float = TIMEOUT_S) -> None:
        self._folder, self._timeout_s, self._threads = folder, timeout_s, threading.local()

    def get(self, table: str, key: str) -> Mapping[str, Any] | None:
        if table in EXPIRING and not (self._folder / KEPT).is_file():
            return None
        with self._opened(table, "ro") as database:
            row = database.execute(f"SELECT * FROM {table} WHERE {KEYS[table]} = ?", (key,)).fetchone()
        return None if row is None else dict(row)

    def all(self, table: str) -> list[Mapping[str, Any]]:
        if table in EXPIRING and not (self._folder / KEPT).is_file():
            return []
        with self._opened(table, "ro") as database:
            return [dict(row) for row in database.execute(f"SELECT * FROM {table}")]

    def column(self, table: str, name: str, first: str = "", end: str | None = None, most: int = -1) -> list[Any]:
        """One field of the items with keys from ``first`` on and before ``end``, by key; ``most`` of them (-1: all)."""
        key = KEYS[table]
        sql = f"SELECT {name} FROM {table} WHERE {key} >= ? AND (? IS NULL OR {key} < ?) ORDER BY {key} LIMIT ?"
        with self._opened(table, "ro") as database:
            return [row[0] for row in database.execute(sql, (first, end, end, most))]

    def pages(self, table: str, size: int) -> Iterator[list[Mapping[str, Any]]]:
        """Every item, by key, ``size`` at a time, of the one file that is there when the first is asked for."""
        with self._opened(table, "ro") as database:
            found = database.execute(f"SELECT * FROM {table} ORDER BY {KEYS[table]}")
            while page := found.fetchmany(size):
                yield [dict(row) for row in page]

    def put(self, table: str, item: Mapping[str, Any], expires_at: float | None = None) -> None:
        names, marks = ", ".join(item), ", ".join("?" * len(item))
        with self._opened(table, "rwc" if table in EXPIRING else "rw") as database, database:
            if table in EXPIRING:  # nothing of oversight is in that file, so nobody waits for the disk
                database.execute("PRAGMA synchronous = OFF")
                database.executescript(_KEPT_TABLE)
                database.execute(f"DELETE FROM {table} WHERE expires_at <= ?", (item["stored_at"],))
            database.execute(f"INSERT OR REPLACE INTO {table} ({names}) VALUES ({marks})", tuple(item.values()))

    def swap(self, table: str, item: Mapping[str, Any], field: str, was: Any, expires_at: float | None = None) -> bool:
        there = f"SELECT 1 FROM {table} WHERE {KEYS[table]} = ?"
        asked, given = (f"NOT EXISTS ({there})", ()) if was is None else (f"EXISTS ({there} AND {field} = ?)", (was,))
        names, marks = ", ".join(item), ", ".join("?" * len(item))
        sql = f"INSERT OR REPLACE INTO {table} ({names}) SELECT {marks} WHERE {asked}"
        with self._opened(table, "rw") as database, database:
            if expires_at is not None:  # those go that were written as long ago as this one is to stay
                database.execute(f"DELETE FROM {table} WHERE stored_at <= ?", (2 * item["stored_at"] - expires_at,))
            return database.execute(sql, (*item.values(), item[KEYS[table]], *given)).rowcount == 1

    def delete(self, table: str, key: str) -> None:
        if table in EXPIRING and not (self._folder / KEPT).is_file():
            return
        with self._opened(table, "rw") as database, database:
            database.execute("PRAGMA secure_delete = ON")  # its bytes are written over, not only let go
            database.execute(f"DELETE FROM {table} WHERE {KEYS[table]} = ?", (key,))

    @contextmanager
    def _opened(self, table: str, mode: str) -> Iterator[sqlite3.Connection]:
        path = self._folder / (FEATURES if table in REFRESHED else KEPT if table in EXPIRING else STATE)
        try:
            if mode == "ro":
                yield self._reader(path)
            else:
                with closing(self._connected(path, mode)) as database:
                    yield database
        except (sqlite3.Error, OSError) as error:
            raise TableUnreadable(f"{path.name}: {table}: {error}") from error

    def _reader(self, path: Path) -> sqlite3.Connection:
        """The thread's connection to the file that is there now; opening one costs more than a read."""
        name, found = path.name, os.stat(path)
        seen = (found.st_ino, found.st_size, found.st_mtime_ns)
        held: dict[str, Any] = self._threads.__dict__
        if name in held and held[name][0] == seen:
            opened: sqlite3.Connection = held[name][1]
            return opened
        if name in held:
            held.pop(name)[1].close()
        database = self._connected(path, "ro")
        held[name] = seen, database
        return database

    def _connected(self, path: Path, mode: str) -> sqlite3.Connection:
        database = sqlite3.connect(f"file:{path}?mode={mode}", uri=True, timeout=self._timeout_s)
        database.row_factory = sqlite3.Row
        return database
