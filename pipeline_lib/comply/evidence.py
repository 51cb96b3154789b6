"""The record as a book of questions: every number of a report is the answer to a named SQL statement.

A statement of ``sql/comply`` reads tables named as in the record and returns its values beside ``evidence``, the
list of entry hashes they were computed from. The answer's pointer names the statement and its digest, the checkpoint
and the digest of those entries, so that anybody with the record can ask again. Source: compliance.md sections 3, 4.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import duckdb
import polars as pl

from pipeline_lib import sql

# One thread: the order of sums and lists does not depend on the machine. Extensions: nothing is fetched at run time.
_ENGINE: dict[str, str | bool | int | float | list[str]] = {"threads": 1, "autoinstall_known_extensions": "false"}
_POINTER = """
select count(*), sha256(coalesce(string_agg(entry, chr(10) order by entry), ''))
from (select distinct unnest(evidence) as entry from answer)
"""
_ENTRIES = "select distinct unnest(evidence) as entry from answer order by entry"


@dataclass(frozen=True)
class AsOf:
    """Which state of the record is asked: a checkpoint, and the period [start, end) in UTC text."""

    origin: str
    """Identity of the record: says whose and of which environment."""
    ckpt_n: int
    root: str
    """Merkle root at the checkpoint, hex."""
    start: str
    end: str
    label: str
    """The quarter, or the version that was promoted."""
    verification: str
    """Verdict of the verification that covers the checkpoint; only INTACT may be filed."""


@dataclass(frozen=True)
class Pointer:
    """What an answer rests on. The checkpoint is the book's."""

    query_id: str
    sql_sha256: str
    rows: int
    rows_sha256: str
    """Hex SHA-256 over the sorted entry hashes, one a line."""


@dataclass(frozen=True)
class Answer:
    values: tuple[Mapping[str, Any], ...]
    """Rows of the result without their evidence: counts, text and Decimals, never floats."""
    pointer: Pointer
    entries: tuple[str, ...]
    """Entry hashes behind the answer, sorted."""

    @property
    def one(self) -> Mapping[str, Any]:
        if len(self.values) != 1:
            raise ValueError(f"{self.pointer.query_id}: expected one row, found {len(self.values)}")
        return self.values[0]


class EvidenceBook:
    """Read-only questions over frames of the record (columns as in ``audit.query.frame``), each computed once."""

    def __init__(self, tables: Mapping[str, pl.DataFrame], as_of: AsOf) -> None:
        self.as_of = as_of
        self._answers: dict[str, Answer] = {}
        self._db = duckdb.connect(config=_ENGINE)
        for name, frame in tables.items():
            self._db.register(name, frame.to_arrow())

    @property
    def asked(self) -> list[Pointer]:
        """Pointers of every question so far, by name."""
        return [self._answers[name].pointer for name in sorted(self._answers)]

    def ask(self, name: str) -> Answer:
        """Answer ``sql/comply/<name>.sql`` for the book's period.

        Raises:
            FileNotFoundError: no such statement.
            ValueError: the statement returns no evidence, or a float.
        """
        if name not in self._answers:
            self._answers[name] = self._computed(name)
        return self._answers[name]

    def _computed(self, name: str) -> Answer:
        statement = sql.load(f"comply/{name}")
        given = {"start": self.as_of.start, "end": self.as_of.end}
        parameters = {key: given[key] for key in statement.parameters}
        self._db.execute(f"create or replace temp table answer as {statement.text}", parameters)
        columns = [column[0] for column in self._db.execute("from answer limit 0").description]
        if "evidence" not in columns:
            raise ValueError(f"comply/{name}: returns no column named evidence")
        result = self._db.execute("select * exclude (evidence) from answer order by rowid")
        shown = [column for column in columns if column != "evidence"]
        rows = tuple(dict(zip(shown, row, strict=True)) for row in result.fetchall())
        _require_exact(name, rows)
        ((count, hashed),) = self._db.execute(_POINTER).fetchall()
        entries = tuple(entry for (entry,) in self._db.execute(_ENTRIES).fetchall())
        return Answer(rows, Pointer(name, statement.digest, count, hashed), entries)


def _require_exact(name: str, rows: tuple[Mapping[str, Any], ...]) -> None:
    floats = sorted({column for row in rows for column, value in row.items() if isinstance(value, float)})
    if floats:
        raise ValueError(f"comply/{name}: {', '.join(floats)} is a float; count, or use a decimal")
