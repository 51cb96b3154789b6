"""The dispute question from end to end: log who asks, gather, check, answer, log what was shown.

``Answer.json`` depends on the question and the checkpoint only: asked again it has the same bytes. What grows with
the record (does the newest checkpoint continue that one?) is in ``consistency``. Source: audit.md 10.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipeline_lib.audit import catalogue, mapping, record
from pipeline_lib.audit.dispute import checking, remarks, sections
from pipeline_lib.audit.dispute.checking import History
from pipeline_lib.audit.dispute.gather import Gathered, Told, gather
from pipeline_lib.audit.dispute.question import Question, SubjectOf, pseudonym
from pipeline_lib.audit.dispute.rows import Row, Rows
from pipeline_lib.audit.dispute.wording import WordsOf, no_package, words
from pipeline_lib.audit.load import loaded_through
from pipeline_lib.audit.segment import Entry
from pipeline_lib.canonical import canonical_bytes, digest
from pipeline_lib.settings import Settings
from pipeline_lib.store import QueryStore

SCHEMA = "dispute/1"
SERVICE = "dispute"
TABLES = (
    "log_attribution log_data_access log_dimension_change log_guardrail log_model_inference log_model_promotion "
    "log_operation"
).split()


@dataclass(frozen=True)
class Answer:
    body: dict[str, Any]
    consistency: dict[str, Any]
    """From the checkpoint asked as of to the newest one."""
    rows: Sequence[Row]
    """Every entry it rests on, in leaf order."""

    @property
    def json(self) -> bytes:
        """Canonical: the same question as of the same checkpoint has the same bytes."""
        return canonical_bytes(self.body)

    @property
    def verified(self) -> bool:
        """Is every row the one under its checkpoint, and that checkpoint a part of today's record?"""
        return not self.body["proof"]["failures"] and bool(self.consistency["holds"])

    @property
    def names(self) -> list[tuple[str, int, int]]:
        """The rows as (writer, epoch, seq), to be proved."""
        return [(str(row.stored["writer_id"]), int(row.stored["epoch"]), int(row.stored["seq"])) for row in self.rows]


def ask(
    settings: Settings,
    question: Question,
    operator: str,
    *,
    words_of: WordsOf = no_package,
    subject_of: SubjectOf = pseudonym,
) -> Answer:
    """Answer from the query tables, checked against the checkpoints.

    Args:
        operator: pseudonym of who asks, ``o_`` and 64 hex.
        words_of: texts and limits of a released package.
        subject_of: from customer number to pseudonym; called after the access to the mapping is recorded.

    Raises:
        RequestRefused: the checkpoint asked for is not loaded.
        AuditError: what is asked cannot be recorded (then nothing is answered), or the checkpoints do not verify.
    """
    asked = secrets.token_hex(16)
    _log_mapping(settings, question, operator, asked)
    subject = subject_of(settings, question.customer)
    store = QueryStore(settings.place.query_store)
    of = checking.history(settings, question.as_of_ckpt, loaded_through(store))
    start, end = question.bounds
    found = gather(Rows(store, of.as_of.checkpoint.n), subject, start, end, question.product)
    if mapping.is_erased(settings, subject):
        body, rows = _erased(settings, question, found, of), [one for one in found.rows() if one.event == "erasure"]
    else:
        body, rows = _body(settings, question, subject, found, of, words_of), found.rows()
    _log_shown(settings, question, operator, asked, subject, found, body)
    return Answer(body, checking.consistency(of), rows)


def _erased(settings: Settings, question: Question, found: Gathered, of: History) -> dict[str, Any]:
    """Structure without content: which entries there are, that they are the ones under the checkpoint, and no more.

    It holds from the erasure on, whatever checkpoint is asked about; neither pseudonym nor payload is shown.
    """
    nobody = Gathered([], [one for one in found.about_subject if one.event == "erasure"])
    body = _body(settings, question, "erased", nobody, of, no_package)
    why = "this customer was erased on request: entries and their hashes remain, what they said is not shown"
    return {**body, "erased": True, "holes": [why], "about_subject": [_act(row) for row in nobody.about_subject],
            "entries": [row.ref() for row in found.rows()],
            "proof": checking.examined(found.rows(), of)}  # fmt: skip


