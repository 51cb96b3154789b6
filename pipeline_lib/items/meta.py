"""What is said once about all rows of one export: an item of its own that never changes, and which export is newest.

Every feature row names its export (``meta_id``), so a row is always read with the columns, schema, date and gates it
was written with, whatever else a refresh has or has not reached. ``current`` points to the newest complete export.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pipeline_lib.items import Items, TableUnreadable

TABLE, CURRENT = "meta", "current"


def named(as_of: str, made_from: str) -> str:
    """The id of an export. Ids sort as their dates do; of one date they differ by what they were made from."""
    return f"{as_of}.{made_from[-16:]}"


def items_of(meta_id: str, body: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The export's item, written before its first row, and the pointer to it, written after its last."""
    text = json.dumps(body, ensure_ascii=False, sort_keys=True)
    about = {name: body[name] for name in ("as_of", "made_from")}
    pointer = {"key": CURRENT, "meta_id": meta_id, "body": json.dumps(about, sort_keys=True)}
    return {"key": meta_id, "meta_id": meta_id, "body": text}, pointer


def read(items: Items, meta_id: str) -> Mapping[str, Any] | None:
    """``columns, schema_hash, as_of, currency, gate_tasks, gate_experts, gates_as_of, made_from`` of an export.

    Raises:
        TableUnreadable: the table, or the item's body.
    """
    found = items.get(TABLE, meta_id)
    if found is None:
        return None
    try:
        body = json.loads(found["body"])
    except (KeyError, ValueError, TypeError) as error:
        raise TableUnreadable(f"{TABLE}: {meta_id}: {type(error).__name__} {error}") from error
    if not isinstance(body, dict):
        raise TableUnreadable(f"{TABLE}: {meta_id}: an object expected, found {type(body).__name__}")
    return body


def newest_id(items: Items) -> str | None:
    """The id of the newest export that was written to its end, or None before the first. Raises TableUnreadable."""
    found = items.get(TABLE, CURRENT)
    if found is not None and not isinstance(found.get("meta_id"), str):
        raise TableUnreadable(f"{TABLE}: {CURRENT}: meta_id expected, found {sorted(found)}")
    return None if found is None else str(found["meta_id"])


def newest(items: Items) -> Mapping[str, Any] | None:
    """What ``read`` says of the newest export, or None before the first.

    Raises:
        TableUnreadable: also when the pointer names an export that is not there.
    """
    meta_id = newest_id(items)
    if meta_id is None:
        return None
    body = read(items, meta_id)
    if body is None:
        raise TableUnreadable(f"{TABLE}: {CURRENT} names {meta_id}, which is not there")
    return body
