"""The feed that says which recommended items were accepted: one file a day from the channels.

``outcomes/<dataset>/<YYYY-MM-DD>.parquet`` of the object store holds every acceptance of that UTC day: prediction_id
and product_id as answered, accepted_at Datetime(us, UTC or naive UTC). A file is written once its day is over; an empty
one says that nobody accepted anything, a missing one that nobody knows. Source: promotion.md 10.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import polars as pl

from pipeline_lib.errors import SchemaError
from pipeline_lib.manifest import file_sha256
from pipeline_lib.objects import Objects

COLUMNS = ("prediction_id", "product_id", "accepted_at")
EMPTY = pl.DataFrame(schema={"prediction_id": pl.String, "product_id": pl.String, "accepted_at": pl.Datetime("us")})


@dataclass(frozen=True)
class Outcomes:
    accepted: pl.DataFrame
    """prediction_id, product_id, accepted_at (naive UTC)."""
    days: tuple[date, ...]
    """UTC days that are complete, sorted."""
    digests: Mapping[str, str]
    """Day -> SHA-256 of its file."""
    refused: str | None = None
    """What is wrong with the feed, when it is not as agreed: then nothing of it is used."""


def read(objects: Objects, dataset: str, first: date, last: date) -> Outcomes:
    """The days of [first, last] that the feed has.

    Raises:
        SchemaError: a file is no Parquet, lacks a column or has an accepted_at that is no time: named with what was
            found.
    """
    wanted = [first + timedelta(days=n) for n in range((last - first).days + 1)]
    there = set(objects.list(f"outcomes/{dataset}"))
    keys = {day: key for day in wanted if (key := f"outcomes/{dataset}/{day}.parquet") in there}
    paths = {day: objects.local_path(key) for day, key in keys.items()}
    frames = [_checked(_table(path, keys[day]), keys[day]) for day, path in paths.items()]
    digests = {str(day): file_sha256(path) for day, path in paths.items()}
    return Outcomes(pl.concat([EMPTY, *frames]), tuple(paths), digests)


def _table(path: Path, key: str) -> pl.DataFrame:
    try:
        return pl.read_parquet(path)
    except pl.exceptions.ComputeError as error:
        raise SchemaError(f"{key}: not a Parquet file, {error}") from None


def _checked(frame: pl.DataFrame, key: str) -> pl.DataFrame:
    if missing := [name for name in COLUMNS if name not in frame.columns]:
        raise SchemaError(f"{key}: columns {missing} are missing, found {frame.columns}")
    if not isinstance(frame.schema["accepted_at"], pl.Datetime):
        raise SchemaError(f"{key}: accepted_at is {frame.schema['accepted_at']}, expected a Datetime")
    at = pl.col("accepted_at").dt.replace_time_zone(None).cast(pl.Datetime("us"))
    if frame.schema["accepted_at"].time_zone not in (None, "UTC"):
        at = pl.col("accepted_at").dt.convert_time_zone("UTC").dt.replace_time_zone(None).cast(pl.Datetime("us"))
    return frame.select(pl.col("prediction_id", "product_id").cast(pl.String), at)
