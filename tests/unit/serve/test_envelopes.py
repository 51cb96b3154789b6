"""Whatever arrives and whatever is missing, the function answers: a documented status, never a stack trace."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline_lib.errors import AppendFailed, SecretMissing
from pipeline_lib.serve import handler as function
from pipeline_lib.serve import local
from pipeline_lib.serve.handler import handler, respond
from pipeline_lib.serve.service import Service

from .contract import checked

Body = Callable[..., dict[str, Any]]
TEXTS = st.text(st.characters(codec=None, exclude_categories=()), max_size=12)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)


@pytest.fixture
def instance(release: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """``instance(SERVE_KEYS=...)`` starts this process as a new instance in that environment."""

    def start(**changed: str) -> None:
        for name, value in release.environment(**changed).items():
            monkeypatch.setenv(name, value)
        function.service.cache_clear()

    yield start
    function.service.cache_clear()


def read(answer: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Status and body, which must be text in UTF-8."""
    http, body = checked(answer["statusCode"], json.loads(answer["body"].encode("utf-8")))
    return http, dict(body)


def bodies() -> st.SearchStrategy[Any]:
    valid = {"customer_id": "c5", "channel": "web", "access_reason": "self_service"}
    fields = st.sampled_from([*valid, "operator_id", "k", "tasks", "include", "context", "idempotency_key"]) | TEXTS
    changed = st.dictionaries(fields, JSON, max_size=2).map(lambda changes: {**valid, **changes})
    return JSON | changed.map(json.dumps) | JSON.map(json.dumps)


def envelopes() -> st.SearchStrategy[Any]:
    """Anything, in every part that is looked at."""
    http = st.fixed_dictionaries({"method": st.sampled_from(["POST", "GET"]) | JSON}) | JSON
    parts = {
        "requestContext": st.fixed_dictionaries({"http": http}) | JSON,
        "rawPath": st.sampled_from(["/v1/recommendations", "/v1/health"]) | JSON,
    }
    return st.fixed_dictionaries({}, optional=parts) | st.fixed_dictionaries(parts) | JSON


def requests() -> st.SearchStrategy[Any]:
    """On the right route, so that headers and body are looked at."""
    media_type = st.fixed_dictionaries({"content-type": st.just("application/json") | JSON})
    headers = st.just({"Content-Type": "application/json"}) | media_type | JSON
    encoded = st.just(False) | JSON
    changes = st.fixed_dictionaries({"body": bodies(), "headers": headers}, optional={"isBase64Encoded": encoded})
    return changes.map(lambda changed: {**local.event({}), **changed})


MANY = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@MANY
@given(event=envelopes())
def test_any_envelope_gets_a_documented_answer(opened: Service, event: Any) -> None:
    read(respond(event, lambda: opened))


@MANY
@given(event=requests())
def test_any_headers_and_body_get_a_documented_answer(opened: Service, event: Any) -> None:
    read(respond(event, lambda: opened))


@pytest.fixture
def opened(release: Any) -> Service:
    made: Service = release.service()
    return made


@pytest.mark.parametrize(
    ("changed", "http"),
    [
        ({"requestContext": None}, 404),
        ({"requestContext": {"http": None}}, 404),
        ({"requestContext": {"http": {"method": ["POST"]}}}, 404),
        ({"rawPath": {}}, 404),
        ({"headers": ["content-type"]}, 415),
        ({"headers": {"content-type": None}}, 415),
        ({"body": {"customer_id": "c5"}}, 400),
        ({"body": [1], "isBase64Encoded": True}, 400),
        ({"body": "\ud800"}, 400),
        ({"body": '{"\\ud800": 1}'}, 400),
        ({"body": "[" * 16_000}, 400),
    ],
)
def test_a_malformed_envelope_is_refused(
    opened: Service, request_body: Body, changed: dict[str, Any], http: int
) -> None:
    assert read(respond({**local.event(request_body()), **changed}, lambda: opened))[0] == http


@pytest.mark.parametrize("event", [None, [], "event", 5])
def test_what_is_no_envelope_has_no_route(opened: Service, event: Any) -> None:
    assert read(respond(event, lambda: opened))[0] == 404


