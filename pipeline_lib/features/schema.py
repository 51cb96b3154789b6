"""The schema artefact: which column is what, where it comes from, and what it was fitted on.

``schema_hash`` covers everything but itself; a model stores it and refuses other inputs. Groups are contiguous
ranges in column order; consumers slice by group name through the schema, never by a literal index.
Source: features.md 13, docs/artefacts.md.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline_lib.canonical import digest
from pipeline_lib.features.columns import Column
from pipeline_lib.features.normalise import Scaling
from pipeline_lib.settings.features import FeatureGroup

Dropped = Sequence[tuple[str, Column, str]]


def schema_of(
    groups: Mapping[str, FeatureGroup],
    columns: Mapping[str, Sequence[Column]],
    dropped: Dropped,
    scalings: Sequence[Scaling],
    sequence: Mapping[str, Any],
    items: Sequence[tuple[str, str]],
    fitted_on: Mapping[str, Any],
) -> dict[str, Any]:
    """The whole of ``schema.json``.

    Args:
        columns: per group, in schema order, the columns that exist.
        dropped: (group, column, why) of those that do not.
    """
    flat = [(group, column) for group, own in columns.items() for column in own]
    body: dict[str, Any] = {
        "columns": [
            {
                "name": column.name,
                "group": group,
                "kind": column.kind,
                "lineage": sorted(column.lineage),
                "mean": scaling.mean,
                "std": scaling.std,
                "fill": scaling.fill,
            }
            for (group, column), scaling in zip(flat, scalings, strict=True)
        ],
        "groups": _ranges(groups, columns, dropped),
        "dropped": [{"name": column.name, "group": group, "why": why} for group, column, why in dropped],
        "sequence": dict(sequence),
        "items": [{"name": name, "kind": kind} for name, kind in items],
        "fitted_on": dict(fitted_on),
    }
    return {"schema_hash": schema_hash(body), **body}


def schema_hash(schema: Mapping[str, Any]) -> str:
    """Hex SHA-256 of the schema without its own hash; reals as their shortest text."""
    return digest(_exact({key: value for key, value in schema.items() if key != "schema_hash"}))


def to_bytes(schema: Mapping[str, Any]) -> bytes:
    return (json.dumps(schema, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _ranges(
    groups: Mapping[str, FeatureGroup], columns: Mapping[str, Sequence[Column]], dropped: Dropped
) -> list[dict[str, Any]]:
    out, start = [], 0
    for name, group in groups.items():
        end = start + len(columns[name])
        reasons = sorted({why for owner, _, why in dropped if owner == name})
        out.append(
            {
                "name": name,
                "axis": group.axis,
                "start": start,
                "end": end,
                "available": end > start,
                "experts": list(group.experts),
                "distil": group.distil,
                "why": "; ".join(reasons) if end == start else "",
            }
        )
        start = end
    return out


def _exact(value: Any) -> Any:
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, Mapping):
        return {key: _exact(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_exact(item) for item in value]
    return value
