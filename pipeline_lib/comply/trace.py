"""From a printed number back to the recorded entries it was computed from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline_lib.audit import session
from pipeline_lib.comply.evidence import AsOf
from pipeline_lib.comply.quarterly import open_book
from pipeline_lib.errors import NotReproducible
from pipeline_lib.settings import Settings


@dataclass(frozen=True)
class Trace:
    """One number, its question asked again, and what the answer rests on."""

    number: Mapping[str, Any]
    """As printed: name, value, num, den, query_id."""
    answer: tuple[Mapping[str, Any], ...]
    """Rows of the statement's result now."""
    headers: tuple[Mapping[str, Any], ...]
    """Headers of the entries, read from the evidence itself and checked against their chains."""


def trace(settings: Settings, made: Mapping[str, Any], item_id: str, name: str) -> Trace:
    """Ask the statement behind a number again, at the report's checkpoint, and read the entries it was computed from.

    Args:
        made: body of a report.

    Raises:
        KeyError: the report has no such item or number.
        NotReproducible: the statement changed since, or its answer rests on other entries than the report says.
        ChainBroken: the evidence does not verify.
    """
    number = _number(made, item_id, name)
    (said,) = (one for one in made["evidence"] if one["query_id"] == number["query_id"])
    answer = open_book(settings, _as_of(made)).ask(number["query_id"])
    pointer = answer.pointer
    found = {"sql_sha256": pointer.sql_sha256, "rows": pointer.rows, "rows_sha256": pointer.rows_sha256}
    if differs := [f"{key} {found[key]}, the report says {said[key]}" for key in found if found[key] != said[key]]:
        raise NotReproducible(f"{made['report_id']} {item_id} {name!r}: {'; '.join(differs)}")
    wanted = set(answer.entries)
    rows = session.rows(settings, as_of_ckpt=made["as_of"]["ckpt_n"])
    headers = tuple(row.header for row in rows if row.header["entry_hash"] in wanted)
    if len(headers) != len(wanted):
        raise NotReproducible(f"{made['report_id']} {item_id} {name!r}: {len(headers)} of {len(wanted)} entries found")
    return Trace(number, answer.values, headers)


def _number(made: Mapping[str, Any], item_id: str, name: str) -> Mapping[str, Any]:
    for item in made["items"]:
        for number in item["numbers"]:
            if (item["id"], number["name"]) == (item_id, name):
                found: Mapping[str, Any] = number
                return found
    raise KeyError(f"{made['generator']} {made['report_id']}: no number {name!r} in {item_id}")


def _as_of(made: Mapping[str, Any]) -> AsOf:
    state, period = made["as_of"], made["period"]
    return AsOf(
        origin=state["origin"],
        ckpt_n=state["ckpt_n"],
        root=state["root"],
        start=period["from"],
        end=period["to"],
        label=period["label"],
        verification=state["verification"],
    )
