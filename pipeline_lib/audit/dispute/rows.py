"""Rows of the query tables as of one checkpoint, by condition; never more than was asked for."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pipeline_lib.audit import chain
from pipeline_lib.audit.load import HEADER, SCHEMA, log_tables
from pipeline_lib.audit.storecheck import sealed_header
from pipeline_lib.store import QueryStore, quarter_table


@dataclass(frozen=True)
class Row:
    """One entry as the query table holds it."""

    stored: dict[str, Any]
    payload: dict[str, Any] | None
    """None: retention or an erasure took it; header and hash remain."""

    @property
    def ts(self) -> str:
        return str(self.stored["ts"])

    @property
    def event(self) -> str:
        return str(self.stored["event"])

    @property
    def leaf_index(self) -> int:
        return int(self.stored["leaf_index"])

    @property
    def said(self) -> dict[str, Any]:
        """The payload without its salt; empty when it is gone."""
        return {key: value for key, value in (self.payload or {}).items() if key != "salt"}

    @property
    def leaf(self) -> bytes:
        """The leaf that the stored columns hash to."""
        return chain.leaf(sealed_header(self.stored))

    @property
    def payload_holds(self) -> bool:
        """Is the payload the one that was hashed? One that is gone contradicts nothing."""
        if self.payload is None:
            return True
        return chain.content_hash(str(self.stored["payload"]).encode()) == str(self.stored["content_hash"])

    def ref(self) -> dict[str, Any]:
        """Where the entry is: enough to find it in the evidence and under its checkpoint."""
        names = ("log_table", "event", "writer_id", "epoch", "seq", "ts", "clock", "leaf_index", "ckpt_n", "entry_hash")
        return {name: self.stored[name] for name in names}


class Rows:
    """Args: as_of: no row that a later checkpoint covered is seen."""

    def __init__(self, store: QueryStore, as_of: int) -> None:
        self._store, self._as_of, self._names = store, as_of, store.names()

    def find(self, table: str, condition: str, since: str = "", until: str = "9999-12-31") -> list[Row]:
        """Entries of one log table with ``since <= ts < until``, in leaf order.

        Args:
            condition: SQL of ours; values from outside go through ``text``.
        """
        where = f"ckpt_n <= {self._as_of} AND ts >= {text(since)} AND ts < {text(until)} AND ({condition})"
        found: list[dict[str, Any]] = []
        for name in self._quarters(table, since, until):
            found.extend(self._store.read(name, [*HEADER, *SCHEMA.names[len(HEADER) :]], where).to_pylist())
        rows = [Row(one, json.loads(one["payload"]) if one["payload"] else None) for one in found]
        return sorted(rows, key=lambda row: row.leaf_index)

    def _quarters(self, table: str, since: str, until: str) -> list[str]:
        first = quarter_table(table, since) if since else ""
        return [name for name in log_tables(self._names, table) if first <= name <= quarter_table(table, until)]


def text(value: str) -> str:
    """An SQL literal."""
    return "'" + value.replace("'", "''") + "'"


def any_of(column: str, values: Iterable[str | None]) -> str:
    """``column IN (...)``; of nothing, nothing."""
    known = sorted({text(value) for value in values if value})
    return f"{column} IN ({', '.join(known)})" if known else "false"
