"""What the function may say: its schemas as validators, and which code goes with which HTTP status."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker

from pipeline_lib import serve

SCHEMAS = Path(serve.__file__).parent / "schemas"
CODES = {
    400: {"INVALID_REQUEST", "UNKNOWN_TASK"},
    401: {"UNAUTHENTICATED"},
    403: {"FORBIDDEN"},
    404: {"NO_SUCH_ROUTE", "UNKNOWN_PREDICTION"},
    409: {"IDEMPOTENCY_CONFLICT"},
    413: {"TOO_LARGE"},
    415: {"MEDIA_TYPE"},
    503: {"AUDIT_UNAVAILABLE", "NO_SAFE_ANSWER"},
    504: {"DEADLINE"},
}
"""Every error of the function itself. Source: serving.md 12; 429 is the platform's."""


def checked(http: int, body: Mapping[str, Any]) -> tuple[int, Mapping[str, Any]]:
    """The answer, if it is one that the contract knows."""
    if http != 200:
        validator("error").validate(body)
        assert body["error"]["code"] in CODES[http]
    elif "items" in body:
        validator("answer").validate(body)
    else:
        validator("health").validate(body)
    return http, body


def validator(name: str) -> Draft202012Validator:
    if name not in _MADE:
        schema = json.loads((SCHEMAS / f"{name}.json").read_text(encoding="utf-8"))
        Draft202012Validator.check_schema(schema)
        _MADE[name] = Draft202012Validator(schema, format_checker=_FORMATS)
    return _MADE[name]


def _parses(parse: Callable[[str], object]) -> Callable[[object], bool]:
    def is_valid(value: object) -> bool:
        if isinstance(value, str):
            parse(value)
        return True

    return is_valid


def _day(text: str) -> None:
    if date.fromisoformat(text).isoformat() != text:
        raise ValueError(text)


_MADE: dict[str, Draft202012Validator] = {}
_FORMATS = FormatChecker(formats=())
_FORMATS.checks("printable")(lambda value: not isinstance(value, str) or value.isprintable())
_FORMATS.checks("date", raises=ValueError)(_parses(_day))
_FORMATS.checks("date-time", raises=ValueError)(_parses(datetime.fromisoformat))
