"""Answers that came about like a given one: nearest explanation vectors by cosine, in a window of time before it.

An answer that the teacher explained is compared with such answers only, unless asked otherwise: without gates the
seven first numbers are zero, which is no likeness. Source: audit.md 9.2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from pipeline_lib.audit.dispute.rows import Rows, any_of, text
from pipeline_lib.audit.load import loaded_through
from pipeline_lib.audit.segment import micros, timestamp
from pipeline_lib.audit.similar import feed, vector
from pipeline_lib.canonical import decimal_text
from pipeline_lib.errors import RequestRefused
from pipeline_lib.settings import Settings
from pipeline_lib.store import Near, QueryStore, quarter_table

FILTERS = ("task", "product_category", "ood_flagged")
_SHOWN = ("prediction_id", "ts", "task", "product_category", "verdict", "ood_flagged", "source_method", "model_version")


@dataclass(frozen=True)
class Wanted:
    """One search; what is None comes from the policy."""

    prediction_id: str
    k: int | None = None
    window_days: int | None = None
    same: Sequence[str] = FILTERS
    """Columns that must be equal to the given answer's."""
    without_gates_too: bool = False
    as_of_ckpt: int | None = None
    space: str = vector.SPACE


def similar(settings: Settings, wanted: Wanted) -> dict[str, Any]:
    """The nearest answers before the given one, nearest first, and what was searched.

    Raises:
        RequestRefused: the answer has no vector, another space or filter is asked for, or k or window are not positive.
    """
    store, policy = QueryStore(settings.place.query_store), settings.audit.similar
    k = policy.k if wanted.k is None else wanted.k
    days = policy.window_days if wanted.window_days is None else wanted.window_days
    _require(wanted, k, days)
    own = _own(store, wanted.prediction_id)
    start = timestamp(micros(own["ts"]) - timedelta(days=days) // timedelta(microseconds=1))
    where = _where(own, wanted, start)
    near = Near(feed.COLUMN, own[feed.COLUMN], k, policy.nprobes, policy.refine)
    names = [name for name in feed.tables(store.names()) if _within(name, start, own["ts"])]
    found = [row for name in names for row in store.nearest(name, near, where, _SHOWN).to_pylist()]
    nearest = sorted(found, key=lambda row: (row["_distance"], row["prediction_id"]))[:k]
    return {
        "prediction_id": wanted.prediction_id, "space": vector.SPACE, "metric": "cosine", "from": start,
        "to": own["ts"], "same": {name: own[name] for name in wanted.same},
        "gates_compared": bool(own["has_gates"]) and not wanted.without_gates_too,
        "cases": _cases(store, nearest, wanted.as_of_ckpt),
    }  # fmt: skip


def _require(wanted: Wanted, k: int, days: int) -> None:
    if wanted.space != vector.SPACE:
        raise RequestRefused(f"vectors of space {wanted.space!r} are not compared with those of {vector.SPACE}")
    if unknown := sorted(set(wanted.same) - set(FILTERS)):
        raise RequestRefused(f"no filter {unknown}; known: {', '.join(FILTERS)}")
    if k < 1 or days < 1:
        raise RequestRefused(f"k and window are at least 1, found k {k}, {days} days")


def _own(store: QueryStore, prediction_id: str) -> dict[str, Any]:
    for name in reversed(feed.tables(store.names())):
        found: list[dict[str, Any]] = store.read(
            name, feed.SCHEMA.names, f"prediction_id = {text(prediction_id)}"
        ).to_pylist()
        if found:
            return found[0]
    raise RequestRefused(
        f"{prediction_id}: no explanation vector in {vector.SPACE}; not loaded, or nothing explained it"
    )


def _where(own: Mapping[str, Any], wanted: Wanted, start: str) -> str:
    parts = [f"ts >= {text(start)}", f"ts < {text(own['ts'])}", f"prediction_id != {text(wanted.prediction_id)}"]
    parts += [_equals(name, own[name]) for name in wanted.same]
    if not wanted.without_gates_too:
        parts.append(f"has_gates = {str(bool(own['has_gates'])).lower()}")
    if wanted.as_of_ckpt is not None:
        parts.append(f"ckpt_n <= {int(wanted.as_of_ckpt)}")
    return " AND ".join(parts)


def _equals(name: str, value: str | bool | None) -> str:
    """Unknown is like unknown only."""
    if value is None:
        return f"{name} IS NULL"
    return f"{name} = {str(value).lower()}" if isinstance(value, bool) else f"{name} = {text(value)}"


def _within(name: str, start: str, end: str) -> bool:
    return quarter_table(feed.TABLE, start) <= name <= quarter_table(feed.TABLE, end)


def _cases(store: QueryStore, nearest: Sequence[Mapping[str, Any]], as_of: int | None) -> list[dict[str, Any]]:
    versions = [row["model_version"] for row in nearest]
    snapshots = _snapshots(store, versions, loaded_through(store) if as_of is None else as_of)
    return [
        {
            **{name: row[name] for name in _SHOWN}, "cosine": decimal_text(1 - float(row["_distance"]), 6),
            "training_snapshot": snapshots.get(row["model_version"]), "outcome": None,
        }
        for row in nearest
    ]  # fmt: skip


def _snapshots(store: QueryStore, versions: Sequence[str | None], as_of: int) -> dict[str, str | None]:
    """Version -> the data it was trained on, from the verdicts about it."""
    if not any(versions):
        return {}
    likes = [f"payload LIKE {text(f'%{version}%')}" for version in sorted({v for v in versions if v})]
    named = f"{any_of('event', ['promotion_decision'])} AND ({' OR '.join(likes)})"
    found = Rows(store, as_of).find("log_model_promotion", named)
    return {str(row.said.get("challenger_version")): row.said.get("training_snapshot_hash") for row in found}
