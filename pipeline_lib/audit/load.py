"""Feed the query store from the evidence: rows under a checkpoint, in batches, each exactly once.

What is loaded is compared with the leaves the checkpoint commits to, so altered evidence never becomes an answer.
A row is known by its leaf (and so by writer, epoch and seq): a load that died half-way is continued without doubles.
Rows missing below the last finished load are not put back here: that is a finding of V07; ``rebuild`` answers it.
Source: audit.md 8.2.
"""

from __future__ import annotations

import json
import logging
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pyarrow as pa

from pipeline_lib.audit import anchors, catalogue, chain, line, record
from pipeline_lib.audit.anchors import Anchor
from pipeline_lib.audit.similar import feed
from pipeline_lib.business_time import utc_now
from pipeline_lib.errors import AuditError
from pipeline_lib.keys import KeyFolder
from pipeline_lib.objects import Objects, open_objects
from pipeline_lib.settings import Settings
from pipeline_lib.store import LOAD_STATE, QueryStore, is_quarter_of, quarter_table

log = logging.getLogger(__name__)

_NUMBERS = {"epoch", "schema", "seg", "seq"}
HEADER = tuple(
    """canon clock content_hash entry_hash epoch event hmac idem key_id log_table origin prediction_id prev_hash
    request_id schema seg seq ts writer_id""".split()
)
"""Header columns: the canonical sealed header is rebuilt from exactly these."""
SCHEMA = pa.schema(
    [(name, pa.int64() if name in _NUMBERS else pa.string()) for name in HEADER]
    + [("payload", pa.string()), ("leaf_index", pa.int64()), ("ckpt_n", pa.int64()), ("ingest_ts", pa.string())]
)
"""Columns of every log table. ``payload`` is the stored canonical JSON."""


@dataclass(frozen=True)
class Loaded:
    rows: int
    """Rows added now."""
    through_ckpt: int
    """Every row up to this checkpoint is in the store; 0 when there is none."""


def load(settings: Settings) -> Loaded:
    """Add the rows of every new checkpoint.

    Raises:
        AuditError: the anchors do not verify, or the evidence is not what they commit to.
    """
    store = QueryStore(settings.place.query_store)
    with store.exclusive():
        loaded = _load(settings, store)
        feed.feed(settings, store, loaded.through_ckpt)
        return loaded


def rebuild(settings: Settings) -> Loaded:
    """Empty the log tables and load everything again."""
    store = QueryStore(settings.place.query_store)
    with store.exclusive():
        names = store.names()
        store.drop([LOAD_STATE] if LOAD_STATE in names else [])
        store.drop(log_tables(names))
        feed.forget(store)
        loaded = _load(settings, store)
        feed.feed(settings, store, loaded.through_ckpt)
        return loaded


def loaded_through(store: QueryStore) -> int:
    """Number of the last checkpoint whose rows are all in the store."""
    if LOAD_STATE not in store.names():
        return 0
    return max(store.read(LOAD_STATE)["ckpt_n"].to_pylist(), default=0)


def log_tables(names: Sequence[str], table: str | None = None) -> list[str]:
    """Names of the quarters of one log table, or of all of them."""
    wanted = catalogue.TABLES if table is None else (table,)
    return [name for name in names if any(is_quarter_of(name, log_table) for log_table in wanted)]


def _load(settings: Settings, store: QueryStore) -> Loaded:
    origin = record.origin(settings)
    past = anchors.history(open_objects(settings.place.anchors), KeyFolder(settings.place.keys), origin)
    done = loaded_through(store)
    new = [anchor for anchor in past if anchor.checkpoint.n > done]
    if not new:
        return Loaded(0, done)
    already = _leaves_from(store, new[0].index.first_leaf)
    added, batch = 0, []
    for row in _rows(record.store(settings), new):
        if row["leaf_index"] in already:
            continue
        batch.append(row)
        if len(batch) == settings.audit.load_batch_rows:
            added += _flush(store, batch)
            batch = []
    added += _flush(store, batch)
    through = new[-1].checkpoint.n
    store.replace(LOAD_STATE, pa.table({"ckpt_n": pa.array([through], pa.int64())}))
    keep = timedelta(days=settings.audit.keep_versions_days)
    for name in log_tables(store.names()):
        if store.compact(name, keep, settings.audit.compact_after_fragments):
            log.info("%s was compacted", name)
    return Loaded(added, through)


def _leaves_from(store: QueryStore, first_leaf: int) -> set[int]:
    """Leaves at or after ``first_leaf`` that an unfinished load left in the store."""
    where, found = f"leaf_index >= {first_leaf}", set()
    for name in log_tables(store.names()):
        found.update(store.read(name, ["leaf_index"], where)["leaf_index"].to_pylist())
    return found


def _rows(evidence: Objects, new: Sequence[Anchor]) -> Iterator[dict[str, Any]]:
    now = utc_now().isoformat()
    for anchor in new:
        leaf_index = anchor.index.first_leaf
        for item in anchor.index.segments:
            for raw in evidence.get(item.key).split(b"\n")[:-1]:
                found = _anchored(raw, anchor, leaf_index, item.key)
                place = {"leaf_index": leaf_index, "ckpt_n": anchor.checkpoint.n, "ingest_ts": now}
                payload = None if found.dropped else found.payload.decode()
                yield {**json.loads(found.sealed_header), "payload": payload, **place}
                leaf_index += 1


def _anchored(raw: bytes, anchor: Anchor, leaf_index: int, key: str) -> line.Line:
    """One line of evidence, if it is the leaf the checkpoint commits to."""
    try:
        found = line.parse(raw)
    except ValueError as error:
        raise AuditError(f"{key}: {error}") from error
    expected = anchor.index.leaves[leaf_index - anchor.index.first_leaf]
    altered = not found.dropped and chain.content_hash(found.payload) != found.content_hash
    if found.leaf.hex() != expected or altered:
        raise AuditError(f"{key}: leaf {leaf_index} is not the one under checkpoint {anchor.checkpoint.n}; not loaded")
    return found


def _flush(store: QueryStore, batch: Sequence[dict[str, Any]]) -> int:
    by_table: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in batch:
        by_table[quarter_table(row["log_table"], row["ts"])].append(row)
    for name in sorted(by_table):
        store.append(name, pa.Table.from_pylist(by_table[name], schema=SCHEMA))
    return len(batch)
