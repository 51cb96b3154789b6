"""Whatever is sent, the function gives a documented answer, records every personal one, and repeats no customer data.

What is sent are valid requests, requests with something changed, and anything that JSON or bytes can be, in
envelopes that are right or wrong.
"""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline_lib.serve import local, metrics
from pipeline_lib.serve.handler import respond
from pipeline_lib.serve.service import Service

from . import bodies, contract
from .conftest import Release

NUMBER = 471147114711  # long enough not to be in a random id
RAW_ID = f"고객-{NUMBER}-raw"
"""In no product, task or reason: where it turns up, it came from the request."""
MANY = settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
EVENTS = ["data_access", "prediction", "attribution", "guardrail"]


class Heard(logging.Handler):
    """Everything the library logs, with its tracebacks."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(logging.Formatter().format(record))


@pytest.fixture
def heard() -> Iterator[Heard]:
    made, logger = Heard(), logging.getLogger("pipeline_lib")
    before = logger.level
    logger.addHandler(made)
    logger.setLevel(logging.DEBUG)
    yield made
    logger.removeHandler(made)
    logger.setLevel(before)


@pytest.fixture
def opened(release: Release) -> Service:
    service = release.service()
    service.tables.record_assessment(release.subject(RAW_ID), 3, release.now.date())
    return service


def events() -> st.SearchStrategy[dict[str, Any]]:
    """Requests as the gateway sends them, mostly in the right envelope."""

    def event(parts: tuple[str | bytes, bool, dict[str, Any]]) -> dict[str, Any]:
        text, encode, changes = parts
        if encode or isinstance(text, bytes):
            data = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
            return {**local.event({}), "body": base64.b64encode(data).decode(), "isBase64Encoded": True, **changes}
        return {**local.event({}), "body": text, **changes}

    names = ("headers", "requestContext", "rawPath", "isBase64Encoded", "body")
    wrong = st.dictionaries(st.sampled_from(names), bodies.JSON, min_size=1, max_size=1)
    return st.tuples(bodies.texts(st.just(RAW_ID)), st.booleans(), st.just({}) | st.just({}) | wrong).map(event)


@MANY
@given(event=events())
def test_anything_sent_has_a_documented_answer_and_leaves_no_customer_data_behind(
    release: Release, opened: Service, heard: Heard, event: dict[str, Any]
) -> None:
    response = respond(event, lambda: opened)
    response["body"].encode("utf-8")
    http, body = contract.checked(response["statusCode"], json.loads(response["body"]))
    if http == 200 and "items" in body:
        recorded(release, body)
    said = [response["body"], *heard.lines, metrics.line(http, body, 1.0, 0)]
    assert not [text for text in said if RAW_ID in text or release.subject(RAW_ID) in text]
    heard.lines.clear()


def recorded(release: Release, body: Mapping[str, Any]) -> None:
    """The four entries of an answer are durable where its receipt says."""
    receipt = body["receipt"]
    name = f"{receipt['first_seq']:012}.jsonl"
    path = release.audit / "seg" / receipt["writer_id"] / f"{receipt['epoch']:010}" / name
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert [row["header"]["event"] for row in rows] == EVENTS
    assert {row["header"]["request_id"] for row in rows} == {body["request_id"]}
    assert rows[-1]["entry_hash"] == receipt["last_entry_hash"]
    assert RAW_ID not in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", bodies.NAMES)
def test_a_customers_number_in_any_wrong_field_is_not_repeated(opened: Service, name: str) -> None:
    good = {"customer_id": "c5", "channel": "web", "access_reason": "self_service"}
    for value in (NUMBER, "x" * 70 + RAW_ID, [f"{NUMBER}"], {"name": f"{NUMBER}"}, f"{NUMBER}\n"):
        response = respond(local.event({**good, name: value}), lambda: opened)
        assert response["statusCode"] == 400
        assert f"{NUMBER}" not in response["body"]
