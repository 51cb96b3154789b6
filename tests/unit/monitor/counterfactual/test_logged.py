"""Which answers of the record can be used, and the words for a log that cannot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pipeline_lib.audit import session
from pipeline_lib.audit.segment import Entry
from pipeline_lib.monitor.counterfactual import logged
from pipeline_lib.monitor.counterfactual.logged import Log, Window
from pipeline_lib.objects import open_objects
from pipeline_lib.serve import record
from pipeline_lib.serve.request import Request
from pipeline_lib.serve.slate import Draw, Exploration
from pipeline_lib.settings import Settings
from tests.unit.monitor.answers import ITEM, SCORE, Answer, outcome
from tests.unit.monitor.counterfactual.conftest import shipped

EXPLORE = Exploration(0.3, 0.1)
OTHER = replace(ITEM, item_id="deposit_short")
ELIGIBLE = [(ITEM, SCORE), (OTHER, SCORE)]
DRAWN = {"propensities": {"saving": 0.8, "deposit_short": 0.2}, "draw": Draw(EXPLORE, "saving"), "eligible": ELIGIBLE}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return shipped(tmp_path)


def entries(n: int, **changed: Any) -> list[Entry]:
    at = record.Context(f"r{n}", f"p{n}", "s_c1", None, "v1", "a" * 64, "c" * 64, "c0de")
    request = Request("1", "branch", "branch_initiated", "t", "t", 1, None, (), None, "ko", None)
    return record.entries(at, request, replace(outcome(Answer()), **changed), None, (), 900)


def served(settings: Settings, answers: Sequence[dict[str, Any]]) -> Log:
    """Record the answers, and read the window around now."""
    found = [entry for n, changed in enumerate(answers) for entry in entries(n, **changed)]
    session.writer(settings, "serve").append(found)
    session.commit(settings)
    now = datetime.now(UTC)
    return logged.read(open_objects(settings.place.root), settings, Window(now - timedelta(hours=1), now))


def test_a_deterministic_log_is_never_given_propensities(settings: Settings) -> None:
    taken = {"propensities": {"saving": 1.0, "deposit_short": 0.0}, "eligible": ELIGIBLE}
    log = served(settings, [{}, taken, taken])
    assert log.answers["state"].to_list() == ["no_propensity", "not_drawn", "not_drawn"]
    assert "deterministic log: rank 1 was drawn in none of 3 answers" in str(log.why_not)
    assert "every propensity is 0 or 1" in str(log.why_not)


def test_an_empty_window_is_said(settings: Settings) -> None:
    now = datetime.now(UTC)
    log = logged.read(open_objects(settings.place.root), settings, Window(now - timedelta(days=1), now))
    assert "the record has no answer between" in str(log.why_not)


STATES: list[tuple[str, dict[str, Any]]] = [
    ("usable", {}),
    ("not_delivered", {"items": ()}),
    ("first_withheld", {"draw": Draw(EXPLORE, "deposit_short")}),
    ("bad_propensity", {"propensities": {"saving": 0.8, "deposit_short": 0.1}}),
    ("bad_propensity", {"propensities": {"saving": 0.0, "deposit_short": 1.0}}),
    ("usable", {"propensities": {"saving": 1.0}, "eligible": ELIGIBLE[:1]}),
    ("not_drawn", {"draw": None, "propensities": {"saving": 1.0, "deposit_short": 0.0}}),
    ("no_propensity", {"draw": None, "propensities": {}}),
    ("by_rules", {"opt_out": "out"}),
    ("by_rules", {"answers": {}}),
]


def test_every_answer_has_one_state(settings: Settings) -> None:
    log = served(settings, [DRAWN | changed for _, changed in STATES])
    assert log.answers["state"].to_list() == [state for state, _ in STATES]
    assert set(log.answers["reward"].to_list()) == {None}


def test_answers_that_cannot_be_used_are_counted_in_the_reason(settings: Settings) -> None:
    log = served(settings, [DRAWN | {"items": ()}, DRAWN | {"opt_out": "out"}])
    assert "none of 2 answers" in str(log.why_not)
    assert "1 by_rules, 1 not_delivered" in str(log.why_not)


def test_the_window_of_a_run_ends_when_its_rewards_are_known(settings: Settings) -> None:
    day = datetime(2026, 11, 23).date()
    window = Window.before(day, settings)
    assert window.to_dict() == {"since": "2026-10-11T15:00:00.000000Z", "until": "2026-11-08T15:00:00.000000Z"}


def test_a_candidate_below_the_limits_is_kept_with_propensity_0(settings: Settings) -> None:
    log = served(settings, [DRAWN | {"below_limits": [(replace(ITEM, item_id="taxes"), SCORE)]}])
    (row,) = log.answers.iter_rows(named=True)
    assert (row["items"], row["propensities"]) == (["saving", "deposit_short", "taxes"], [0.8, 0.2, 0.0])
    assert (row["action"], row["messages_7d"], row["switched"]) == ("saving", None, [])
    assert row["groups"] == []
