"""A verdict as a person reads it: the table of the approval form. Deterministic, no clock."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline_lib.records import Decision


def comparison_markdown(decision: Decision) -> str:
    """Verdict, path, comparison, significance and fidelity as Markdown."""
    parts = [_head(decision), _comparison(decision.body), _significance(decision.body), _fidelity(decision.body)]
    parts.append(_path(decision.body))
    return "\n\n".join(part for part in parts if part) + "\n"


def _head(decision: Decision) -> str:
    lines = [
        f"**{decision.challenger_version}** against **{decision.champion_version or 'no champion'}**: "
        f"`{decision.decision}`",
        "",
        decision.reason,
    ]
    significance = decision.body.get("significance") or {}
    if significance.get("underpowered"):
        lines += ["", f"**Underpowered**: only {significance['rows']} customers were compared."]
    return "\n".join(lines)


def _comparison(body: Mapping[str, Any]) -> str:
    rows = body.get("comparison") or []
    if not rows:
        return ""
    cells = [
        [r["metric"], r["champion"], r["challenger"], r["delta"], r["relative"], r["limit"], _mark(r["pass"])]
        for r in rows
    ]
    return _table(["metric", "champion", "challenger", "delta", "relative gain", "limit", "within"], cells)


def _significance(body: Mapping[str, Any]) -> str:
    found = body.get("significance") or {}
    if found.get("p") is None:
        return ""
    return (
        f"Primary test ({found['test']}): delta {_cell(found['delta'])}, SE {_cell(found['se'])}, "
        f"p = {_cell(found['p'])} on {found['n']} customers; detectable difference {_cell(found['detectable'])}."
    )


def _fidelity(body: Mapping[str, Any]) -> str:
    rows = body.get("fidelity") or []
    cells = [[r["task"], r["route"], r["verdict"], r["kl"], r["floor"]] for r in rows]
    return _table(["task", "route", "fidelity", "KL", "floor"], cells) if rows else ""


def _path(body: Mapping[str, Any]) -> str:
    steps = [[s["step"], s["outcome"], s["code"]] for s in body.get("gate_path") or []]
    return _table(["step", "outcome", "code"], steps) if steps else ""


def _table(head: list[str], rows: list[list[Any]]) -> str:
    lines = [head, ["---"] * len(head), *([_cell(cell) for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cell(value: Any) -> str:
    return "unknown" if value is None else str(value).replace("|", "\\|")


def _mark(passed: bool) -> str:
    return "yes" if passed else "**no**"
