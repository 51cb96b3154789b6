"""Raw files, read with their declared columns and types or refused with the file, the column and both values."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path

import polars as pl

from pipeline_lib.business_time import utc_now
from pipeline_lib.errors import SchemaError, SettingsError
from pipeline_lib.settings.source import Source


def required_folder(source: str, folder: Path | None) -> Path:
    """The folder of raw files of a source that needs one.

    Raises:
        SettingsError: none was given, or it is not a folder.
    """
    if folder is None:
        raise SettingsError(f"source {source!r} needs its raw files: set PIPELINE_SOURCE to their folder")
    if not folder.is_dir():
        raise SettingsError(f"PIPELINE_SOURCE: expected a folder, found {folder}")
    return folder


def required_files(folder: Path, names: Sequence[str]) -> list[Path]:
    """The files of these names.

    Raises:
        SchemaError: one is missing.
    """
    found = [folder / name for name in names]
    if missing := [path.name for path in found if not path.is_file()]:
        there = sorted(path.name for path in folder.iterdir())
        raise SchemaError(f"{folder.name}/: missing files {missing}, expected {list(names)}, found {there[:20]}")
    return found


def read_parquet(path: Path, columns: Mapping[str, pl.DataType], source: Source) -> pl.DataFrame:
    """The columns that are read of a Parquet file, which may hold those that the source declares and no other.

    Raises:
        SchemaError: the file is missing, cut off or no Parquet file, has no rows, lacks a column, has another type or
            a column that ``raw`` of the source does not declare.
    """
    schema, declared = parquet_schema(path), source.raw.get(path.stem, {})
    _require_columns(path.name, list(columns), schema)
    require_only(path.name, schema, list(declared), f"sources/{source.name}.yaml, raw.{path.stem}")
    return read_columns(path, columns)


def parquet_schema(path: Path) -> Mapping[str, pl.DataType]:
    """Columns and types of a Parquet file.

    Raises:
        SchemaError: the file is missing, cut off or no Parquet file.
    """
    if not path.is_file():
        raise SchemaError(f"{path.name}: no such file in {path.parent.name}/; expected a Parquet file")
    try:
        return pl.read_parquet_schema(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise _unreadable(path, error) from error


def read_columns(path: Path, columns: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """These columns of a Parquet file, with these types.

    Raises:
        SchemaError: the file cannot be read to its end, has no rows, lacks a column or has another type.
    """
    schema = parquet_schema(path)
    _require_columns(path.name, list(columns), schema)
    if wrong := [f"{n}: found {schema[n]}, expected {columns[n]}" for n in columns if schema[n] != columns[n]]:
        raise SchemaError(f"{path.name}: columns of another type", wrong)
    try:
        rows = pl.read_parquet(path, columns=list(columns))
    except (pl.exceptions.PolarsError, OSError) as error:
        raise _unreadable(path, error) from error
    if rows.is_empty():
        raise SchemaError(f"{path.name}: found 0 rows, expected at least 1")
    return rows


def require_only(name: str, found: Collection[str], declared: Sequence[str], where: str) -> None:
    """Raises SchemaError when a file has columns of which nobody has said what they are and when they are known.

    Args:
        where: the place to say it.
    """
    if unknown := [column for column in found if column not in declared]:
        raise SchemaError(
            f"{name}: found undeclared columns {unknown}, expected only {list(declared)}; declare them in {where}"
        )


def _require_columns(name: str, expected: Sequence[str], found: Collection[str]) -> None:
    if missing := [column for column in expected if column not in found]:
        raise SchemaError(f"{name}: missing columns {missing}, expected {list(expected)}, found {list(found)}")


def _unreadable(path: Path, error: Exception) -> SchemaError:
    return SchemaError(
        f"{path.name}: found {path.stat().st_size} bytes, not a readable Parquet file; expected a whole one: {error}"
    )


def require_no_nulls(name: str, rows: pl.DataFrame, columns: list[str]) -> None:
    """Raises SchemaError naming the first row with a null in a column that must be known."""
    for column in columns:
        at = rows.get_column(column).is_null().arg_true()
        if at.len():
            raise SchemaError(
                f"{name}: column {column} is null in {at.len()} rows, first in row {at[0]}; expected a value"
            )


def require_past(name: str, rows: pl.DataFrame, column: str) -> None:
    """Raises SchemaError naming the first row whose date is after today: nobody can have written it down."""
    today = utc_now().date()
    days = rows.get_column(column).cast(pl.Date)
    at = (days > today).fill_null(value=False).arg_true()
    if at.len():
        raise SchemaError(
            f"{name}: {column} in row {at[0]} is {days[at[0]]}, in the future, as in {at.len()} rows; "
            f"expected no date after {today}"
        )


def require_unique(name: str, rows: pl.DataFrame, key: list[str]) -> None:
    """Raises SchemaError naming the first row whose key was seen before."""
    at = (~rows.select(pl.struct(key)).to_series().is_first_distinct()).arg_true()
    if at.len():
        raise SchemaError(
            f"{name}: key {', '.join(key)} repeats in {at.len()} rows, first in row {at[0]}; expected once"
        )


def require_references(name: str, rows: pl.DataFrame, key: str, known: pl.Series, owner: str) -> None:
    """Raises SchemaError naming the first row whose key no row of ``owner`` has."""
    at = (~rows.get_column(key).is_in(known.implode())).arg_true()
    if at.len():
        raise SchemaError(
            f"{name}: {key} of {at.len()} rows is not in {owner}, first in row {at[0]}; expected a known one"
        )


def require_codes(name: str, rows: pl.DataFrame, column: str, known: Sequence[str]) -> None:
    """Raises SchemaError naming the first row whose code is not in ``known``; null is allowed."""
    codes = rows.get_column(column)
    at = (codes.is_not_null() & ~codes.is_in(list(known))).arg_true()
    if at.len():
        raise SchemaError(f"{name}: {column} in row {at[0]} is {codes[at[0]]!r}; expected one of {list(known)}")


def month_ends(first: str, last: str, after: int = 0) -> list[date]:
    """Last days of the months ``first`` to ``last`` (YYYY-MM), and of ``after`` more."""
    day, days, beyond = date.fromisoformat(f"{first}-01"), [], 0
    while f"{day:%Y-%m}" <= last or beyond < after:
        beyond += f"{day:%Y-%m}" > last
        day = (day + timedelta(days=32)).replace(day=1)
        days.append(day - timedelta(days=1))
    return days


def month_before(day: date, months: int) -> date:
    """The last day of the month that lies ``months`` before the month of ``day``."""
    for _ in range(months):
        day = day.replace(day=1) - timedelta(days=1)
    return day
