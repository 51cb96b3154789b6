"""Reading the record for reports and monitors: one log table as a frame, as of a checkpoint.

The authoritative as-of is ``ckpt_n <= N``, a predicate, which survives rebuilds and compaction. Rows come in leaf
order, so that the same question has the same answer for ever. Source: audit.md 8.2.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import polars as pl
import pyarrow as pa

from pipeline_lib.audit import catalogue
from pipeline_lib.audit.load import SCHEMA, log_tables
from pipeline_lib.settings import Settings
from pipeline_lib.store import QueryStore, quarter_table


def frame(
    settings: Settings,
    table: str,
    as_of_ckpt: int | None = None,
    columns: Sequence[str] = (),
    since: datetime | None = None,
    with_gone: bool = False,
) -> pl.DataFrame:
    """Rows of one of the seven tables that are under a checkpoint and loaded.

    Args:
        as_of_ckpt: only rows covered by this checkpoint or an earlier one; all when None.
        columns: payload columns to unpack beside ``payload`` (canonical JSON text). Lists and objects come as
            canonical JSON text too, everything else as text, so that no type depends on the rows.
        since: only rows written at or after this moment; carries a time zone.
        with_gone: also rows whose payload retention or an erasure took, with null for it and no columns unpacked.

    Returns:
        Header columns, ``payload``, ``leaf_index``, ``ckpt_n`` and the columns asked for, in leaf order.

    Raises:
        ValueError: a table or column that the record does not have.
    """
    catalogue.complete(table, dict.fromkeys(columns))
    store = QueryStore(settings.place.query_store)
    limits = [] if as_of_ckpt is None else [f"ckpt_n <= {int(as_of_ckpt)}"]
    quarters = log_tables(store.names(), table)
    if since is not None:
        first = since.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        limits.append(f"ts >= '{first}'")
        quarters = [name for name in quarters if name >= quarter_table(table, first)]
    names = [name for name in SCHEMA.names if name != "ingest_ts"]
    parts = [store.read(name, names, " AND ".join(limits) or None).select(names) for name in quarters]
    found = pl.DataFrame(pa.concat_tables([SCHEMA.empty_table().select(names), *parts])).sort("leaf_index")
    if not with_gone:
        found = found.filter(pl.col("payload").is_not_null())
    payloads = [json.loads(payload) for payload in found["payload"]] if columns else []
    unpacked = [pl.Series(name, [_text(payload[name]) for payload in payloads], dtype=pl.String) for name in columns]
    return found.with_columns(unpacked)


def payloads(settings: Settings, table: str, as_of_ckpt: int | None = None) -> list[dict[str, Any]]:
    """The payloads of one table as dicts, in leaf order."""
    return [json.loads(payload) for payload in frame(settings, table, as_of_ckpt)["payload"]]


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
