"""From an adapter's events to canonical ``transaction_event``, month by month, inside DuckDB: no month in Python."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from pathlib import Path

import polars as pl

from pipeline_lib.contracts.tables import EVENT
from pipeline_lib.errors import SchemaError
from pipeline_lib.ingest import quarantine
from pipeline_lib.ingest.duck import Duck
from pipeline_lib.ingest.source_tables import SourceTables

LATE = "event: customer joined after the newest snapshot"


class Events:
    """Canonical events month by month; ``refused`` collects those of customers whom no snapshot knows.

    ``duck`` holds the tables ``key`` (customer_id, customer_key, shuffle_key) and ``category`` (dim_mcc).
    """

    def __init__(self, duck: Duck, tables: SourceTables, origin: str, logical_date: date, days: Sequence[date]) -> None:
        self._duck, self._tables, self._origin = duck, tables, origin
        self._before = datetime.combine(logical_date, datetime.min.time())
        self._newest = days[-1]
        self._given = [m for m in tables.months("event") if m <= f"{logical_date:%Y-%m}"]
        self.all = sorted({*self._given, *(f"{day:%Y-%m}" for day in days)})
        self.refused: list[pl.DataFrame] = []

    def write(self, month: str, path: Path) -> int:
        """Write one month's file and return its rows; a month without events before or after all others is empty.

        Raises:
            SchemaError: a month without events between others, an event of another month, a category outside
                ``dim_mcc``, or an event id twice.
        """
        if month not in self._given:
            if self._given and self._given[0] < month < self._given[-1]:
                raise SchemaError(f"transaction_event {month}: found no events, expected some as in other months")
            pl.DataFrame(schema={c.name: c.dtype for c in EVENT}).write_parquet(path, compression="zstd")
            return 0
        self._duck.view("month_event", self._tables.parts(f"event/{month}"))
        self._require_sound(month)
        return self._duck.write(path, "ingest/canonical_event", before=self._before, origin=self._origin)

    def _require_sound(self, month: str) -> None:
        where = f"transaction_event {month}"
        until = {"before": self._before, "newest": self._newest}
        found = self._duck.frame("ingest/event_check", month=date.fromisoformat(f"{month}-01"), **until).row(
            0, named=True
        )
        if found["other_month"]:
            raise SchemaError(f"{where}: {found['other_month']} events lie in another month")
        if found["twice"]:
            # Two ids of one hash value are no repetition: count the ids themselves.
            twice = self._duck.frame("ingest/event_repeated", before=self._before).item()
            if twice:
                raise SchemaError(f"{where}: {twice} event ids repeat; expected each once")
        if found["no_category"]:
            raise SchemaError(f"{where}: mcc_idx of {found['no_category']} events is not in dim_mcc")
        # A customer who joined after the newest snapshot is not known yet; that is no fault of the event.
        self._tables.counts[LATE] += found["late"]
        if found["strangers"]:
            strangers = self._duck.frame("ingest/stranger_event", **until)
            self.refused.append(quarantine.refused_events(month, strangers))
