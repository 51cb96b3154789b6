"""Readings in, a light and findings out."""

from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from pipeline_lib.audit import session
from pipeline_lib.monitor import drift, fairness
from pipeline_lib.oversee.checklist import judge, nightly
from pipeline_lib.settings import Settings
from pipeline_lib.settings.monitoring import Monitoring


def reading(monitor: str, state: str) -> dict[str, Any]:
    return {"monitor": monitor, "about": "churn_signal", "statistic": "psi", "state": state, "cause": "because"}


BOTH_OK = [reading("drift", "OK"), reading("fairness", "OK")]


@pytest.fixture
def settings(make_settings: Callable[..., Settings]) -> Settings:
    return make_settings()


@pytest.mark.parametrize(
    ("states", "light"),
    [([], "GREEN"), (["WARN"], "YELLOW"), (["UNKNOWN"], "YELLOW"), (["WARN", "FAIL"], "RED")],
)
@pytest.mark.parametrize("monitor", ["drift", "fairness"])
def test_the_worst_reading_sets_the_light(settings: Settings, monitor: str, states: list[str], light: str) -> None:
    readings = [*BOTH_OK, *(reading(monitor, state) for state in states)]
    found, advice = judge(readings, settings.monitoring.checklist)
    assert (found, len(advice)) == (light, len(states))
    assert all(one.monitor == monitor and one.likely_cause and one.suggested_action for one in advice)
    assert all(one.what == "psi: because" for one in advice)


@pytest.mark.parametrize("silent", ["drift", "fairness"])
def test_a_monitor_that_left_no_reading_is_a_finding(settings: Settings, silent: str) -> None:
    light, (advice,) = judge([one for one in BOTH_OK if one["monitor"] != silent], settings.monitoring.checklist)
    assert (light, advice.monitor, advice.what) == ("YELLOW", silent, "no reading tonight")


def test_a_night_without_readings_is_not_green(settings: Settings) -> None:
    light, advice = judge([], settings.monitoring.checklist)
    assert (light, len(advice)) == ("YELLOW", 2)


@pytest.mark.parametrize(("state", "light"), [("FAIL", "RED"), ("WARN", "YELLOW"), ("UNKNOWN", "YELLOW")])
def test_a_reading_that_no_rule_knows_is_not_lost(settings: Settings, state: str, light: str) -> None:
    found, (advice,) = judge([*BOTH_OK, reading("guardrail", state)], settings.monitoring.checklist)
    assert found == advice.light == light
    assert f"no rule for guardrail {state}" in advice.likely_cause


def test_each_state_of_a_monitor_has_one_rule(settings: Settings) -> None:
    policy = settings.monitoring.model_dump()
    for rules in (policy["checklist"][1:], [*policy["checklist"], policy["checklist"][0]]):
        with pytest.raises(ValidationError, match="expected one for each"):
            Monitoring.model_validate({**policy, "checklist": rules})


def test_a_night_of_a_bank_without_answers_is_yellow_and_in_the_record(settings: Settings) -> None:
    readings = [*drift.nightly(settings), *fairness.nightly(settings)]
    result = nightly(settings, readings)
    (row,) = [row for row in session.rows(settings) if row.header["event"] == "checklist_run"]
    assert result["light"] == "YELLOW"
    assert row.payload["details"] == result
    assert (row.payload["severity"], len(result["findings"])) == ("info", len(readings))


def test_a_red_night_is_recorded_as_major(settings: Settings) -> None:
    nightly(settings, [*BOTH_OK, reading("drift", "FAIL")])
    (row,) = [row for row in session.rows(settings) if row.header["event"] == "checklist_run"]
    assert (row.payload["severity"], row.payload["reason"]) == ("major", "RED: 1 findings in 3 readings")
