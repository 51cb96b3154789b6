"""What the gateway says of the caller, and the line of metrics that each request leaves."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from hashlib import sha256
from typing import Any

import pytest

from pipeline_lib.errors import SettingsError
from pipeline_lib.keys import KeyFolder
from pipeline_lib.serve import handler as function
from pipeline_lib.serve import local
from pipeline_lib.serve.handler import handler
from pipeline_lib.serve.record import operator_ref

from .contract import checked

Body = Callable[..., dict[str, Any]]


@pytest.fixture
def instance(release: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """This process as a function instance."""
    for name, value in release.environment().items():
        monkeypatch.setenv(name, value)
    function.service.cache_clear()
    yield monkeypatch
    function.service.cache_clear()


def asked(body: dict[str, Any], claims: Any = None, **event: Any) -> tuple[int, Any]:
    made = {**local.event(body), **event}
    if claims is not None:
        made["requestContext"] = {**made["requestContext"], "authorizer": {"jwt": {"claims": claims}}}
    response = handler(made, None)
    return checked(response["statusCode"], json.loads(response["body"]))


@pytest.mark.parametrize(
    ("claims", "http"),
    [
        (None, 401),
        ({}, 401),
        ({"sub": ""}, 401),
        ({"sub": 5}, 401),
        ("claims", 401),
        ({"sub": "u1"}, 200),
        ({"sub": "u1", "channels": "branch web"}, 200),
        ({"sub": "u1", "channels": "web"}, 403),
        ({"sub": "u1", "channels": ""}, 403),
        ({"sub": "u1", "channels": ["branch"]}, 403),
        ({"sub": "u1", "operator_id": 5}, 403),
        ({"sub": "u1", "operator_id": "teller-1"}, 200),
        ({"sub": "u1", "operator_id": "teller-2"}, 403),
    ],
)
def test_where_the_gateway_names_callers_nobody_else_is_answered(
    release: Any, instance: pytest.MonkeyPatch, request_body: Body, claims: Any, http: int
) -> None:
    instance.setenv("SERVE_AUTHORIZER", "jwt")
    found, _ = asked(request_body(), claims)
    assert found == http
    assert len(release.lines()) == (2 if http == 200 else 0)


@pytest.mark.parametrize(
    ("claims", "who"),
    [
        ({"sub": "u1", "operator_id": "teller-1"}, "teller-1"),
        ({"sub": "u1"}, "sub:" + sha256(b"u1").hexdigest()[:60]),
        ({"sub": "https://login.bank.example/" + 90 * "u"}, None),
    ],
)
def test_a_request_that_names_no_operator_is_recorded_as_the_callers(
    release: Any, instance: pytest.MonkeyPatch, request_body: Body, claims: dict[str, str], who: str | None
) -> None:
    instance.setenv("SERVE_AUTHORIZER", "jwt")
    body = request_body(channel="web", access_reason="self_service", operator_id=None, terminal_id=None)
    assert asked(body, claims)[0] == 200
    rows = {row["header"]["event"]: row["payload"] for row in release.lines()[-1]}
    pepper = KeyFolder(release.bank.settings.place.keys).pepper()
    found = rows["data_access"]["operator_ref"]
    assert found == rows["prediction"]["requester_ref"]
    assert found == operator_ref(pepper, who) if who else found.startswith("o_")


def test_no_subject_is_taken_for_an_operator(release: Any, instance: pytest.MonkeyPatch, request_body: Body) -> None:
    """Somebody whose token says the subject "teller-1" is not the operator teller-1."""
    instance.setenv("SERVE_AUTHORIZER", "jwt")
    body = request_body(operator_id=None)
    asked(body, {"sub": "teller-1"})
    asked(body, {"sub": "u1", "operator_id": "teller-1"})
    one, other = (
        next(row["payload"]["operator_ref"] for row in rows if row["header"]["event"] == "data_access")
        for rows in release.lines()[-2:]
    )
    assert None not in (one, other)
    assert one != other


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("SERVE_AUTHORIZER", "JWT", "allowed: jwt"),
        ("SERVE_AUTHORIZER", "", "allowed: jwt"),
        ("SERVE_AUTHORIZER", "none", "allowed: jwt"),
        ("SERVE_ENV", "production", "allowed: local or staging or prod"),
        ("SERVE_ENV", "prod ", "allowed: local or staging or prod"),
    ],
)
def test_a_guard_that_is_misspelt_is_no_start(
    release: Any, instance: pytest.MonkeyPatch, request_body: Body, name: str, value: str, allowed: str
) -> None:
    with pytest.raises(SettingsError, match=f"{name} is '{value}', {allowed}"):
        release.service(**{name: value})
    instance.setenv(name, value)
    assert asked(request_body())[0] == 503


@pytest.mark.usefixtures("instance")
def test_without_an_authorizer_the_gateway_alone_decides(request_body: Body) -> None:
    assert asked(request_body())[0] == 200
    assert asked(request_body(), {"sub": "u1", "channels": "web"})[0] == 200


@pytest.mark.usefixtures("instance")
@pytest.mark.parametrize(
    ("changed", "counts"),
    [
        ({}, {"Answered": 1, "Refused": 0, "Failed": 0, "Degraded": 0, "Unrecorded": 0}),
        ({"k": 9}, {"Answered": 0, "Refused": 1, "Failed": 0, "Degraded": 0, "Unrecorded": 0}),
    ],
)
def test_each_request_leaves_one_line_of_metrics_that_names_nobody(
    release: Any, request_body: Body, capsys: pytest.CaptureFixture[str], changed: Any, counts: dict[str, int]
) -> None:
    http, body = asked(request_body(customer_id="c17", operator_id="teller-Kim", terminal_id="t-99", **changed))
    (line,) = capsys.readouterr().out.splitlines()
    shown = json.loads(line)
    assert {name: shown[name] for name in counts} == counts
    layers = [task["layer"] for task in body.get("tasks", {}).values()]
    assert [shown[f"Layer{n}"] for n in (1, 2, 3, 4)] == [layers.count(n) for n in (1, 2, 3, 4)]
    assert (shown["http"], shown["status"], shown["code"]) == (
        http,
        body.get("status"),
        body.get("error", {}).get("code"),
    )
    assert shown["Latency"] > 0
    assert shown["request_id"] == (body.get("request_id") or body["error"]["request_id"])
    for secret in ("c17", release.subject("c17"), "teller-Kim", "t-99"):
        assert f'"{secret}"' not in line
        assert release.subject("c17") not in line


@pytest.mark.usefixtures("instance")
def test_every_metric_that_is_declared_is_in_the_line_with_a_number(
    request_body: Body, capsys: pytest.CaptureFixture[str]
) -> None:
    """CloudWatch drops a line whose declared metrics are not there. Source: embedded metric format specification."""
    asked(request_body())
    asked({}, rawPath="/v1/nowhere")
    handler(local.event({}, "/v1/health", "GET"), None)
    for line in capsys.readouterr().out.splitlines():
        shown = json.loads(line)
        (how,) = shown["_aws"]["CloudWatchMetrics"]
        assert all(isinstance(shown[metric["Name"]], (int, float)) for metric in how["Metrics"])
        assert all(isinstance(shown[name], str) for names in how["Dimensions"] for name in names)
        assert isinstance(shown["_aws"]["Timestamp"], int)


@pytest.mark.usefixtures("instance")
def test_an_answer_without_a_receipt_and_one_by_rules_are_counted(
    release: Any, request_body: Body, capsys: pytest.CaptureFixture[str]
) -> None:
    release.audit.mkdir()
    (release.audit / ".tmp").write_text("a file where the store wants a folder")
    asked(request_body())
    shown = json.loads(capsys.readouterr().out)
    assert (shown["Unrecorded"], shown["Degraded"], shown["Answered"]) == (1, 1, 1)
