"""A report's body as a page for people. Computes nothing: what is not in the body is not on the page."""

from __future__ import annotations

from typing import Any


def markdown(made: dict[str, Any]) -> str:
    """One page: what it is, what it says item by item, and the questions its numbers answer."""
    places = {one["query_id"]: place for place, one in enumerate(made["evidence"], 1)}
    lines = [*_head(made), *_at_a_glance(made)]
    for item in made["items"]:
        lines += _item(item, places)
    return "\n".join([*lines, *_evidence(made), ""])


def _head(made: dict[str, Any]) -> list[str]:
    period, as_of = made["period"], made["as_of"]
    entries = sum(row["entries"] for row in made["coverage"])
    return [
        f"# {made['title']}",
        "",
        f"For: {made['reader']}. Period {period['label']}: from {_moment(period['from'])} to {_moment(period['to'])}.",
        "",
        f"Computed from {entries} entries of the record `{as_of['origin']}` as of checkpoint {as_of['ckpt_n']}; "
        f"verification of the record: **{as_of['verification']}**.",
        "",
        "Legal basis:",
        "",
        *[f"- {basis}" for basis in made["legal_basis"]],
    ]


def _at_a_glance(made: dict[str, Any]) -> list[str]:
    unknown = [item["id"] for item in made["items"] if item["status"] == "UNKNOWN"]
    said = [f"Answered sections: {len(made['items']) - len(unknown)} of {len(made['items'])}."]
    if made["overall"]["score"]:
        said.append(f"Overall risk {made['overall']['score']} ({made['overall']['level']}).")
    elif made["overall"]["level"]:
        said.append(f"No overall score; overall level at least {made['overall']['level']}.")
    if made["unknown_mandatory"]:
        said.append(f"**May not be filed**: {', '.join(made['unknown_mandatory'])} must be known first.")
    lines = ["", "## At a glance", "", " ".join(said), "", "| section | | answer |", "|---|---|---|"]
    return [*lines, *[f"| {item['id']} | {item['title']} | {_short(item)} |" for item in made["items"]]]


def _item(item: dict[str, Any], places: dict[str, int]) -> list[str]:
    lines = ["", f"## {item['id']} {item['title']}", "", f"{_verdict(item)}"]
    if item["looked_for"]:
        lines += ["", "Not in the record:", "", *[f"- {text}" for text in item["looked_for"]]]
    if item["numbers"]:
        lines += ["", "| what | value | of | question |", "|---|---|---|---|"]
        lines += [_row(number, places[number["query_id"]]) for number in item["numbers"]]
    return lines


def _short(item: dict[str, Any]) -> str:
    if item["status"] == "UNKNOWN":
        return f"unknown, at least {item['at_least']}" if item["at_least"] else "unknown"
    return f"{item['score']} ({item['level']})" if item["score"] else "stated"


def _verdict(item: dict[str, Any]) -> str:
    if item["status"] == "UNKNOWN":
        least = f" The parts that are known make a risk of at least {item['at_least']}." if item["at_least"] else ""
        known = " What is known is in the table." if item["numbers"] else ""
        return f"**Unknown.**{least}{known}"
    return f"Risk {item['score']} ({item['level']})." if item["score"] else "Stated from the record."


def _row(number: dict[str, Any], place: int) -> str:
    value = "unknown" if number["value"] is None else number["value"]
    of = "" if number["den"] is None else f"{number['num']} / {number['den']}"
    return f"| {number['name']} | {value} | {of} | {place} |"


def _evidence(made: dict[str, Any]) -> list[str]:
    """The questions, numbered as in the tables above."""
    rows = [
        f"| {place} | `sql/comply/{one['query_id']}.sql` | `{one['sql_sha256'][:16]}` | {one['rows']} | "
        f"`{one['rows_sha256'][:16]}` |"
        for place, one in enumerate(made["evidence"], 1)
    ]
    return [
        "",
        "## Evidence",
        "",
        "Each number is the answer to a statement over entries of the record. Digests are cut to 16 digits here; "
        "the body has them whole.",
        "",
        "| question | statement | digest | entries | digest of the entries |",
        "|---|---|---|---|---|",
        *rows,
        "",
        f"Report `{made['report_id']}`, specification {made['spec_version']} (`{made['spec_hash'][:16]}`).",
    ]


def _moment(text: str) -> str:
    return f"{text[:10]} {text[11:19]} UTC"
