"""What is missing (holes) and what must not be read into the answer (caveats). Each names what was looked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipeline_lib.audit.dispute.gather import Told
from pipeline_lib.audit.dispute.rows import Row
from pipeline_lib.audit.dispute.wording import NoWords, Wording
from pipeline_lib.audit.segment import micros

ORDER = (
    "Entries of one process are in certain order. Between processes the order within one checkpoint is only as good as "
    "their clocks."
)
VALUES = "The record holds fingerprints of inputs and texts, not the inputs and texts themselves."


def holes(told: Told, wording: Wording) -> list[str]:
    """Entries that should be there and are not."""
    return [*_missing_rows(told), *_missing_release(told), *_missing_words(wording), *_gone(told)]


def caveats(told: Told, checkpoints: Mapping[int, str]) -> list[str]:
    """True of this answer, and easily overlooked.

    Args:
        checkpoints: number -> time of every checkpoint up to the one asked as of.
    """
    return [*_pointer(told), *_explanation(told), *_lateness(told, checkpoints), *_access(told), *_clock(told)]


def covered(row: Row, checkpoints: Mapping[int, str]) -> dict[str, Any]:
    """When the entry was fixed: its checkpoint, how long after the event, and whether an earlier one missed it."""
    n, at = int(row.stored["ckpt_n"]), checkpoints[int(row.stored["ckpt_n"])]
    passed_by = [other for other, ts in checkpoints.items() if other < n and ts > row.ts]
    return {"n": n, "ts": at, "after_us": micros(at) - micros(row.ts), "late": bool(passed_by)}


def _missing_rows(told: Told) -> Iterator[str]:
    prediction = told.prediction.stored["prediction_id"]
    for name, found, key in (
        ("log_attribution", told.attribution, f"prediction {prediction}"),
        ("log_guardrail", told.guardrail, f"prediction {prediction}"),
        ("log_data_access", told.access, f"request {told.prediction.stored['request_id']}"),
    ):
        if not found:
            yield f"{name}: no row for {key}; expected 1"
        elif len(found) > 1:
            yield f"{name}: {len(found)} rows for {key}; expected 1, the first is shown"


def _missing_release(told: Told) -> Iterator[str]:
    version = told.prediction.said.get("model_version")
    if told.made_champion is None:
        yield f"manifest_swap: no finished change of the pointer to {version} before the answer"
    if not told.verdicts:
        yield f"log_model_promotion: no verdict that made {version} champion before the answer"
    basis = told.verdicts[-1].said.get("basis_decision_id") if told.verdicts else None
    if basis:
        yield f"log_model_promotion: the verdict rests on {basis}, which is not there"


def _missing_words(wording: Wording) -> Iterator[str]:
    if isinstance(wording, NoWords):
        yield f"package: its words and limits cannot be shown: {wording.why}"


def _gone(told: Told) -> Iterator[str]:
    for row in told.rows():
        if row.payload is None:
            yield f"{row.stored['log_table']}: the payload of leaf {row.leaf_index} was erased or retired; header kept"


def _pointer(told: Told) -> Iterator[str]:
    version, named = told.prediction.said.get("model_version"), _version(told.swap)
    if told.swap is not None and named != version:
        yield f"the pointer named {named} at that moment; the answer came from {version} (a share of traffic, or late)"


def _explanation(told: Told) -> Iterator[str]:
    said: Mapping[str, Any] = told.attribution[0].said if told.attribution else {}
    day = told.prediction.ts[:10]
    if said.get("gates") and said.get("source_asof") and str(said["source_asof"])[:10] != day:
        yield f"the gate weights are the teacher's of {said['source_asof']}, not of the moment of the answer"
    if said.get("method") == "student_contrib":
        yield "the contributions are the student's own; gate weights beside them are the teacher's of the same customer"
    if said.get("method") == "rule":
        yield "a rule decided this task: its contributions are shared equally among the inputs it looked at"
    if said and not said.get("gates"):
        yield "gate weights: none recorded for this answer"
    ood: Mapping[str, Any] = (told.guardrail[0].said.get("ood") if told.guardrail else None) or {}
    if ood.get("level") in (None, "unknown", "stale"):
        yield f"reliability: the distance is {ood.get('level') or 'not recorded'}; it says nothing about this answer"


def _lateness(told: Told, checkpoints: Mapping[int, str]) -> Iterator[str]:
    for row in told.rows():
        if row.stored["log_table"] != "log_operation" and covered(row, checkpoints)["late"]:
            yield f"late segment: {row.event} of {row.ts} was first covered by checkpoint {row.stored['ckpt_n']}"


def _access(told: Told) -> Iterator[str]:
    if told.access and told.access[0].said.get("lawful_basis") is None:
        yield "lawful basis of the access: not recorded"


def _clock(told: Told) -> Iterator[str]:
    clock = told.prediction.stored["clock"]
    if clock != "ok":
        yield f"the clock of the answering process was {clock}: its time is bounded by the checkpoint only"


def general(answers: Sequence[Any]) -> list[str]:
    """Said in every answer."""
    return [ORDER, VALUES] if answers else [ORDER]


def _version(row: Row | None) -> str | None:
    details = (row.said.get("details") if row else None) or {}
    value = details.get("version")
    return None if value is None else str(value)
