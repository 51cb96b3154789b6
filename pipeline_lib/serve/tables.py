"""What the function may look up about a customer: keyed reads from small tables, one purpose each.

``feature_rows.sqlite`` is replaced as a whole by the nightly refresh; ``state.sqlite`` is changed row by row by
oversight. Each read opens the file, so a replaced file is seen at once. Everything unreadable raises
TableUnreadable, and the caller fails to the safe side: opted out, switched, blocked, not suitable.

In production these are keyed tables of the cloud; the layout is the same.
"""

from __future__ import annotations

import json
import sqlite3
import time
from array import array
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from pipeline_lib.errors import PipelineError
from pipeline_lib.serve.layers import Row

FEATURES, STATE = "feature_rows.sqlite", "state.sqlite"


class TableUnreadable(PipelineError):
    """A table is missing, locked, corrupt or has other columns."""


@dataclass(frozen=True)
class OptOut:
    opted_out: bool
    fallback: str | None
    """rule_based, human_review, disable; None = the policy's default."""


@dataclass(frozen=True)
class Switch:
    """One active kill switch."""

    switch_id: str
    scope: str
    """global, task or cluster."""
    target: str
    fallback: str


@dataclass(frozen=True)
class Contact:
    consent: bool
    do_not_contact: bool
    messages_7d: int


@dataclass(frozen=True)
class Assessment:
    tolerance: int | None
    assessed_at: date | None


@dataclass(frozen=True)
class TeacherSignals:
    """From the nightly teacher pass; never the student's, never without their date."""

    as_of: date
    gates: Mapping[str, Mapping[str, float]]
    """Task -> expert -> weight."""
    entropy: Mapping[str, float]


@dataclass(frozen=True)
class Customer:
    """One item of the feature table."""

    row: Row
    refreshed: date
    """When the row was made: its age counts from here."""
    snapshot: date
    """Date of the data it was made from."""
    held: tuple[str, ...]
    age: int | None
    income: float | None
    """Annual income in ``currency``."""
    currency: str
    protected: Mapping[str, str]
    teacher: TeacherSignals | None


@dataclass
class Tables:
    """Keyed reads under one folder."""

    folder: Path
    switch_cache_ms: int
    timeout_s: float = 0.2
    """How long a read or write may wait for somebody who holds the file [s]."""
    clock: Callable[[], float] = time.monotonic
    _switches: tuple[float, tuple[Switch, ...]] | None = field(default=None, init=False)

    def opt_out(self, subject: str) -> OptOut:
        found = self._one(STATE, "SELECT fallback FROM optout WHERE subject_ref = ?", subject)
        return OptOut(True, found[0]) if found else OptOut(False, None)

    def switches(self) -> tuple[Switch, ...]:
        """Active switches, at most ``switch_cache_ms`` old."""
        now = self.clock()
        if self._switches is None or (now - self._switches[0]) * 1000 >= self.switch_cache_ms:
            rows = self._all(STATE, "SELECT id, scope, target, fallback FROM kill_switch WHERE active = 1 ORDER BY id")
            self._switches = now, tuple(Switch(*(str(value) for value in row)) for row in rows)
        return self._switches[1]

    def contact(self, subject: str) -> Contact | None:
        sql = "SELECT consent, do_not_contact, messages_7d FROM contact WHERE subject_ref = ?"
        found = self._one(STATE, sql, subject)
        return Contact(bool(found[0]), bool(found[1]), int(found[2])) if found else None

    def assessment(self, subject: str) -> Assessment:
        found = self._one(STATE, "SELECT tolerance, assessed_at FROM suitability WHERE subject_ref = ?", subject)
        return Assessment(_int(found[0]), _date(found[1])) if found else Assessment(None, None)

    def customer(self, subject: str) -> Customer | None:
        """The customer's row, or None for somebody unknown (cold start)."""
        meta = {str(k): str(v) for k, v in self._all(FEATURES, "SELECT key, value FROM meta")}
        sql = (
            "SELECT features, snapshot_date, held, age, income, protected, gates FROM feature_row WHERE subject_ref = ?"
        )
        found = self._one(FEATURES, sql, subject)
        try:
            return _customer(meta, found) if found else None
        except (KeyError, ValueError, TypeError) as error:
            raise TableUnreadable(f"{FEATURES}: {type(error).__name__} {error}") from error

    def stored_answer(self, key: str, now: float, hours: int) -> tuple[str, str] | None:
        """(digest of the request, response) stored under an idempotency key, or None."""
        sql = "SELECT request_digest, response FROM idempotency WHERE key = ? AND stored_at > ?"
        found = self._one(STATE, sql, key, now - hours * 3600)
        return (str(found[0]), str(found[1])) if found else None

    def store_answer(self, key: str, digest: str, response: str, now: float) -> None:
        self._write("INSERT OR REPLACE INTO idempotency VALUES (?, ?, ?, ?)", key, digest, response, now)

    def record_assessment(self, subject: str, tolerance: int, assessed_at: date) -> None:
        """What a branch does after the suitability interview."""
        self._write("INSERT OR REPLACE INTO suitability VALUES (?, ?, ?)", subject, tolerance, assessed_at.isoformat())

    def _one(self, name: str, sql: str, *values: Any) -> tuple[Any, ...] | None:
        rows = self._all(name, sql, *values)
        return rows[0] if rows else None

    def _all(self, name: str, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        try:
            with closing(
                sqlite3.connect(f"file:{self.folder / name}?mode=ro", uri=True, timeout=self.timeout_s)
            ) as database:
                return database.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise TableUnreadable(f"{name}: {error}") from error

    def _write(self, sql: str, *values: Any) -> None:
        try:
            with (
                closing(
                    sqlite3.connect(f"file:{self.folder / STATE}?mode=rw", uri=True, timeout=self.timeout_s)
                ) as database,
                database,
            ):
                database.execute(sql, values)
        except sqlite3.Error as error:
            raise TableUnreadable(f"{STATE}: {error}") from error


def _customer(meta: Mapping[str, str], found: Sequence[Any]) -> Customer:
    columns = tuple(json.loads(meta["columns"]))
    values = _floats(found[0])
    if len(values) != len(columns):
        raise ValueError(f"a row of {len(values)} values for {len(columns)} columns")
    return Customer(
        row=Row(values, columns, meta["schema_hash"]),
        refreshed=date.fromisoformat(meta["as_of"]),
        snapshot=date.fromisoformat(found[1]),
        held=tuple(json.loads(found[2])),
        age=_int(found[3]),
        income=None if found[4] is None else float(found[4]),
        currency=meta["currency"],
        protected=json.loads(found[5]),
        teacher=_signals(meta, found[6]),
    )


def _signals(meta: Mapping[str, str], blob: bytes | None) -> TeacherSignals | None:
    """``tasks x (experts + 1)`` float32: the gate weights of each task and their entropy."""
    if blob is None:
        return None
    tasks, experts = json.loads(meta["gate_tasks"]), json.loads(meta["gate_experts"])
    width, values = len(experts) + 1, _floats(blob)
    by_task = {task: values[i * width : (i + 1) * width] for i, task in enumerate(tasks)}
    gates = {task: dict(zip(experts, row[:-1], strict=True)) for task, row in by_task.items()}
    return TeacherSignals(date.fromisoformat(meta["gates_as_of"]), gates, {t: row[-1] for t, row in by_task.items()})


def _floats(blob: bytes) -> array[float]:
    values = array("f")
    values.frombytes(blob)
    return values


def _int(value: Any) -> int | None:
    return None if value is None else int(value)


def _date(value: Any) -> date | None:
    return None if value is None else date.fromisoformat(value)
