"""A benchmark set as typed train, val and test tables. What is in it is said by ``config/benchmarks/<name>.yaml``.

Not through the door of ``ingest``: canonical tables have customers, months and cutoffs, and a set without time has
none. Inventing a month for 200,000 persons would make thirteen tasks look derivable that are not. So this module has
the same two functions as an adapter, and another result.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from pipeline_lib.errors import SchemaError
from pipeline_lib.ingest import readers
from pipeline_lib.settings.benchmark import Benchmark

TYPES: Mapping[str, tuple[pl.DataType, ...]] = {
    "whole": (pl.Int32(), pl.Int64()),
    "real": (pl.Float64(),),
    "category": (pl.String(), pl.Int32(), pl.Int64()),
}
"""Declared type -> types that a file may have for it; the first is the one that is handed on. A code is a category
whatever the file thinks."""
ROW, WEIGHT = "row_id", "weight"
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class BenchmarkTables:
    """Rows by ``row_id``: row_id Int64 (place in the file, no input), the features, ``y_<task>`` Int8, weight Float64.

    Identical inputs are in one split: a share of the rows of this kind of set are copies of each other.
    """

    features: tuple[str, ...]
    tasks: tuple[str, ...]
    train: pl.DataFrame
    val: pl.DataFrame
    test: pl.DataFrame


def files(policy: Benchmark, folder: Path | None) -> list[Path]:
    """The one file of the set."""
    return readers.required_files(readers.required_folder(policy.name, folder), [policy.file])


def read(policy: Benchmark, folder: Path | None) -> BenchmarkTables:
    """Type, label and split the set.

    Raises:
        SettingsError: no folder was given.
        SchemaError: the file is not as declared; names file, column or row, found, expected.
    """
    rows = _read(policy, files(policy, folder)[0])
    features = policy.named("feature")
    tasks = [_label(policy, name, rows) for name in policy.tasks]
    weights = [pl.col(name).cast(pl.Float64).alias(WEIGHT) for name in policy.named("weight")]
    split = _split(policy, rows.select(features))
    table = rows.with_row_index(ROW).select(pl.col(ROW).cast(pl.Int64), *features, *tasks, *weights)
    parts = {name: table.filter(split == name) for name in SPLITS}
    return BenchmarkTables(features=tuple(features), tasks=tuple(policy.tasks), **parts)


def _read(policy: Benchmark, path: Path) -> pl.DataFrame:
    schema = readers.parquet_schema(path)
    declared = {name: TYPES[column.type] for name, column in policy.columns.items()}
    where = f"config/benchmarks/{policy.name}.yaml, columns"
    readers.require_only(path.name, schema, list(declared), where)
    taken = {name: schema[name] if schema.get(name) in types else types[0] for name, types in declared.items()}
    rows = readers.read_columns(path, taken)
    readers.require_no_nulls(path.name, rows, list(declared))
    return rows.select(pl.col(name).cast(types[0]) for name, types in declared.items())


def _label(policy: Benchmark, name: str, rows: pl.DataFrame) -> pl.Expr:
    """``y_<task>``; a value that means yes but never occurs is a misspelling or another file."""
    task = policy.tasks[name]
    found = set(rows.get_column(task.column).unique())
    if lacking := sorted(set(task.positive) - found):
        raise SchemaError(
            f"{policy.file}: column {task.column} never holds {lacking}, expected for task {name}; "
            f"found {sorted(found)}"
        )
    return pl.col(task.column).is_in(task.positive).cast(pl.Int8).alias(f"y_{name}")


def _split(policy: Benchmark, inputs: pl.DataFrame) -> pl.Series:
    """Split of each row from the salted SHA-256 of its inputs: no order of rows or files can reach it."""
    text = inputs.select(pl.concat_str(pl.all().cast(pl.String), separator="\x1f")).to_series()
    salt = policy.split_salt.encode() + b"|"
    place = pl.Series([int(hashlib.sha256(salt + t.encode()).hexdigest()[:12], 16) / 16**12 for t in text])
    bounds = pl.lit("test"), policy.train_share, policy.train_share + policy.val_share
    frame = pl.DataFrame({"p": place})
    chosen = pl.when(pl.col("p") < bounds[1]).then(pl.lit("train")).when(pl.col("p") < bounds[2]).then(pl.lit("val"))
    return frame.select(chosen.otherwise(bounds[0])).to_series()
