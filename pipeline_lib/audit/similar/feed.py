"""Explanation vectors of loaded answers, one table a quarter and space. Derived: made again by a rebuild.

Follows the load checkpoint by checkpoint and remembers how far it came; an answer is known by its id, so a feed that
died half-way is continued without doubles. Source: audit.md 8.1, 9.1.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from math import isqrt
from typing import Any

import pyarrow as pa

from pipeline_lib.audit.similar import vector
from pipeline_lib.settings import Settings
from pipeline_lib.store import QueryStore, is_quarter_of, quarter_table

log = logging.getLogger(__name__)

FAMILY = "explanation_vectors"
TABLE = f"{FAMILY}__{vector.SPACE}"
STATE = "vector_state"
"""One row: the last checkpoint whose answers all have their vectors."""
COLUMN, SUB_VECTORS = "vec", 16
_TEXTS = (
    "vec_id prediction_id space ts task product_category segment_id verdict gate_entropy model_version schema_version "
    "source_method source_asof"
).split()
SCHEMA = pa.schema([
    *((name, pa.string()) for name in _TEXTS), ("ood_flagged", pa.bool_()), ("has_gates", pa.bool_()),
    ("ckpt_n", pa.int64()), (COLUMN, pa.list_(pa.float32(), vector.DIMENSIONS)),
])  # fmt: skip
"""``product_category`` is the product of rank 1: the record knows no coarser one. ``ood_flagged`` may be unknown."""
_PARTNERS = {"log_model_inference": "prediction", "log_guardrail": "guardrail"}


def feed(settings: Settings, store: QueryStore, through: int) -> int:
    """Make the vectors of every answer up to a loaded checkpoint; how many were made. The caller holds the lock."""
    done = _done(store)
    if done >= through:
        return 0
    have, made, touched = _ids_after(store, done), 0, set[str]()
    for n in _checkpoints(store, done, through):
        rows = [row for row in _rows_of(store, n) if row["prediction_id"] not in have]
        for name, batch in _by_quarter(rows).items():
            store.append(name, pa.Table.from_pylist(batch, schema=SCHEMA))
            made, touched = made + len(batch), touched | {name}
    store.replace(STATE, pa.table({"ckpt_n": pa.array([through], pa.int64())}))
    for name in sorted(touched):
        _index(settings, store, name)
    return made


def tables(names: Iterable[str]) -> list[str]:
    """Tables of this space."""
    return [name for name in names if is_quarter_of(name, TABLE)]


def forget(store: QueryStore) -> None:
    """Drop the vectors of every space, to be made again."""
    store.drop([name for name in store.names() if name == STATE or is_quarter_of(name, FAMILY)])


def _done(store: QueryStore) -> int:
    return max(store.read(STATE)["ckpt_n"].to_pylist(), default=0) if STATE in store.names() else 0


def _ids_after(store: QueryStore, done: int) -> set[str]:
    """Answers that an unfinished feed has made already."""
    found: set[str] = set()
    for name in tables(store.names()):
        found.update(store.read(name, ["prediction_id"], f"ckpt_n > {done}")["prediction_id"].to_pylist())
    return found


def _checkpoints(store: QueryStore, done: int, through: int) -> list[int]:
    found: set[int] = set()
    for name in _quarters(store, "log_attribution"):
        where = f"event = 'attribution' AND ckpt_n > {done} AND ckpt_n <= {through}"
        found.update(store.read(name, ["ckpt_n"], where)["ckpt_n"].to_pylist())
    return sorted(found)


def _rows_of(store: QueryStore, n: int) -> list[dict[str, Any]]:
    """One row for every attribution under a checkpoint that has a vector in this space."""
    attributions = _read(store, "log_attribution", f"event = 'attribution' AND ckpt_n = {n}")
    partners = {
        table: {row["prediction_id"]: row for row in _read(store, table, f"event = '{event}' AND ckpt_n = {n}")}
        for table, event in _PARTNERS.items()
    }
    made = [_made(row, *(known.get(row["prediction_id"]) for known in partners.values())) for row in attributions]
    found = [row for row in made if row]
    if len(found) < len(made):
        log.info("checkpoint %d: %d of %d answers have no vector in %s", n, len(made) - len(found), len(made), TABLE)
    return found


def _made(
    row: Mapping[str, Any], prediction: Mapping[str, Any] | None, guardrail: Mapping[str, Any] | None
) -> dict[str, Any] | None:
    """None where there is no vector; a partner under another checkpoint leaves its columns unknown."""
    why, said, guard = (_said(one) for one in (row, prediction, guardrail))
    vec = vector.vector(why, guard)
    if vec is None:
        return None
    shown = said.get("recommended") or [{}]
    return {
        "vec_id": f"{vector.SPACE}:{row['prediction_id']}", "prediction_id": row["prediction_id"],
        "space": vector.SPACE, "ts": row["ts"], "task": why.get("task"),
        "product_category": shown[0].get("product_id"), "segment_id": said.get("segment_id"),
        "verdict": guard.get("verdict"), "gate_entropy": why.get("gate_entropy"),
        "model_version": said.get("model_version"), "schema_version": said.get("feature_schema_version"),
        "source_method": why.get("method"), "source_asof": why.get("source_asof"),
        "ood_flagged": vector.is_far_out(guard), "has_gates": vector.has_gates(why), "ckpt_n": row["ckpt_n"],
        COLUMN: vec.tolist(),
    }  # fmt: skip


def _said(row: Mapping[str, Any] | None) -> dict[str, Any]:
    return json.loads(row["payload"]) if row and row["payload"] else {}


def _read(store: QueryStore, table: str, where: str) -> list[dict[str, Any]]:
    columns = ["prediction_id", "ts", "payload", "ckpt_n"]
    return [row for name in _quarters(store, table) for row in store.read(name, columns, where).to_pylist()]


def _quarters(store: QueryStore, table: str) -> list[str]:
    return [name for name in store.names() if is_quarter_of(name, table)]


def _by_quarter(rows: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(quarter_table(TABLE, row["ts"]), []).append(row)
    return found


def _index(settings: Settings, store: QueryStore, name: str) -> None:
    """Make the index once the table is large, and again when it has doubled; what came since is compared one by one."""
    rows, indexed = store.count(name), store.indexed(name, COLUMN) or 0
    if rows >= settings.audit.similar.index_rows and rows >= 2 * indexed:
        index(store, name, rows)
        log.info("%s: index over %d vectors", name, rows)


def index(store: QueryStore, name: str, rows: int) -> None:
    """Index vectors and the columns that a search is narrowed by: without those every search reads them whole."""
    store.index_columns(name, ("ts", "ckpt_n"), ("task", "product_category", "ood_flagged", "has_gates"))
    store.index_vectors(name, COLUMN, isqrt(rows), SUB_VECTORS)
