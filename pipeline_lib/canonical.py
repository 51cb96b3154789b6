"""One byte form for one value, so that equal things have equal hashes.

Canonical JSON after RFC 8785 for the values this project stores: UTF-8, no whitespace, keys sorted, NFC
strings. Floats are refused: a real number is a decimal string (``decimal_text``), so that the same number has
the same bytes in every language and version. Source: audit.md 4.3, rules C1-C6.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Mapping
from decimal import ROUND_HALF_EVEN, Decimal
from functools import lru_cache
from typing import Any

_MAX_INT = 2**53 - 1
_ENCODER = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)


def canonical_bytes(value: Any) -> bytes:
    """Canonical JSON of dicts with string keys, lists, tuples, strings, ints, bools and None.

    Raises:
        TypeError: a float or any other type; a key that is not a string.
        ValueError: an integer beyond +-(2**53 - 1), a lone surrogate or U+0000.
    """
    return _ENCODER.encode(_checked(value)).encode("utf-8")


def digest(value: Any) -> str:
    """Hex SHA-256 of the canonical bytes."""
    return hashlib.sha256(canonical_bytes(value)).hexdigest()


def decimal_text(value: float | int | Decimal | None, scale: int = 9) -> str | None:
    """``0.125`` -> ``"0.125000000"``: fixed scale, half-even, no exponent, no negative zero; None stays None."""
    if value is None:
        return None
    exact = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
    if not exact.is_finite():
        raise ValueError(f"a record holds finite numbers only, found {value!r}")
    rounded = exact.quantize(_unit(scale), rounding=ROUND_HALF_EVEN)
    return f"{abs(rounded) if rounded.is_zero() else rounded:f}"


@lru_cache
def _unit(scale: int) -> Decimal:
    return Decimal(1).scaleb(-scale)


def with_decimals(value: Any, scale: int = 9) -> Any:
    """Copy of a plain structure in which every float became its decimal text."""
    if isinstance(value, float):
        return decimal_text(value, scale)
    if isinstance(value, Mapping):
        return {key: with_decimals(item, scale) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [with_decimals(item, scale) for item in value]
    return value


def _checked(value: Any) -> Any:
    """The value with its texts in NFC. Exact types come first: each answer of the function is four of these."""
    kind = type(value)
    if kind is str:
        return value if value.isascii() and "\x00" not in value else _text(value)
    if value is None or kind is bool:
        return value
    if kind is dict:
        return {_key(key): _checked(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_checked(item) for item in value]
    if isinstance(value, int):
        if abs(value) > _MAX_INT:
            raise ValueError(f"integer {value} does not survive JSON readers; store it as a string")
        return value
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, Mapping):
        return _checked(dict(value))
    raise TypeError(f"{kind.__name__} has no canonical form: {value!r}")


def _key(key: Any) -> str:
    if not isinstance(key, str):
        raise TypeError(f"keys are strings, found {key!r}")
    return key if key.isascii() else unicodedata.normalize("NFC", key)


def _text(value: str) -> str:
    text = unicodedata.normalize("NFC", value)
    if "\x00" in text:
        raise ValueError("U+0000 is not allowed in a record")
    text.encode("utf-8")  # a lone surrogate raises UnicodeEncodeError, a ValueError
    return text
