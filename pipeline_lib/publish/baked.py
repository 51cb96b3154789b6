"""Policy as the function reads it: settings and source as JSON, so that serving needs no YAML and no validation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from pipeline_lib.canonical import digest
from pipeline_lib.runs import StageOutput
from pipeline_lib.settings import Settings

PARTS = ("scoring", "rules")


def policy(settings: Settings, ingest: StageOutput, schema: Mapping[str, Any]) -> dict[str, Any]:
    """File name (without ``.json``) -> content of the package's ``policy/`` folder."""
    body = settings.serving.model_dump(mode="json")
    templates, parts = body.pop("reasons"), {name: body.pop(name) for name in PARTS}
    return {
        "serving": body,
        **parts,
        "templates": templates,
        "products": {**_products(settings, ingest), "category_groups": _category_groups(ingest)},
        "tasks": {name: task.model_dump(mode="json") for name, task in settings.tasks.tasks.items()},
        "features": {
            "schema_hash": serving_schema_hash(schema),
            "columns": [column["name"] for column in schema["columns"]],
            "groups": {column["name"]: column["group"] for column in schema["columns"]},
        },
    }


def serving_schema_hash(schema: Mapping[str, Any]) -> str:
    """Identity of a stored row: names, order, groups and kinds of the columns.

    Not the fitted numbers: a champion must be able to read next week's rows. Source: features.md 13.1.
    """
    return digest([[column["name"], column["group"], column["kind"]] for column in schema["columns"]])


def newest_snapshot(ingest: StageOutput) -> Path:
    """The snapshot that answers are given for."""
    return ingest.path(f"customer_snapshot/{ingest.facts['newest_snapshot']}.parquet")


def _products(settings: Settings, ingest: StageOutput) -> dict[str, Any]:
    products = [product.model_dump(mode="json") for product in settings.source.products]
    return {
        "currency": settings.source.currency,
        "nba_classes": list(settings.source.nba_classes),
        "products": products,
        "popular": _popular(newest_snapshot(ingest), [product["short"] for product in products]),
    }


def _category_groups(ingest: StageOutput) -> dict[str, str]:
    """Category -> its top level; nothing for a source without a tree of categories."""
    if "dim_mcc.parquet" not in ingest.names("dim_mcc"):
        return {}
    table = pl.read_parquet(ingest.path("dim_mcc.parquet")).sort("code")
    return dict(zip(table["code"].to_list(), table["l1"].to_list(), strict=True))


def _popular(snapshot: Path, shorts: Sequence[str]) -> list[str]:
    """Products by number of holders, most first; ties by name. Not held by anybody: not in the list."""
    counts = pl.scan_parquet(snapshot).select(pl.col(f"prod_{short}").sum().alias(short) for short in shorts).collect()
    held = {short: int(counts[short][0] or 0) for short in shorts}
    return sorted((short for short in shorts if held[short]), key=lambda short: (-held[short], short))