@pytest.mark.parametrize("depth", range(800, 1000, 3))
def test_a_body_at_the_edge_of_the_recursion_limit_is_refused(opened: Service, request_body: Body, depth: int) -> None:
    text = json.dumps(request_body())[:-1] + ', "k": ' + "[" * depth + "]" * depth + "}"
    assert read(respond({**local.event({}), "body": text}, lambda: opened))[0] == 400


@pytest.mark.parametrize("name", ["audit-k-test-01.key", "pepper.key"])
def test_a_missing_secret_stops_the_start_and_is_a_documented_answer(
    release: Any, instance: Callable[..., None], request_body: Body, tmp_path: Path, name: str
) -> None:
    keys = tmp_path / "some-keys"
    keys.mkdir()
    for file in release.bank.settings.place.keys.glob("*.key"):
        if file.name != name:
            (keys / file.name).write_bytes(file.read_bytes())
    with pytest.raises(SecretMissing, match=name):
        release.service(SERVE_KEYS=str(keys))
    instance(SERVE_KEYS=str(keys))
    for event in (local.event(request_body()), local.event({}, "/v1/health", "GET")):
        http, body = read(handler(event))
        assert (http, body["error"]["code"]) == (503, "NO_SAFE_ANSWER")
    assert str(keys) not in json.dumps(body)
    (keys / name).write_bytes(os.urandom(32))
    assert read(handler(local.event(request_body())))[0] == 200


@pytest.mark.parametrize("url", ["ftp://x/y", "file://relative"])
def test_a_record_that_is_no_store_is_a_documented_answer(
    instance: Callable[..., None], request_body: Body, url: str
) -> None:
    instance(SERVE_AUDIT=url)
    assert read(handler(local.event(request_body())))[0] == 503


def test_a_root_key_that_vanishes_after_the_start_leaves_static_content(
    release: Any, request_body: Body, tmp_path: Path
) -> None:
    keys = tmp_path / "some-keys"
    keys.mkdir()
    for file in release.bank.settings.place.keys.glob("*.key"):
        (keys / file.name).write_bytes(file.read_bytes())
    service = release.service(SERVE_KEYS=str(keys))
    (keys / "audit-k-test-01.key").unlink()
    http, body = read(respond(local.event(request_body()), lambda: service))
    assert (http, body["status"], body["receipt"]) == (200, "static_content", None)


@pytest.fixture
def nobody_there() -> str:
    """An address on loopback where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


@pytest.mark.usefixtures("aws")
@pytest.mark.parametrize("static_content", [True, False])
def test_while_nobody_answers_for_the_record_nothing_personal_is_answered(
    release: Any, request_body: Body, monkeypatch: pytest.MonkeyPatch, nobody_there: str, static_content: bool
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", nobody_there)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    service = release.service(SERVE_AUDIT="s3://record")
    service.policy.serving["static_content"] = static_content
    http, body = read(respond(local.event(request_body()), lambda: service))
    if static_content:
        assert (http, body["status"], body["receipt"]) == (200, "static_content", None)
    else:
        assert (http, body["error"]["code"]) == (503, "AUDIT_UNAVAILABLE")


def test_a_writer_whose_bucket_stops_answering_stops_and_another_chain_goes_on(
    release: Any, request_body: Body, aws: str, monkeypatch: pytest.MonkeyPatch, nobody_there: str
) -> None:
    boto3.client("s3").create_bucket(
        Bucket="record", CreateBucketConfiguration={"LocationConstraint": "ap-northeast-2"}
    )
    service = release.service(SERVE_AUDIT="s3://record")
    first = read(respond(local.event(request_body()), lambda: service))[1]["receipt"]
    writer, store = service.append._writer, service.append._store
    answering = store._client
    monkeypatch.setenv("AWS_ENDPOINT_URL", nobody_there)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    store._client = boto3.client("s3")
    assert read(respond(local.event(request_body()), lambda: service))[1]["receipt"] is None
    store._client = answering
    with pytest.raises(AppendFailed, match="was stopped: .*not known to be durable"):
        writer.append([])
    again = read(respond(local.event(request_body()), lambda: service))[1]["receipt"]
    assert again["writer_id"] != first["writer_id"]
