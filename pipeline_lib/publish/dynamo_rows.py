"""The feature rows of the place's file, put into its DynamoDB tables: whole rows, never an older one over a newer.

What is said of the export comes first, then every row under a condition of its own, the pointer last. A crash leaves
some rows of this export among older ones, each whole and with what was said of its own; the next run, of whatever week,
writes what the file then holds. Rows of customers who are gone are not looked for: they expire.

Cost, of 12 million rows of 3 KB: 36 million write units a week, conditional or not (a transaction would take twice as
many), and three hours of one process, which spends 0.8 ms on a request: a batch cannot be conditional.
Source: serving.md 3 and 14.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from typing import Any

from pipeline_lib.items import FEATURES, TableUnreadable, meta
from pipeline_lib.items.dynamo import DynamoItems
from pipeline_lib.items.place import WAIT_S, filed
from pipeline_lib.runs import RunContext

log = logging.getLogger(__name__)

THREADS, ATTEMPTS, PAGE = 32, 10, 2000
"""Requests at once, tries of each (throttling included), rows held at once."""
GRACE_D = 30
"""A row stays so long after the last day on which it may be used [d]: a pipeline that stands still empties nothing."""


def copy(ctx: RunContext) -> None:
    """Bring the place's tables to what its file holds; nothing when they are there already, or are newer.

    Raises:
        TableUnreadable: the file or a table; what was written until then stays, and a repeat goes on.
        ObjectMissing: there is no file.
    """
    url = ctx.settings.place.tables or ""
    tables = DynamoItems(url.removeprefix("dynamodb:"), WAIT_S, ATTEMPTS, THREADS)
    with filed(ctx.objects, ctx.dataset, FEATURES) as file:
        meta_id, about = meta.newest_id(file), meta.newest(file)
        if meta_id is None or about is None:
            raise TableUnreadable(f"{FEATURES}: no export is named in meta")
        day = str(about["as_of"])
        there = meta.newest_id(tables)
        if there is not None and (there == meta_id or there[: len(day)] > day):
            log.info("serving rows of %s are in %s, of %s here: kept", there, url, meta_id)
            return
        own, pointer = meta.items_of(meta_id, about)
        tables.put(meta.TABLE, own)
        put = partial(_put, tables, meta_id, day, _expires_at(ctx, day))
        written = 0
        with ThreadPoolExecutor(THREADS) as pool:
            for page in file.pages("feature_row", PAGE):
                written += sum(pool.map(put, page))
        tables.put_unless_newer(meta.TABLE, pointer, day)
    log.info("serving rows: %d of %s written to %s", written, meta_id, url)


def _put(tables: DynamoItems, meta_id: str, day: str, expires_at: float, row: Mapping[str, Any]) -> bool:
    if row["meta_id"] != meta_id:  # another run replaced the file since it was asked what it holds
        raise TableUnreadable(f"{FEATURES}: a row of {row['meta_id']} among those of {meta_id}; run this again")
    return tables.put_unless_newer("feature_row", row, day, expires_at)


def _expires_at(ctx: RunContext, day: str) -> float:
    """When the rows of a date may be forgotten [s since 1970]: well after they may be used."""
    kept = timedelta(days=ctx.settings.serving.feature.hard_max_age_d + GRACE_D)
    return (datetime.combine(date.fromisoformat(day), time(), UTC) + kept).timestamp()
