"""The schema artefact: which column is what, where it comes from, and what it was fitted on.

``schema_hash`` covers what a consumer has to agree with: names, order, widths, kinds, backends. ``artefact_hash``
covers the fitted numbers too. Groups are contiguous ranges in column order, and so are blocks; consumers slice by
group name through the schema, never by a literal index. Source: features.md 13, docs/artefacts.md.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from pipeline_lib.canonical import digest
from pipeline_lib.features.columns import Column
from pipeline_lib.features.fitted import Fitted
from pipeline_lib.features.generator import Generator
from pipeline_lib.features.heavy_tails import SUFFIX
from pipeline_lib.features.layout import Settled
from pipeline_lib.features.normalise import SCALED, Scaling
from pipeline_lib.settings.features import Features

VERSION = 3
STRUCTURE = ("schema_version", "columns", "groups", "blocks", "aliases", "sequence", "diagrams", "items")
FITTED_NUMBERS = ("mean", "std", "fill")


def schema_of(
    policy: Features,
    generators: Mapping[str, Generator],
    groups: Mapping[str, Settled],
    scalings: Sequence[Scaling],
    fitted: Fitted,
    facts: Mapping[str, Any],
) -> dict[str, Any]:
    """The whole of ``schema.json``.

    Args:
        groups: the columns of every group in schema order, those of ``log_copies`` too.
        scalings: one per column.
        facts: what only the run knows: ``sequence``, ``diagrams``, ``items``, ``fitted_on``, ``dropped``,
            ``mcc_vocab``.
    """
    columns = _columns(policy, generators, groups, scalings)
    names = {column["name"] for column in columns}
    body: dict[str, Any] = {
        "schema_version": VERSION,
        "columns": columns,
        "groups": _ranges(policy, generators, groups),
        "blocks": _blocks(columns),
        "aliases": {alias: column for alias, column in policy.aliases.items() if column in names},
        "linear_groups": _linear_groups(columns),
        "log_copies": [column["name"] for column in columns if column["kind"] == "log"],
        "max_event_offset_days": 0,
        "fit_sample": fitted.fitted_on,
        **facts,
    }
    return {"schema_hash": schema_hash(body), "artefact_hash": artefact_hash(body), **body}


def schema_hash(schema: Mapping[str, Any]) -> str:
    """Hex SHA-256 of what does not change when only fitted numbers do."""
    bare = [{k: v for k, v in column.items() if k not in FITTED_NUMBERS} for column in schema["columns"]]
    return digest(_exact({**{name: schema[name] for name in STRUCTURE}, "columns": bare}))


def artefact_hash(schema: Mapping[str, Any]) -> str:
    """Hex SHA-256 of everything but the two hashes; reals as their shortest text."""
    return digest(_exact({k: v for k, v in schema.items() if k not in {"schema_hash", "artefact_hash"}}))


def to_bytes(schema: Mapping[str, Any]) -> bytes:
    return (json.dumps(schema, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _columns(
    policy: Features,
    generators: Mapping[str, Generator],
    groups: Mapping[str, Settled],
    scalings: Sequence[Scaling],
) -> list[dict[str, Any]]:
    flat = [(group, column) for group, settled in groups.items() for column in settled.kept]
    home = {column.name: group for group, column in flat}
    protected = {group for group, column in flat if column.name in policy.protected}
    reached = [_reached_by(group, column, home, generators) for group, column in flat]
    return [
        {
            "name": column.name,
            "index": index,
            "group": group,
            "block": generators[group].block,
            "axis": policy.groups[group].axis,
            "kind": column.kind,
            "scaled": column.kind in SCALED,
            "mean": scaling.mean,
            "std": scaling.std,
            "fill": scaling.fill,
            "lineage": sorted(column.lineage),
            "lookback_days": column.lookback_days,
            "ancestors": ancestors,
            "protected": column.name.removesuffix(SUFFIX) in policy.protected,
            "protected_ancestor": bool(protected & set(ancestors)),
            "distil": policy.groups[group].distil,
        }
        for index, ((group, column), scaling, ancestors) in enumerate(zip(flat, scalings, reached, strict=True))
    ]


def _reached_by(group: str, column: Column, home: Mapping[str, str], generators: Mapping[str, Generator]) -> list[str]:
    """Groups whose columns reach a column; a log copy has those of the one column it copies."""
    if column.kind == "log":
        source = home[column.name.removesuffix(SUFFIX)]
        return sorted({source, *_ancestors(source, generators)})
    return _ancestors(group, generators)


def _ancestors(group: str, generators: Mapping[str, Generator]) -> list[str]:
    """Every group whose columns reach this one."""
    found: set[str] = set()
    ahead = list(generators[group].after)
    while ahead:
        name = ahead.pop()
        if name in generators and name not in found:
            found.add(name)
            ahead += generators[name].after
    return sorted(found)


def _ranges(
    policy: Features, generators: Mapping[str, Generator], groups: Mapping[str, Settled]
) -> list[dict[str, Any]]:
    out, start = [], 0
    for name, settled in groups.items():
        own, generator = policy.groups[name], generators[name]
        end = start + len(settled.kept)
        out.append(
            {
                "name": name,
                "axis": own.axis,
                "block": generator.block,
                "start": start,
                "end": end,
                "width": end - start,
                "available": end > start,
                "experts": list(own.experts),
                "distil": own.distil,
                "backend": generator.backend,
                "version": generator.version,
                "why": settled.why,
            }
        )
        start = end
    return out


def _blocks(columns: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    out = []
    for block, own in groupby(columns, key=lambda column: str(column["block"])):
        places = [column["index"] for column in own]
        space = {"hyper_space": "tangent"} if block == "hyper_emb" else {}
        out.append({"name": block, "start": places[0], "end": places[-1] + 1, "width": len(places), **space})
    return out


def _linear_groups(columns: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Columns with an exact linear relation: shares that sum to 1, and a total beside its terms. Source: features.md
    4.3; the causal and transport experts assume that there is none.
    """
    ratios = [c["name"] for c in columns if c["group"] == "txn_behavior" and c["name"].startswith("ratio_")]
    held = [c["name"] for c in columns if c["group"] == "product_holdings"]
    total = [c["name"] for c in columns if c["name"] == "num_products"]
    families = [[c["name"] for c in columns if c["group"] == g and c["kind"] == "prob"] for g in _groups(columns)]
    sums = [ratios, [*total, *held] if total and held else [], *families]
    return [own for own in sums if len(own) > 1]


def _groups(columns: Sequence[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(str(column["group"]) for column in columns))


def _exact(value: Any) -> Any:
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, Mapping):
        return {key: _exact(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_exact(item) for item in value]
    return value
