"""The same idempotency key again: one answer in the record, given again only on the ground it was decided on."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from threading import Barrier
from typing import Any

import pytest

from pipeline_lib.errors import AppendFailed
from pipeline_lib.items import TableUnreadable
from pipeline_lib.publish.tables import FAIRNESS
from pipeline_lib.serve import repeat
from pipeline_lib.serve.tables import Stored

from .asking import SQL_OPT_OUT, ask, assessed, change

SQL_CONTACT = "INSERT OR REPLACE INTO contact VALUES (?, ?, 0, 0)"
SQL_SWITCH = "INSERT INTO kill_switch VALUES ('s', ?, ?, ?, 1, 1)"
SQL_FLAG = "INSERT INTO fairness_state VALUES ('f', 'churn_signal', 'gender', 'F', 'BREACH')"
OUTBOUND = {"channel": "app_push", "access_reason": "self_service", "operator_id": None, "terminal_id": None}
Body = Callable[..., dict[str, Any]]


@pytest.fixture
def service(release: Any) -> Any:
    made = release.service()
    made.tables.switch_cache_ms = made.tables.fairness_cache_ms = 0
    assessed(release, made)
    change(release, SQL_CONTACT, release.subject("c5"), 1)
    change(release, FAIRNESS)
    return made


def test_the_answer_is_given_again_by_every_instance_and_each_time_it_is_recorded(
    release: Any, service: Any, request_body: Body
) -> None:
    first = ask(service, request_body(idempotency_key="k1"))
    assert first == ask(release.service(), request_body(idempotency_key="k1"))
    rows = [row for segment in release.lines() for row in segment]
    (again,) = [row for row in rows if row["payload"].get("purpose") == "repeated answer"]
    assert again["header"]["prediction_id"] == first[1]["prediction_id"]
    assert again["header"]["request_id"] != first[1]["request_id"]
    assert again["payload"]["operator_ref"] == rows[1]["payload"]["operator_ref"]
    assert sorted(row["header"]["event"] for row in rows).count("prediction") == 1


def test_what_cannot_be_recorded_is_not_given_again(service: Any, request_body: Body) -> None:
    ask(service, request_body(idempotency_key="k1"))

    def refuse(_: Any) -> Any:
        raise AppendFailed("the record is down")

    service.append = refuse
    assert ask(service, request_body(idempotency_key="k1"))[1]["status"] == "static_content"


def test_another_body_under_the_key_is_a_conflict(service: Any, request_body: Body) -> None:
    ask(service, request_body(idempotency_key="k1"))
    http, body = ask(service, request_body(idempotency_key="k1", k=2))
    assert (http, body["error"]["code"]) == (409, "IDEMPOTENCY_CONFLICT")


CHANGES: dict[str, tuple[Callable[[Any, Any], None], bool]] = {
    "nothing": (lambda r, s: None, False),
    "opted out": (lambda r, s: change(r, SQL_OPT_OUT, r.subject("c5"), None), True),
    "everything is switched off": (lambda r, s: change(r, SQL_SWITCH, "global", "*", "rule_based"), True),
    "nothing personal is wanted": (lambda r, s: change(r, SQL_SWITCH, "global", "*", "disable"), True),
    "the cluster": (lambda r, s: change(r, SQL_SWITCH, "cluster", "3", "rule_based"), True),
    "a task": (lambda r, s: change(r, SQL_SWITCH, "task", "churn_signal", "rule_based"), True),
    "a task that is not here": (lambda r, s: change(r, SQL_SWITCH, "task", "no_such_task", "rule_based"), False),
    "less tolerance": (lambda r, s: assessed(r, s, tolerance=2), True),
    "fairness is breached": (lambda r, s: change(r, SQL_FLAG), True),
    "a table does not answer": (lambda r, s: change(r, "DROP TABLE suitability"), True),
    "another release": (
        lambda r, s: setattr(s.policy.models.bundle, "manifest_sha256", "0" * 64),
        True,
    ),
    "47 hours": (lambda r, s: setattr(r, "now", r.now + timedelta(hours=47)), False),
    "49 hours": (lambda r, s: setattr(r, "now", r.now + timedelta(hours=49)), True),
}


@pytest.mark.parametrize("what", CHANGES)
def test_the_answer_is_made_anew_when_its_ground_has_changed(
    release: Any, service: Any, request_body: Body, what: str
) -> None:
    act, anew = CHANGES[what]
    first = ask(service, request_body(idempotency_key="k1"))[1]
    act(release, service)
    second = ask(service, request_body(idempotency_key="k1"))[1]
    assert (second["request_id"] != first["request_id"]) == anew


@pytest.mark.parametrize("why", ["consent is withdrawn", "it is night"])
def test_an_answer_for_an_outbound_channel_is_not_given_again_when_nobody_may_be_written_to(
    release: Any, service: Any, request_body: Body, why: str
) -> None:
    assert ask(service, request_body(idempotency_key="k1", **OUTBOUND))[1]["status"] != "no_contact"
    if why == "it is night":
        release.now += timedelta(hours=10)
    else:
        change(release, SQL_CONTACT, release.subject("c5"), 0)
    assert ask(service, request_body(idempotency_key="k1", **OUTBOUND))[1]["status"] == "no_contact"


def test_of_many_at_once_with_a_new_key_one_is_answered_and_all_are_told_the_same(
    release: Any, service: Any, request_body: Body
) -> None:
    crowd, start = [release.service() for _ in range(8)], Barrier(8)

    def asked(one: Any) -> tuple[int, Any]:
        start.wait()
        return ask(one, request_body(idempotency_key="k1"))

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(asked, crowd))
    assert {http for http, _ in answers} == {200}
    assert len({body["prediction_id"] for _, body in answers}) == 1
    events = [row["header"]["event"] for segment in release.lines() for row in segment]
    assert (events.count("prediction"), events.count("data_access")) == (1, 8)


def test_whoever_comes_while_the_first_is_being_answered_is_told_to_come_again(
    release: Any, service: Any, request_body: Body, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repeat, "POLL_S", 0.0)
    ask(service, request_body(idempotency_key="k1"))
    key = stored(release)[0]
    change(release, "UPDATE idempotency SET response = '', stored_at = ?", release.now.timestamp())
    http, body = ask(service, request_body(idempotency_key="k1"))
    assert (http, body["error"]["code"], body["error"]["retryable"]) == (409, "IDEMPOTENCY_CONFLICT", True)
    release.now += timedelta(seconds=repeat.DEAD_S)  # that instance was ended
    assert ask(service, request_body(idempotency_key="k1"))[0] == 200
    assert stored(release)[0] == key


def test_a_request_that_was_not_answered_leaves_its_key_free(release: Any, service: Any, request_body: Body) -> None:
    append = service.append

    def refuse(_: Any) -> Any:
        raise AppendFailed("the record is down")

    service.append = refuse
    assert ask(service, request_body(idempotency_key="k1"))[1]["receipt"] is None
    service.append = append
    assert ask(service, request_body(idempotency_key="k1"))[1]["receipt"] is not None


def test_key_and_request_are_not_stored_as_they_came(
    release: Any, service: Any, request_body: Body, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    ask(service, request_body(idempotency_key="4111-1111"))
    key, digest, response = stored(release)
    assert key.startswith("i_")
    assert "4111" not in f"{key} {digest} {response} {caplog.text}"
    other = replace(service, pepper=b"another" * 8)
    mine = repeat.claim(other.tables, other.pepper, _request("4111-1111"), request_body(idempotency_key="4111-1111"),
                        "", release.now.timestamp(), 48)  # fmt: skip
    assert isinstance(mine, repeat.Claim)
    assert (mine.key != key, mine.asked != digest) == (True, True)


def test_without_its_table_every_request_is_answered(service: Any, request_body: Body) -> None:
    def broken(*_: Any) -> Stored | None:
        raise TableUnreadable("idempotency: gone")

    service.tables.stored_answer = broken
    answers = [ask(service, request_body(idempotency_key="k1"))[1] for _ in range(2)]
    assert len({one["prediction_id"] for one in answers}) == 2


def stored(release: Any) -> tuple[str, str, str]:
    rows = release.service().tables.items.all("idempotency")
    assert len(rows) == 1
    return rows[0]["key"], rows[0]["request_digest"], rows[0]["response"]


def _request(key: str) -> Any:
    from pipeline_lib.serve.request import parse

    body = {"customer_id": "c5", "channel": "web", "access_reason": "self_service", "idempotency_key": key}
    return parse(body, (), as_of_allowed=True)
