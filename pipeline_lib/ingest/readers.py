"""Raw files, read with their declared columns and types or refused with the file, the column and both values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from pipeline_lib.errors import SchemaError, SettingsError


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


def read_parquet(path: Path, columns: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """The declared columns of a Parquet file.

    Raises:
        SchemaError: the file is missing, cut off or no Parquet file, has no rows, lacks a column or has another type.
    """
    if not path.is_file():
        raise SchemaError(f"{path.name}: no such file in {path.parent.name}/")
    try:
        schema = pl.read_parquet_schema(path)
        _require_columns(path, columns, schema)
        rows = pl.read_parquet(path, columns=list(columns))
    except (pl.exceptions.PolarsError, OSError) as error:
        raise SchemaError(f"{path.name}: not a readable Parquet file ({path.stat().st_size} bytes): {error}") from error
    if rows.is_empty():
        raise SchemaError(f"{path.name}: found 0 rows, expected at least 1")
    return rows


def require_no_nulls(name: str, rows: pl.DataFrame, columns: list[str]) -> None:
    """Raises SchemaError naming the first row with a null in a column that must be known."""
    for column in columns:
        at = rows.get_column(column).is_null().arg_true()
        if at.len():
            raise SchemaError(
                f"{name}: column {column} is null in {at.len()} rows, first in row {at[0]}; expected a value"
            )


def require_unique(name: str, rows: pl.DataFrame, key: list[str]) -> None:
    """Raises SchemaError naming the first row whose key was seen before."""
    at = (~rows.select(pl.struct(key)).to_series().is_first_distinct()).arg_true()
    if at.len():
        raise SchemaError(f"{name}: key {', '.join(key)} repeats in {at.len()} rows, first in row {at[0]}")


def require_references(name: str, rows: pl.DataFrame, key: str, known: pl.Series, owner: str) -> None:
    """Raises SchemaError naming the first row whose key no row of ``owner`` has."""
    at = (~rows.get_column(key).is_in(known.implode())).arg_true()
    if at.len():
        raise SchemaError(f"{name}: {key} of {at.len()} rows is not in {owner}, first in row {at[0]}")


def _require_columns(path: Path, expected: Mapping[str, pl.DataType], found: Mapping[str, pl.DataType]) -> None:
    if missing := [name for name in expected if name not in found]:
        raise SchemaError(f"{path.name}: missing columns {missing}, found {list(found)}")
    wrong = [f"{n}: found {found[n]}, expected {expected[n]}" for n in expected if found[n] != expected[n]]
    if wrong:
        raise SchemaError(f"{path.name}: columns of another type", wrong)


def require_codes(name: str, rows: pl.DataFrame, column: str, known: Sequence[str]) -> None:
    """Raises SchemaError naming the first row whose code is not in ``known``; null is allowed."""
    codes = rows.get_column(column)
    at = (codes.is_not_null() & ~codes.is_in(list(known))).arg_true()
    if at.len():
        raise SchemaError(f"{name}: {column} in row {at[0]} is {codes[at[0]]!r}; expected one of {list(known)}")
