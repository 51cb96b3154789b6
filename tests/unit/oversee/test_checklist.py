from collections.abc import Callable

import pytest

from pipeline_lib.audit import session
from pipeline_lib.oversee.checklist import judge, nightly
from pipeline_lib.settings import Settings


def reading(monitor: str, state: str) -> dict[str, object]:
    return {"monitor": monitor, "about": "churn_signal", "statistic": "psi", "state": state, "cause": "because"}


@pytest.fixture
def settings(make_settings: Callable[..., Settings]) -> Settings:
    return make_settings()


@pytest.mark.parametrize(
    ("states", "light"),
    [(["OK"], "GREEN"), (["OK", "WARN"], "YELLOW"), (["UNKNOWN"], "YELLOW"), (["WARN", "FAIL"], "RED")],
)
@pytest.mark.parametrize("monitor", ["drift", "fairness"])
def test_the_worst_reading_sets_the_light(settings: Settings, monitor: str, states: list[str], light: str) -> None:
    found, advice = judge([reading(monitor, state) for state in states], settings.monitoring.checklist)
    assert found == light
    assert len(advice) == sum(state != "OK" for state in states)
    assert all(one.likely_cause and one.suggested_action for one in advice)


def test_a_night_without_readings_is_not_green(settings: Settings) -> None:
    assert judge([], settings.monitoring.checklist)[0] == "YELLOW"


def test_the_checklist_is_in_the_record(settings: Settings) -> None:
    nightly(settings, [reading("drift", "FAIL")])
    rows = [row for row in session.rows(settings) if row.header["event"] == "checklist_run"]
    assert [row.payload["details"]["light"] for row in rows] == ["RED"]