def _act(row: Row) -> dict[str, Any]:
    """An act of the erasure: who, when and why, without the pseudonym."""
    return {**row.ref(), **{name: row.said.get(name) for name in ("actor_ref", "phase", "object_id", "reason")}}


def _body(
    settings: Settings, question: Question, subject: str, found: Gathered, of: History, words_of: WordsOf
) -> dict[str, Any]:
    point = of.as_of.checkpoint
    nothing = [f"log_model_inference: no answer to this customer on {question.on}, as of checkpoint {point.n}"]
    return {
        "schema": SCHEMA,
        "asked": question.parameters(subject),
        "as_of": {"origin": record.origin(settings), "n": point.n, "size": point.size, "root": point.root,
                  "ts": point.ts},
        "answers": [_answer(told, question, of.times, words_of) for told in found.answers],
        "about_subject": [{**row.ref(), **row.said} for row in found.about_subject],
        "holes": [] if found.answers else nothing,
        "caveats": remarks.general(found.answers),
        "entries": [row.ref() for row in found.rows()],
        "proof": checking.examined(found.rows(), of),
    }  # fmt: skip


def _answer(told: Told, question: Question, times: dict[int, str], words_of: WordsOf) -> dict[str, Any]:
    said, stored = told.prediction.said, told.prediction.stored
    wording = words(words_of, said.get("model_version"), said.get("manifest_hash"))
    return {
        "prediction_id": stored["prediction_id"],
        "request_id": stored["request_id"],
        "event_time": told.prediction.ts,
        "checkpoint": remarks.covered(told.prediction, times),
        "decided": sections.decided(told, wording),
        "asked_by": sections.asked_by(told),
        "model": sections.model(told),
        "inputs": sections.inputs(told),
        "why": sections.why(told, wording, question.text_sha256),
        "reliability": sections.reliability(told, wording),
        "safeguards": sections.safeguards(told, wording),
        "humans": sections.humans(told),
        "holes": remarks.holes(told, wording),
        "caveats": remarks.caveats(told, times),
        "leaves": sorted(row.leaf_index for row in told.rows()),
    }


def _log_mapping(settings: Settings, question: Question, operator: str, asked: str) -> None:
    """Before anything is looked up: somebody wants to know which pseudonym a customer has."""
    known = {"purpose": f"pseudonym_mapping: {question.reason}", "fields_read": ["customer_id", "subject_ref"]}
    record.record_once(settings, SERVICE, [_entry(question, operator, f"{asked}:mapping", known)])


def _log_shown(
    settings: Settings, question: Question, operator: str, asked: str, subject: str, found: Gathered,
    body: dict[str, Any],
) -> None:  # fmt: skip
    """What was read, and one row for each answer that was shown; also when there was none."""
    known = {
        "subject_ref": subject, "row_scope": "single", "purpose": f"dispute: {question.reason}",
        "fields_read": TABLES, "row_count": len(found.rows()), "query_hash": digest(body["asked"]),
    }  # fmt: skip
    entries = [_entry(question, operator, f"{asked}:0", known)]
    for at, told in enumerate(found.answers, 1):
        rows = {**known, "row_count": len(list(told.rows()))}
        entries.append(_entry(question, operator, f"{asked}:{at}", rows, told.prediction.stored["prediction_id"]))
    record.record_once(settings, SERVICE, entries)


def _entry(
    question: Question, operator: str, idem: str, known: dict[str, Any], prediction_id: str | None = None
) -> Entry:
    common = {
        "operator_ref": operator, "operator_kind": "human", "access_reason": "log_query", "case_id": question.case,
        "denied": False,
    }  # fmt: skip
    payload = catalogue.complete("log_data_access", {**common, **known})
    return Entry("log_data_access", "log_query", payload, f"log_query:{idem}", None, prediction_id)
