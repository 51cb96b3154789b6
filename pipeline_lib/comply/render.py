"""A report's body as a page for people. Computes nothing: what is not in the body is not on the page."""

from __future__ import annotations

from typing import Any


def markdown(made: dict[str, Any]) -> str:
    period, as_of = made["period"], made["as_of"]
    lines = [
        f"# {made['title']}",
        "",
        f"Period {period['label']} ({period['from']} to {period['to']}), record as of checkpoint {as_of['ckpt_n']}, "
        f"verification: **{as_of['verification']}**.",
        "",
        *[f"- {basis}" for basis in made["legal_basis"]],
        "",
        f"Overall: {_overall(made)}.",
    ]
    for item in made["items"]:
        lines += ["", f"## {item['id']} {item['title']}", "", _verdict(item)]
        if item["numbers"]:
            lines += ["", "| number | value | of | evidence |", "|---|---|---|---|", *map(_row, item["numbers"])]
    lines += ["", f"Report {made['report_id']}, specification {made['spec_version']} ({made['spec_hash'][:16]})."]
    return "\n".join(lines) + "\n"


def _overall(made: dict[str, Any]) -> str:
    unknown = [item["id"] for item in made["items"] if item["status"] == "UNKNOWN"]
    said = f"worst known risk {made['overall']['worst_score']}" if made["overall"]["worst_score"] else "no score"
    if made["overall"]["level"]:
        said += f" ({made['overall']['level']})"
    return f"{said}; unknown: {', '.join(unknown)}" if unknown else f"{said}; every section is known"


def _verdict(item: dict[str, Any]) -> str:
    if item["status"] == "UNKNOWN":
        return f"**Unknown.** Looked for: {item['looked_for']}."
    if item["status"] == "NOT_APPLICABLE":
        return f"Not applicable: {item['looked_for']}."
    return f"Risk {item['score']} ({item['level']})." if item["score"] else "Stated from the record."


def _row(number: dict[str, Any]) -> str:
    value = "unknown" if number["value"] is None else number["value"]
    of = "" if number["den"] is None else f"{number['num']} / {number['den']}"
    return f"| {number['name']} | {value} | {of} | `{number['evidence']}` |"
