"""What a request must look like, and the errors that say so. Source: serving.md 11 and 12.

``schemas/request.json`` says the same to those who ask; a test holds the two together.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

CHANNELS = ("branch", "app_push", "email", "sms", "web")
OUTBOUND = ("app_push", "email", "sms")
ACCESS_REASONS = ("branch_initiated", "self_service", "batch_scoring")
INCLUDES = ("predictions", "components", "attribution")
CONTEXT_KEYS = ("session_id", "locale", "as_of")
LOCALES = ("ko", "en")
MAX_BODY = 16 * 1024
"""Request body [bytes]."""
MAX_TEXT = 64
_KINDS = {type(None): "nothing", str: "another text", bool: "a boolean", list: "a list", dict: "an object"}


class Refused(Exception):
    """A documented error answer; nothing about the customer was read."""

    def __init__(self, http: int, code: str, message: str, *, retryable: bool = False) -> None:
        super().__init__(http, code, message)
        self.http, self.code, self.message, self.retryable = http, code, message, retryable


@dataclass(frozen=True)
class Request:
    customer_id: str
    channel: str
    access_reason: str
    operator_id: str | None
    terminal_id: str | None
    k: int | None
    tasks: tuple[str, ...] | None
    include: tuple[str, ...]
    idempotency_key: str | None
    locale: str
    as_of: date | None

    @property
    def outbound(self) -> bool:
        return self.channel in OUTBOUND


def body_of(text: str | bytes, media_type: str) -> Mapping[str, Any]:
    """The JSON object of a request body. Raises Refused 413, 415 or 400."""
    data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    if len(data) > MAX_BODY:
        raise Refused(413, "TOO_LARGE", f"the body has {len(data)} bytes, at most {MAX_BODY} are read")
    if media_type.split(";")[0].strip().lower() != "application/json":
        raise Refused(415, "MEDIA_TYPE", "content-type must be application/json")
    try:
        body = json.loads(data, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise Refused(400, "INVALID_REQUEST", f"the body is not JSON: {error}") from error
    if not isinstance(body, dict):
        raise Refused(400, "INVALID_REQUEST", "the body must be a JSON object")
    return body


def parse(body: Mapping[str, Any], known_tasks: Sequence[str], *, as_of_allowed: bool) -> Request:
    """A validated request. Raises Refused 400 naming the field, what was found and what is expected."""
    only(body, tuple(Request.__dataclass_fields__) + ("context",), "", but=("locale", "as_of"))
    channel = one_of(body, "channel", CHANNELS)
    at_branch = channel == "branch"
    context = _context(body.get("context", {}), as_of_allowed=as_of_allowed)
    return Request(
        customer_id=text_of(body, "customer_id", required=True) or "",
        channel=channel,
        access_reason=one_of(body, "access_reason", ACCESS_REASONS),
        operator_id=text_of(body, "operator_id", required=at_branch),
        terminal_id=text_of(body, "terminal_id", required=at_branch),
        k=_k(body.get("k")),
        tasks=_tasks(body.get("tasks"), known_tasks),
        include=_include(body.get("include", [])),
        idempotency_key=text_of(body, "idempotency_key", required=False),
        locale=str(context.get("locale", "ko")),
        as_of=date.fromisoformat(context["as_of"]) if "as_of" in context else None,
    )


def _context(context: Any, *, as_of_allowed: bool) -> Mapping[str, Any]:
    if not isinstance(context, dict):
        raise _invalid("context", "an object", context)
    only(context, CONTEXT_KEYS, "context.")
    if "session_id" in context:
        text_of(context, "session_id", required=True, prefix="context.")
    if "locale" in context:
        one_of(context, "locale", LOCALES, "context.")
    if "as_of" in context:
        if not as_of_allowed:
            raise _invalid("context.as_of", "nothing: it is for test environments", context["as_of"])
        _checked(lambda: _day(context["as_of"]), "context.as_of", "a date YYYY-MM-DD", context["as_of"])
    return context


def _k(value: Any) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or value not in range(1, 6):  # a bool is an int; in JSON 2.0 is one too
        raise _invalid("k", "an integer from 1 to 5", value)
    return int(value)


def _tasks(value: Any, known: Sequence[str]) -> tuple[str, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise _invalid("tasks", "a list of task names", value)
    if unknown := [number for number, name in enumerate(value, 1) if name not in known]:
        raise Refused(400, "UNKNOWN_TASK", f"tasks: number {unknown[0]} is not among {list(known)}")
    return tuple(value)


def _include(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or any(item not in INCLUDES for item in value):
        raise _invalid("include", f"a list out of {list(INCLUDES)}", value)
    return tuple(value)


def text_of(body: Mapping[str, Any], name: str, *, required: bool, prefix: str = "") -> str | None:
    value = body.get(name)
    if value is None and not required:
        return None
    if not isinstance(value, str) or not value.strip() or len(value) > MAX_TEXT or not value.isprintable():
        raise _invalid(prefix + name, f"a text of 1 to {MAX_TEXT} printable characters, not only spaces", value)
    return value


def one_of(body: Mapping[str, Any], name: str, allowed: Sequence[str], prefix: str = "") -> str:
    value = body.get(name)
    if not isinstance(value, str) or value not in allowed:
        raise _invalid(prefix + name, f"one of {list(allowed)}", value)
    return value


def only(body: Mapping[str, Any], known: Sequence[str], prefix: str, but: Sequence[str] = ()) -> None:
    if unknown := sorted(str(name) for name in body if name not in known or name in but):
        name = unknown[0][:MAX_TEXT].encode("utf-8", "backslashreplace").decode()  # half a surrogate pair is no text
        raise Refused(400, "INVALID_REQUEST", f"{prefix}{name}: no such field")


def _day(text: str) -> None:
    """Raises ValueError or TypeError; Python reads week dates and dates without dashes, which are not asked for."""
    if date.fromisoformat(text).isoformat() != text:
        raise ValueError(text)


def _checked(make: Callable[[], Any], field: str, expected: str, value: Any) -> None:
    try:
        make()
    except (TypeError, ValueError):
        raise _invalid(field, expected, value) from None


def _invalid(field: str, expected: str, found: Any) -> Refused:
    """What was found is told by its kind: a value in the wrong field may be somebody's number or name."""
    kind = _KINDS.get(type(found), "a number")
    return Refused(400, "INVALID_REQUEST", f"{field}: expected {expected}, found {kind}")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out = dict(pairs)
    if len(out) != len(pairs):
        raise ValueError("a key is written twice")
    return out
