"""Questions about many explanations: do they agree, and do the gates drift? Unknown is unknown."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import combinations
from math import sqrt
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_lib import cli
from pipeline_lib.audit import session
from pipeline_lib.audit.similar.agreement import agreement, mean_cosine
from pipeline_lib.audit.similar.explained import Explained, Window
from pipeline_lib.audit.similar.gate_drift import gate_drift
from pipeline_lib.errors import RequestRefused
from pipeline_lib.settings import Settings

When = Callable[[str], datetime]
V1 = "v20260413-00000001"
EXPERTS = ("deepfm", "temporal")


@pytest.fixture
def small(bank: Any) -> Any:
    """The bank under a policy that five answers are enough."""
    audit = bank.settings.audit
    policy = audit.similar.model_copy(update={"min_answers": 5})
    bank.settings = bank.settings.model_copy(update={"audit": audit.model_copy(update={"similar": policy})})
    return bank


def answers(bank: Any, start: datetime, count: int, **attribution: Any) -> None:
    for at in range(count):
        known = {name: value(at) if callable(value) else value for name, value in attribution.items()}
        bank.decide(start + timedelta(minutes=at), f"{start}-{at}", V1, attribution=known)


def one_reason(name: str, value: str = "0.3") -> list[dict[str, Any]]:
    return [{"feature": name, "contribution": value, "rank": 1}]


def gates(temporal: float) -> list[dict[str, str]]:
    return [{"expert": "deepfm", "w": f"{1 - temporal:.9f}"}, {"expert": "temporal", "w": f"{temporal:.9f}"}]


def window(when: When, first: str, last: str) -> Window:
    return Window(when(f"{first} 00:00"), when(f"{last} 00:00"))


def asked(settings: Settings, when: When, **known: Any) -> list[dict[str, Any]]:
    return agreement(settings, window(when, "2026-04-01", "2026-05-01"), **known)["groups"]


def test_like_answers_with_like_reasons_agree_and_opposite_ones_do_not(small: Any, when: When) -> None:
    answers(small, when("2026-04-10 10:00"), 6, task="a", top_features=lambda at: one_reason("x", f"0.{at + 1}"))
    answers(small, when("2026-04-11 10:00"), 6, task="b",
            top_features=lambda at: one_reason("x", "0.3" if at % 2 else "-0.3"))  # fmt: skip
    answers(small, when("2026-04-12 10:00"), 6, task="c", top_features=lambda at: one_reason(f"x{at}"))
    small.commit(when("2026-04-13 10:00"))
    by_task = {group["task"]: group for group in asked(small.settings, when)}
    assert [by_task[task]["cosine"] for task in "abc"] == ["1.000000", "-0.200000", "0.000000"]
    assert [by_task[task]["top_share"] for task in "abc"] == ["1.000000", "1.000000", "0.166667"]
    assert by_task["a"]["all_identical"] is False


def test_reasons_that_are_the_same_to_the_digit_are_called_so(small: Any, when: When) -> None:
    answers(small, when("2026-04-10 10:00"), 6, top_features=one_reason("x"))
    small.commit(when("2026-04-13 10:00"))
    (group,) = asked(small.settings, when)
    assert (group["cosine"], group["all_identical"]) == ("1.000000", True)


def test_agreement_of_too_few_answers_is_unknown(small: Any, when: When) -> None:
    answers(small, when("2026-04-10 10:00"), 4, top_features=one_reason("x"))
    answers(small, when("2026-04-11 10:00"), 3, top_features=None)
    small.commit(when("2026-04-13 10:00"))
    (group,) = asked(small.settings, when)
    assert (group["answers"], group["without_reasons"]) == (7, 3)
    assert [group[name] for name in ("cosine", "top_feature", "top_share", "all_identical")] == [None] * 4


def test_groups_are_by_task_product_and_segment_inside_the_window(small: Any, when: When) -> None:
    for day, segment in (("10", "A"), ("11", "B"), ("31", "B")):
        start = when(f"2026-0{3 if day == '31' else 4}-{day} 10:00")
        for at in range(5):
            known = {"segment_id": segment}
            small.decide(start + timedelta(minutes=at), f"{day}{at}", V1, prediction=known)
    small.commit(when("2026-04-13 10:00"))
    found = asked(small.settings, when)
    assert [(group["product"], group["segment"], group["answers"]) for group in found] == [
        ("deposit_long", "A", 5), ("deposit_long", "B", 5)]  # fmt: skip
    assert asked(small.settings, when, product="saving") == []


VALUES = st.floats(0.1, 2) | st.floats(-2, -0.1)


@given(st.lists(st.dictionaries(st.sampled_from("abcd"), VALUES, min_size=1), min_size=2, max_size=8))
def test_the_mean_over_pairs_is_the_mean_over_pairs(values: list[dict[str, float]]) -> None:
    found = [Explained("t", "rule", None, None, one, {}) for one in values]

    def cosine(one: dict[str, float], two: dict[str, float]) -> float:
        lengths = [sqrt(sum(value * value for value in side.values())) for side in (one, two)]
        return sum(value * two.get(name, 0) for name, value in one.items()) / lengths[0] / lengths[1]

    pairs = [cosine(one, two) for one, two in combinations(values, 2)]
    assert mean_cosine(found) == pytest.approx(sum(pairs) / len(pairs), abs=1e-9)


def drift(settings: Settings, when: When) -> dict[str, Any]:
    windows = window(when, "2026-03-01", "2026-04-01"), window(when, "2026-04-01", "2026-05-01")
    return {task["task"]: task for task in gate_drift(settings, *windows)["tasks"]}


def test_weight_that_moved_is_the_distance_and_spread_is_the_noise(small: Any, when: When) -> None:
    for month, mean in (("03", 0.2), ("04", 0.5)):
        answers(small, when(f"2026-{month}-10 10:00"), 10, task="moved",
                gates=lambda at, mean=mean: gates(mean + (0.01 if at % 2 else -0.01)))  # fmt: skip
        answers(small, when(f"2026-{month}-11 10:00"), 10, task="still",
                gates=lambda at: gates(0.4 + (0.05 if at % 2 else -0.05)))  # fmt: skip
    small.commit(when("2026-04-20 10:00"))
    found = drift(small.settings, when)
    assert list(found) == ["moved", "still"]
    assert found["moved"]["distance"] == "0.300000"
    assert found["moved"]["experts"][1] == {"expert": "temporal", "before": "0.200000", "after": "0.500000"}
    assert found["still"]["distance"] == "0.000000"
    # sqrt(2/pi) * two experts / 2 * sqrt(2 * variance / 10), variance 0.0025 * 10/9
    assert float(found["still"]["noise"]) == pytest.approx(
        sqrt(2 / 3.141592653589793) * sqrt(0.2 * 0.025 / 9), abs=1e-6
    )


def test_drift_without_enough_gates_or_with_other_experts_is_unknown(small: Any, when: When) -> None:
    for month in ("03", "04"):
        answers(small, when(f"2026-{month}-10 10:00"), 6, task="none", gates=None)
        other = [{"expert": "newcomer" if month == "04" else "deepfm", "w": "1.000000000"}]
        answers(small, when(f"2026-{month}-11 10:00"), 6, task="other", gates=other)
    answers(small, when("2026-04-12 10:00"), 6, task="new", gates=gates(0.5))
    small.commit(when("2026-04-20 10:00"))
    found = drift(small.settings, when)
    assert {task: one["distance"] for task, one in found.items()} == {"new": None, "none": None, "other": None}
    assert found["none"]["why"] == found["new"]["why"] == "fewer than 5 answers with gates in a window"
    assert found["other"]["why"] == "the experts are not the same in all answers"
    assert (found["new"]["answers"], found["none"]["with_gates"]) == ([0, 6], [0, 0])


def test_windows_that_overlap_are_refused(small: Any, when: When) -> None:
    with pytest.raises(RequestRefused, match="after the second starts"):
        gate_drift(small.settings, window(when, "2026-03-01", "2026-04-02"), window(when, "2026-04-01", "2026-05-01"))
    with pytest.raises(RequestRefused, match="ends after it starts"):
        window(when, "2026-03-01", "2026-03-01")


def test_the_commands_print_unknown_and_log_who_asked(
    small: Any, when: When, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli.settings, "load", lambda: small.settings)
    made = small.decide(when("2026-04-10 10:00"), "1", V1)
    small.decide(when("2026-04-09 10:00"), "2", V1)
    small.commit(when("2026-04-20 10:00"))
    days = ["--from", "2026-04-01", "--to", "2026-05-01", "--reason", "quarterly review"]
    before = ["--before-from", "2026-03-01", "--before-to", "2026-04-01"]
    assert cli.main(["agreement", *days]) == 0
    assert '"cosine": "unknown"' in capsys.readouterr().out
    assert cli.main(["gate-drift", *before, *days, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["tasks"][0]["distance"] is None
    assert cli.main(["similar", "--prediction-id", made, "--reason", "quarterly review"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["cases"][0]["cosine"], shown["cases"][0]["outcome"]) == ("1.000000", "unknown")
    assert cli.main(["agreement", *days[:-1], "why"]) == 2
    logged = [row.payload for row in session.rows(small.settings, ["log_data_access"])
              if row.header["event"] == "log_query"]  # fmt: skip
    assert [(row["row_scope"], row["purpose"]) for row in logged] == [("bulk", "quarterly review")] * 3
