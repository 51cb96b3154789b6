"""Served answers as the function records them: its own row builder over outcomes that a test describes."""

from __future__ import annotations

import uuid
from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date

from pipeline_lib.audit import session
from pipeline_lib.audit.segment import Entry
from pipeline_lib.serve import record
from pipeline_lib.serve.guardrail import CRITERIA, Finding
from pipeline_lib.serve.layers import Row, TaskAnswer
from pipeline_lib.serve.reasons import Attribution
from pipeline_lib.serve.request import Request
from pipeline_lib.serve.score import Score
from pipeline_lib.serve.suitability import Item
from pipeline_lib.serve.tables import Customer
from pipeline_lib.serve.tiers import Review
from pipeline_lib.settings import Settings

DAY = date(2026, 11, 16)
ITEM = Item("saving", "savings account", 1, "savings_guarantee", None, 1, False, False, False)
SCORE = Score(0.5, 0.5, {"churn_signal": 0.5}, 1.0, 1.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True)
class Answer:
    """One answer to one customer."""

    customer: str = "c1"
    version: str = "v20261102-aaaaaaaa"
    config_hash: str = "c" * 64
    scores: Mapping[str, float] = field(default_factory=lambda: {"churn_signal": 0.2})
    groups: Mapping[str, str] = field(default_factory=lambda: {"gender": "M", "age_band": "35-44"})
    layer: int = 1
    offered: bool = True
    delivered: bool = True
    opt_out: str = "in"
    operator: str | None = "o_1"


def entries(one: Answer) -> list[Entry]:
    at = record.Context(
        request_id=uuid.uuid4().hex,
        prediction_id=uuid.uuid4().hex,
        subject="s_" + one.customer,
        operator=one.operator,
        version=one.version,
        manifest_sha256="a" * 64,
        config_hash=one.config_hash,
        code_rev="c0de",
    )
    request = Request("1", "branch", "branch_initiated", "t", "t", 1, None, (), None, "ko", None)
    row = Row(array("f", [1.0, 2.0]), ("age", "num_products"), "s" * 64)
    customer = Customer(row, DAY, DAY, (), 40, None, "EUR", one.groups, None)
    return record.entries(at, request, outcome(one), customer, ("feature_row", "optout"), 900)


def outcome(one: Answer) -> record.Outcome:
    offered, shown = one.offered, one.offered and one.delivered
    method = "rule" if one.layer == 3 else "student_contrib"
    return record.Outcome(
        status="ok" if shown else "withheld_for_review" if offered else "no_suitable_candidate",
        answers={task: TaskAnswer(task, "binary", one.layer, "test", (p,)) for task, p in one.scores.items()},
        items=[(ITEM, SCORE)] if shown else [],
        eligible=[(ITEM, SCORE)] if offered else [],
        considered=1,
        dropped={} if offered else {"min_score": 1},
        attribution=Attribution("churn_signal", method, 0.1, 0.2, (("num_products", 0.1),)),
        findings=[Finding(name, True) for name in CRITERIA] if offered else [],
        texts=("text with its notice",) if offered else (),
        sources=("L1",) if offered else (),
        provider_model=None,
        verdict="pass",
        review=Review(1, ()),
        tolerance=3,
        opt_out=one.opt_out,
        switches=(),
    )


def serve(settings: Settings, answers: Iterable[Answer]) -> None:
    """Record the answers in one segment of one function instance, and commit."""
    session.writer(settings, "serve").append([entry for one in answers for entry in entries(one)])
    session.commit(settings)
