"""Somebody has seen a warning: one create-only record per warning, valid for one configuration.

A FAIL stops the run and nobody can wave it through. A WARN does not stop it; until a record names check, column and
approver under the same configuration hash, the leakage report calls it open. Source: data.md 10.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline_lib.canonical import canonical_bytes, digest
from pipeline_lib.errors import RequestRefused
from pipeline_lib.objects import Objects
from pipeline_lib.records import Finding
from pipeline_lib.runs import RunContext

ROOT = "leakage/acknowledged"
MIN_REASON = 10
STAGES = ("check_tables", "check_features", "check_scores")
Key = tuple[str, str, str]
Acks = Mapping[Key, Mapping[str, Any]]


def key_of(check: str, column: str, label: str) -> Key:
    return check, column, label


def acknowledged(objects: Objects, config_hash: str) -> dict[Key, dict[str, Any]]:
    """(check, column, label) -> record, of this configuration."""
    found = [json.loads(objects.get(key)) for key in objects.list(f"{ROOT}/{config_hash}")]
    return {key_of(one["check"], one["column"], one["label"]): one for one in found}


def state_of(records: Mapping[Key, Mapping[str, Any]]) -> str:
    """Hex digest: an input of the check stages, so that a new record makes the report again."""
    return digest([dict(records[key]) for key in sorted(records)])


def open_warnings(found: Sequence[Finding], records: Mapping[Key, Any]) -> list[Finding]:
    return [f for f in found if f.verdict == "WARN" and key_of(f.check, f.column, f.label) not in records]


def acknowledge(ctx: RunContext, check: str, column: str, label: str, approver: str, reason: str) -> str:
    """Record that ``approver`` has seen a warning of this run; the object's key.

    Raises:
        RequestRefused: the run has no such open warning, or approver or reason is too short to mean anything.
    """
    if not approver.strip() or len(reason.strip()) < MIN_REASON:
        raise RequestRefused(f"an acknowledgement names its approver and gives a reason of {MIN_REASON} characters")
    known = {key_of(w["check"], w["column"], w["label"]) for w in _warnings(ctx)}
    if key_of(check, column, label) not in known:
        shown = "; ".join(" ".join(part for part in key if part) for key in sorted(known)) or "none"
        raise RequestRefused(f"{ctx.logical_date} has no warning {check} {column} {label}; it has: {shown}")
    body = {
        "check": check,
        "column": column,
        "label": label,
        "approver": approver.strip(),
        "reason": reason.strip(),
        "config_hash": ctx.settings.config_hash,
    }
    name = f"{check}-{digest([check, column, label])[:16]}"
    key = f"{ROOT}/{ctx.settings.config_hash}/{name}.json"
    ctx.objects.create(key, canonical_bytes(body) + b"\n")
    return key


def _warnings(ctx: RunContext) -> list[dict[str, Any]]:
    """Warnings of the run's finished checks under the present configuration."""
    found: list[dict[str, Any]] = []
    for stage in STAGES:
        if ctx.has(stage) and ctx.read(stage).manifest.config_hash == ctx.settings.config_hash:
            rows = json.loads(ctx.read(stage).path("leakage_report.json").read_bytes())
            found += [row for row in rows if row["verdict"] == "WARN"]
    return found
