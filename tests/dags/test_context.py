"""What a task learns from Airflow about who started its run and whether it may change the champion."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

import pipeline_context

pytestmark = pytest.mark.filterwarnings("default")


@pytest.mark.parametrize(
    ("run_type", "params", "said"),
    [
        ("scheduled", {"promotable": False}, (False, None, None)),
        ("backfill", {"promotable": True}, (True, None, None)),
        ("manual", {"promotable": False}, (False, "oncall", False)),
        ("manual", {"promotable": True}, (False, "oncall", True)),
    ],
)
def test_only_a_run_started_by_hand_needs_the_word(
    monkeypatch: pytest.MonkeyPatch, run_type: str, params: dict[str, bool], said: tuple[Any, ...]
) -> None:
    run = SimpleNamespace(run_type=SimpleNamespace(value=run_type), triggering_user_name="oncall")
    monkeypatch.setattr(pipeline_context, "get_current_context", lambda: {"dag_run": run, "params": params})
    found = (pipeline_context.is_backfill(), pipeline_context.started_by(), pipeline_context.promotable())
    assert found == said


def test_the_form_of_a_run_started_by_hand_says_no_unless_it_is_ticked(bag: Any) -> None:
    assert bag.dags["weekly_promotion"].params["promotable"] is False
