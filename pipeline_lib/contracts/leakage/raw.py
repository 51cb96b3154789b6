"""Raw tables of a source: when is a value known? (R01 to R04, R08)

Two lines of defence. Structure: the source declares for every raw column when its value is known, and a feature may
descend from known columns only (R01). Data: rules that need no declaration, or show that a declaration is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime

import polars as pl

from pipeline_lib.contracts.leakage.frames import TrainingFrame
from pipeline_lib.contracts.leakage.text import finding
from pipeline_lib.records import Finding
from pipeline_lib.settings.leakage import Leakage
from pipeline_lib.settings.source import RawColumn

Catalogue = Mapping[str, Mapping[str, RawColumn]]
JUDGED_TABLES = ("customer_snapshot", "transaction_event")
"""Canonical tables made from raw columns; the others are vocabulary of the source file."""
OWN_CALENDAR = "customer_snapshot.snapshot_date"
"""The pipeline's own stamps."""
DERIVED = {
    "customer_snapshot.income_missing": "customer_snapshot.income",
    "customer_snapshot.tenure_unknown": "customer_snapshot.tenure_months",
    "transaction_event.event_date": "transaction_event.event_ts",
    "transaction_event.time_of_day": "transaction_event.event_ts",
    "transaction_event.l1_id": "transaction_event.mcc_idx",
    "transaction_event.l2_id": "transaction_event.mcc_idx",
    "transaction_event.signed_amount": "transaction_event.amount",
}
"""Canonical column -> the one that ingest makes it from."""
YEAR = re.compile(r"(?:^|(?<!\d)_)((?:19|20)\d\d|\d\d)$")
CENTURY_TURN = 50
PLAIN = RawColumn(role="feature", known="at_row_date")


@dataclass(frozen=True)
class RawTable:
    """One raw table, or a sample of it, with what the source says about its columns."""

    name: str
    rows: pl.DataFrame
    columns: Mapping[str, RawColumn]
    blind: bool = False
    """Judged as if nobody had declared anything but keys, dates, labels and static facts."""

    @property
    def features(self) -> list[str]:
        """Columns that may feed features as the source declares them."""
        return [name for name, column in self.columns.items() if may_feed(column) and name in self.rows.columns]

    @property
    def states(self) -> list[str]:
        """Columns that may be a state of a later day; without a declaration, a label may be one too."""
        return self.features + (self.of_role("label") if self.blind else [])

    def of_role(self, role: str) -> list[str]:
        return [name for name, column in self.columns.items() if column.role == role and name in self.rows.columns]


@dataclass(frozen=True)
class RawSet:
    """The raw tables of one source."""

    name: str
    tables: tuple[RawTable, ...]

    @property
    def first_day(self) -> date | None:
        """The earliest date that a row carries: some row's cutoff may be as early."""
        found = [_day(table.rows[name].min()) for table in self.tables for name in table.of_role("time")]
        return min((day for day in found if day is not None), default=None)

    def blind(self) -> RawSet:
        """The same data as if nobody knew: keys, dates, labels and static facts stay, all else is a feature."""
        return replace(self, tables=tuple(replace(t, columns=_undeclared(t), blind=True) for t in self.tables))


def may_feed(column: RawColumn) -> bool:
    """Whether the declaration allows features from this column, the year of its figures aside."""
    return column.role in ("feature", "time") and column.known in ("at_row_date", "static")


def reason(column: RawColumn, cutoff: date | None) -> str | None:
    """Why a column must not feed features of rows from ``cutoff`` on, or None when it may."""
    if column.role in ("label", "weight"):
        return f"role {column.role}"
    if column.known not in ("at_row_date", "static"):
        return f"known {column.known}"
    if column.known_from and cutoff and column.known_from > cutoff:
        return f"known from {column.known_from}, the earliest cutoff is {cutoff}"
    return None


