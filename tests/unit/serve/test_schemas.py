"""The published schemas and the function say the same: what is a request, and what is an answer."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from jsonschema import ValidationError

from pipeline_lib.serve.request import Refused, parse

from . import bodies, contract

THOUSANDS = settings(max_examples=1500, deadline=None)


def accepted(body: Any) -> bool:
    """Whether the parser takes it; which tasks there are is the version's matter, not the schema's."""
    try:
        parse(body, bodies.TASKS, as_of_allowed=True)
    except Refused as refused:
        named = {name: value for name, value in body.items() if name != "tasks"} if "tasks" in body else None
        return refused.code == "UNKNOWN_TASK" and accepted(named)  # what else is wrong is found without them
    return True


@THOUSANDS
@given(bodies.valid())
def test_what_the_schema_allows_is_accepted(body: dict[str, Any]) -> None:
    contract.validator("request").validate(body)
    assert accepted(body)


@THOUSANDS
@given(bodies.changed())
def test_parser_and_schema_agree_on_what_is_a_request(body: dict[str, Any]) -> None:
    assert accepted(body) == contract.validator("request").is_valid(body)


@pytest.mark.parametrize("name", [*bodies.NAMES, "colour"])
@pytest.mark.parametrize("channel", ["branch", "web"])
def test_parser_and_schema_agree_at_the_edges_of_every_field(name: str, channel: str) -> None:
    good = {"customer_id": "c5", "channel": channel, "access_reason": "self_service"}
    named = {"operator_id": "o", "terminal_id": "t"} if channel == "branch" else {}
    for value in bodies.EDGES:
        body = {**good, **named, name: value}
        assert accepted(body) == contract.validator("request").is_valid(body), (name, value)


@pytest.mark.parametrize("body", [[], None, 5, "text", {}])
def test_what_is_no_request_is_none_to_the_schema(body: Any) -> None:
    assert not contract.validator("request").is_valid(body)


@pytest.mark.parametrize("as_of", ["20261116", "2026-W47-1", "2026-11-16T00:00"])
def test_a_date_is_written_in_one_way(as_of: str) -> None:
    body = {"customer_id": "c5", "channel": "web", "access_reason": "self_service", "context": {"as_of": as_of}}
    assert not accepted(body)


def test_every_documented_code_is_in_the_schema_and_no_other() -> None:
    known = contract.validator("error").schema["properties"]["error"]["properties"]["code"]["enum"]
    assert sorted(known) == sorted(code for codes in contract.CODES.values() for code in codes)


def test_an_answer_without_a_receipt_may_not_show_a_score() -> None:
    body = {"receipt": None, "status": "ok"}
    with pytest.raises(ValidationError):
        contract.checked(200, {**body, "items": []})
