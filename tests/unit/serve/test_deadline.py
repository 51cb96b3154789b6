"""A deadline is looked at between reads and between tasks; past it rules answer, and what was thrown stays thrown."""

from __future__ import annotations

import json
from collections.abc import Callable
from math import inf
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_lib.serve import local
from pipeline_lib.serve.deadline import Deadline
from pipeline_lib.serve.handler import respond

from .asking import SQL_OPT_OUT, SQL_SWITCH, change
from .contract import checked

Body = Callable[..., dict[str, Any]]
READS = ("opt_out", "switches", "assessment", "customer")


@pytest.fixture
def clocked(release: Any) -> tuple[Any, list[float], list[str]]:
    """A service on a clock of our own, its clock, and the names of its reads as they are made."""
    service, seconds, asked = release.service(), [0.0], []
    service.clock = lambda: seconds[0]
    service.tables.record_assessment(release.subject("c5"), 3, release.now.date())
    for name in READS:
        watch(service.tables, name, asked)
    return service, seconds, asked


def watch(tables: Any, name: str, asked: list[str]) -> None:
    inner = getattr(tables, name)

    def read(*given: Any) -> Any:
        asked.append(name)
        return inner(*given)

    setattr(tables, name, read)


def slow(service: Any, seconds: list[float], name: str, by: float) -> None:
    inner = getattr(service.tables, name)

    def read(*given: Any) -> Any:
        seconds[0] += by
        return inner(*given)

    setattr(service.tables, name, read)


def ask(service: Any, body: dict[str, Any], context: object = None) -> tuple[int, Any]:
    response = respond(local.event(body), lambda: service, context)
    return checked(response["statusCode"], json.loads(response["body"]))


@pytest.mark.parametrize("at", range(len(READS)))
def test_after_the_deadline_nothing_more_is_read(
    clocked: tuple[Any, list[float], list[str]], request_body: Body, at: int
) -> None:
    service, seconds, asked = clocked
    slow(service, seconds, READS[at], 0.9)
    http, body = ask(service, request_body())
    assert asked == list(READS[: at + 1])
    assert http == 200
    assert {(task["layer"], task["layer_reason"]) for task in body["tasks"].values()} == {(3, "DEADLINE")}
    assert body["flags"]["degraded"]
    assert body["receipt"]


def test_a_switch_that_was_read_is_obeyed_though_it_is_late(
    release: Any, clocked: tuple[Any, list[float], list[str]], request_body: Body
) -> None:
    service, seconds, _ = clocked
    change(release, SQL_SWITCH, "sw1", "global", "*", "disable")
    slow(service, seconds, "switches", 0.9)
    _, body = ask(service, request_body())
    assert body["status"] == "static_content"
    assert {task["layer_reason"] for task in body["tasks"].values()} == {"SWITCH:sw1"}


def test_an_opt_out_outranks_the_deadline(
    release: Any, clocked: tuple[Any, list[float], list[str]], request_body: Body
) -> None:
    service, seconds, _ = clocked
    change(release, SQL_OPT_OUT, release.subject("c5"), None)
    slow(service, seconds, "opt_out", 0.9)
    _, body = ask(service, request_body())
    assert body["status"] in ("opted_out_rules", "no_suitable_candidate")
    assert {task["layer_reason"] for task in body["tasks"].values()} == {"OPTED_OUT"}


class Context:
    """What the platform says of the time that remains [ms]."""

    def __init__(self, left_ms: float) -> None:
        self.left_ms = left_ms

    def get_remaining_time_in_millis(self) -> float:
        return self.left_ms


@pytest.mark.parametrize(("left_ms", "http"), [(1_199, 504), (1_201, 200)])
def test_without_time_for_a_receipt_nothing_is_recorded_and_the_caller_is_told(
    release: Any, clocked: tuple[Any, list[float], list[str]], request_body: Body, left_ms: float, http: int
) -> None:
    service, _, _ = clocked
    found, body = ask(service, request_body(), Context(left_ms))
    assert found == http
    assert len(release.lines()) == (0 if http == 504 else 2)
    if http == 504:
        assert (body["error"]["code"], body["error"]["retryable"]) == ("DEADLINE", True)


def test_a_batch_has_no_deadline(clocked: tuple[Any, list[float], list[str]], request_body: Body) -> None:
    service, seconds, _ = clocked
    slow(service, seconds, "customer", 1e6)
    request = request_body(channel="web", operator_id=None, terminal_id=None)
    from pipeline_lib.serve.request import parse

    asked = parse(request, tuple(service.policy.models.tasks), as_of_allowed=True)
    body = service.answer(asked, "s_" + "0" * 64, "r1")
    assert "DEADLINE" not in json.dumps(body)


def test_each_store_has_the_timeout_of_the_policy(release: Any) -> None:
    service = release.service()
    assert service.tables.items._timeout_s == 0.2 == service.policy.serving["read_timeout_ms"] / 1000


@given(st.floats(0, 1e3), st.floats(0, 1e3), st.floats(0, 1e3))
def test_a_deadline_is_a_moment(soft: float, hard: float, now: float) -> None:
    seconds = [0.0]
    due = Deadline(soft, hard, lambda: seconds[0])
    seconds[0] = now
    assert due.passed() == (now >= soft)
    assert due.leaves(0) == (now <= hard)
    assert not due.leaves(hard + 1)
    assert Deadline().leaves(1e12)
    assert not Deadline(inf).passed()