def raw_ancestors_are_known(frame: TrainingFrame, limits: Leakage) -> Iterator[Finding]:
    """R01, L16, L17: every raw column behind a feature is declared and known at the earliest cutoff."""
    if frame.raw_columns is None:
        return
    if not frame.raw_columns:
        message = "the source declares no raw column: what is known when cannot be judged"
        yield finding("R01", "features", "raw columns declared", 0, "> 0", message, verdict="UNJUDGED")
        return
    fed = _fed(frame.raw_columns)
    later = {target for own in frame.raw_columns.values() for raw in own.values() for target in raw.feeds_later}
    cutoff = frame.keys["cutoff_date"].min()
    for column in frame.schema["columns"]:
        for source in sorted({DERIVED.get(name, name) for name in frame.ancestors(column)}):
            if source.partition(".")[0] not in JUDGED_TABLES or source == OWN_CALENDAR:
                continue
            if source not in fed and source not in later:
                message = f"descends from {source}, and no raw column is declared to feed it"
                yield finding("R01", column["name"], "declared raw columns", 0, "> 0", message)
            feeders = fed.get(source, ())
            if feeders and all(raw.role == "key" for _, raw in feeders):
                message = f"descends from {source}, and only keys are declared to feed it"
                yield finding("R01", column["name"], "declared values", 0, "> 0", message)
            for name, raw in feeders:
                why = reason(raw, cutoff if isinstance(cutoff, date) else None)
                if why:
                    message = f"descends from {source}, made from {name}" + (f": {raw.why}" if raw.why else "")
                    yield finding("R01", column["name"], "declaration", why, "feature known at the cutoff", message)


def every_column_is_declared(raw: RawSet, limits: Leakage) -> Iterator[Finding]:
    """R01: the source declares every column of every raw table, and declares none that does not exist."""
    for table in raw.tables:
        for name in sorted(set(table.rows.columns) - table.columns.keys()):
            message = "nobody said when this raw column is known"
            yield finding("R01", f"{table.name}.{name}", "declaration", "none", "role and known", message)
        for name in sorted(table.columns.keys() - set(table.rows.columns)):
            message = "declared, and not in the file"
            yield finding("R01", f"{table.name}.{name}", "column", "missing", "in the file", message)


def undated_rows_are_static(raw: RawSet, limits: Leakage) -> Iterator[Finding]:
    """R02: a table whose rows carry no date may feed features only with what never changes."""
    for table in raw.tables:
        if table.of_role("time"):
            continue
        for name in table.features:
            if table.columns[name].known != "static":
                message = "no date in the table tells from which day on the value was known"
                yield finding("R02", f"{table.name}.{name}", "dates in the table", 0, "> 0 or static", message)


def figures_of_later_years(raw: RawSet, limits: Leakage) -> Iterator[Finding]:
    """R03: a column named for a year later than the earliest row is the future for that row."""
    first = raw.first_day
    if first is None:
        return
    for table in raw.tables:
        for name in table.features:
            found = YEAR.search(name.lower())
            year = _year(found.group(1)) if found else first.year
            if year > first.year and table.columns[name].known_from is None:
                message = f"the name says year {year}, rows begin {first}"
                yield finding("R03", f"{table.name}.{name}", "year in the name", year, f"< {first.year}", message)


def _fed(raw: Catalogue) -> dict[str, list[tuple[str, RawColumn]]]:
    """Canonical column -> raw columns that feed it."""
    out: dict[str, list[tuple[str, RawColumn]]] = {}
    for table, columns in raw.items():
        for name, column in columns.items():
            for target in column.feeds:
                out.setdefault(target, []).append((f"{table}.{name}", column))
    return out


def _undeclared(table: RawTable) -> dict[str, RawColumn]:
    """Keys, times and static facts as declared; the rest as plain features."""
    out = {}
    for name in table.rows.columns:
        told = table.columns.get(name, PLAIN)
        static = told.role == "feature" and told.known == "static" and told.known_from is None
        out[name] = told if told.role in ("key", "time", "label") or static else PLAIN
    return out


def _year(text: str) -> int:
    value = int(text)
    return value if value >= 100 else value + (1900 if value >= CENTURY_TURN else 2000)


def _day(value: object) -> date | None:
    return value.date() if isinstance(value, datetime) else value if isinstance(value, date) else None
