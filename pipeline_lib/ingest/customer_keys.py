"""Customer keys: small integers in the order in which customers first appear.

The order is (first snapshot, raw id), so a later run keeps every key it has given before (a customer never moves
between splits) and no artefact depends on the pepper. A key grows with time: it is a join key and nothing else.
The index that leads from a pseudonym to a key lies in the restricted zone; raw ids are stored nowhere.
Source: data.md 5.1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from io import BytesIO
from pathlib import Path

import polars as pl

from pipeline_lib.audit import mapping
from pipeline_lib.errors import ContractError, ObjectMissing, SwapLost
from pipeline_lib.keys import subject_ref
from pipeline_lib.objects import Objects


def assign_keys(snapshots: Mapping[date, Sequence[Path]]) -> pl.DataFrame:
    """Customers of all snapshots with their keys.

    Args:
        snapshots: day -> Parquet files with a column ``customer_id``.

    Returns:
        customer_id Utf8, customer_key Int32 from 1; by key.
    """
    first = pl.concat(
        [pl.scan_parquet(list(files)).select("customer_id", first=pl.lit(day)) for day, files in snapshots.items()]
    )
    seen = first.group_by("customer_id").agg(pl.col("first").min()).collect()
    number = pl.col("customer_id").cast(pl.Int64, strict=False)
    ordered = seen.sort("first", number, "customer_id", nulls_last=True)
    return ordered.select("customer_id", customer_key=pl.int_range(1, pl.len() + 1, dtype=pl.Int32))


def write_index(objects: Objects, dataset: str, keys: pl.DataFrame, pepper: bytes, *, may_replace: bool) -> None:
    """Store pseudonym -> key, keeping what is there: the index only grows, whatever the order in which runs come,
    but for erased customers, who keep their key and lose their row.

    Args:
        may_replace: whether another bank may take this one's place (a generated bank with other parameters).

    Raises:
        ContractError: the stored index gives other keys to the same customers.
    """
    name = mapping.index_key(dataset)
    digests = [subject_ref(pepper, customer) for customer in keys.get_column("customer_id")]
    known = keys.select(customer_digest=pl.Series(digests, dtype=pl.String), customer_key="customer_key")
    while True:
        stored, tag = _stored(objects, name)
        fresh = known.filter(~pl.col("customer_digest").is_in(sorted(mapping.erased(objects, dataset))))
        written = BytesIO()
        fresh.sort("customer_digest").write_parquet(written, compression="zstd")
        if stored is not None and _is_enough(stored, fresh, name, may_replace=may_replace):
            return
        try:
            objects.swap(name, written.getvalue(), tag)
        except SwapLost:  # a run of another week wrote in between: look again, it may know more customers
            continue
        return


def _stored(objects: Objects, name: str) -> tuple[pl.DataFrame | None, str | None]:
    try:
        data, tag = objects.get_tagged(name)
    except ObjectMissing:
        return None, None
    return pl.read_parquet(BytesIO(data)), tag


def _is_enough(stored: pl.DataFrame, fresh: pl.DataFrame, name: str, *, may_replace: bool) -> bool:
    if not _contradicts(stored, fresh):
        return stored.height >= fresh.height
    if may_replace:
        return False
    raise ContractError(
        f"{name}: the stored index gives other keys to the same customers; the source's history or the pepper "
        "changed. To start a new bank, remove this object and the runs made with it"
    )


def _contradicts(stored: pl.DataFrame, fresh: pl.DataFrame) -> bool:
    """Whether the shorter index is not a part of the longer one."""
    same = stored.join(fresh, on=["customer_digest", "customer_key"], how="inner").height
    return same != min(stored.height, fresh.height)
