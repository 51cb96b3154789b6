"""The record as a book of questions: every number of a report is the answer to a named SQL statement.

A statement of ``sql/comply`` reads tables named as in the record and returns its numbers beside ``evidence``, the
list of entry hashes it read. The answer's pointer names statement, its digest, the checkpoint and the digest of those
rows, so that anybody with the record can ask again. Source: compliance.md sections 3 and 4.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import duckdb
import polars as pl

from pipeline_lib import sql


@dataclass(frozen=True)
class AsOf:
    """Which state of the record is asked: checkpoint, its root, the period [start, end) in UTC text."""

    ckpt_n: int
    root: str
    start: str
    end: str
    label: str
    verification: str
    """Verdict of the verification that covers the checkpoint; only INTACT may be filed."""


@dataclass(frozen=True)
class Pointer:
    query_id: str
    sql_sha256: str
    ckpt_n: int
    rows: int
    rows_sha256: str
    """SHA-256 over the sorted entry hashes the answer was computed from."""

    @property
    def text(self) -> str:
        return (
            f"query:{self.query_id}@{self.sql_sha256[:16]}?ckpt={self.ckpt_n}#rows={self.rows}:{self.rows_sha256[:16]}"
        )


@dataclass(frozen=True)
class Answer:
    values: tuple[Mapping[str, Any], ...]
    """Result rows without the evidence column; reals are Decimal or text, never float."""
    pointer: Pointer
    entries: tuple[str, ...]
    """Entry hashes behind the answer, sorted: what ``trace`` opens."""

    @property
    def one(self) -> Mapping[str, Any]:
        if len(self.values) != 1:
            raise ValueError(f"{self.pointer.query_id}: expected one row, found {len(self.values)}")
        return self.values[0]


class EvidenceBook:
    """Read-only questions over frames of the record (columns as in ``audit.query.frame``)."""

    def __init__(self, tables: Mapping[str, pl.DataFrame], as_of: AsOf) -> None:
        self.as_of = as_of
        self._db = duckdb.connect(config={"threads": 1})
        for name, frame in tables.items():
            self._db.register(name, frame.to_arrow())

    def ask(self, name: str) -> Answer:
        """Answer ``sql/comply/<name>.sql`` for the book's period.

        Raises:
            FileNotFoundError: no such statement. ValueError: the statement returns no evidence or a float.
        """
        statement = sql.load(f"comply/{name}")
        given = {"start": self.as_of.start, "end": self.as_of.end}
        result = self._db.execute(statement.text, {key: given[key] for key in statement.parameters})
        columns = [column[0] for column in result.description]
        if "evidence" not in columns:
            raise ValueError(f"comply/{name}: returns no column named evidence")
        rows = [dict(zip(columns, row, strict=True)) for row in result.fetchall()]
        entries = sorted({entry for row in rows for entry in (row.pop("evidence") or [])})
        for row in rows:
            for column, value in row.items():
                if isinstance(value, float):
                    raise ValueError(f"comply/{name}: {column} is a float; count, or use a decimal")
        hashed = hashlib.sha256("\n".join(entries).encode()).hexdigest()
        pointer = Pointer(name, statement.digest, self.as_of.ckpt_n, len(entries), hashed)
        return Answer(tuple(rows), pointer, tuple(entries))


def ratio(num: int | None, den: int | None) -> Decimal | None:
    """num/den as an exact decimal of six places; None (unknown) when the denominator is 0 or a count is missing."""
    if num is None or not den:
        return None
    return (Decimal(num) / Decimal(den)).quantize(Decimal("0.000001"))
