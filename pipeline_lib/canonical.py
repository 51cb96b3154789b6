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
from typing import Any

_MAX_INT = 2**53 - 1


def canonical_bytes(value: Any) -> bytes:
    """Canonical JSON of dicts with string keys, lists, tuples, strings, ints, bools and None.

    Raises:
        TypeError: a float or any other type; a key that is not a string.
        ValueError: an integer beyond +-(2**53 - 1), a lone surrogate or U+0000.
    """
    text = json.dumps(_checked(value), ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return text.encode("utf-8")


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
    rounded = exact.quantize(Decimal(1).scaleb(-scale), rounding=ROUND_HALF_EVEN)
    return f"{abs(rounded) if rounded.is_zero() else rounded:f}"


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
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        if abs(value) > _MAX_INT:
            raise ValueError(f"integer {value} does not survive JSON readers; store it as a string")
        return value
    if isinstance(value, str):
        text = unicodedata.normalize("NFC", value)
        if "\x00" in text:
            raise ValueError("U+0000 is not allowed in a record")
        text.encode("utf-8")  # a lone surrogate raises UnicodeEncodeError, a ValueError
        return text
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"keys are strings, found {key!r}")
        return {unicodedata.normalize("NFC", key): _checked(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_checked(item) for item in value]
    raise TypeError(f"{type(value).__name__} has no canonical form: {value!r}")
