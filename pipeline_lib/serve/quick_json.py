"""``json.loads`` without what importing ``json`` costs: ``re``, ``enum`` and ``functools``, 8 ms of a cold start.

The scanner is the standard library's own, in C; where an interpreter hides it, ``json`` itself answers. What is read
here has been verified byte by byte before. Measured in docs/serving-benchmark.md.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

try:
    import _json
except ImportError:
    make_scanner: Any = None
else:
    make_scanner = getattr(_json, "make_scanner", None)


class _Rules:
    """What the scanner asks for: as ``json.JSONDecoder()`` has it, and no constants such as NaN."""

    strict, object_hook, object_pairs_hook = True, None, None
    parse_float, parse_int = float, int

    def __init__(self) -> None:
        self.memo: dict[str, str] = {}

    @staticmethod
    def parse_constant(name: str) -> Any:
        raise ValueError(f"{name} is no JSON")


def loads(data: bytes) -> Any:
    """The value of one JSON text. Raises ValueError: what is wrong with it."""
    text = data.decode("utf-8")
    if make_scanner is None:
        import json

        return json.loads(text, parse_constant=_Rules.parse_constant)
    start = len(text) - len(text.lstrip(" \t\n\r"))
    try:
        value, end = make_scanner(_Rules())(text, start)
    except StopIteration as error:
        raise ValueError(f"no JSON value at character {error.value}") from None
    if text[end:].strip(" \t\n\r"):
        raise ValueError(f"more than one JSON value, the second from character {end} on")
    return value
