"""Conditions that policy files may state about a customer: ``recency_days <= 7 and num_products >= 2``, no more.

A closed grammar of comparisons joined by ``and``, so that a policy is data and nothing is ever evaluated. A feature
that is not known leaves the whole condition unknown, which is not true. Source: serving.md 9.2.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from math import isfinite, isnan

from pipeline_lib.errors import SettingsError

_OPERATORS: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "==": operator.eq,
}  # fmt: skip
_GRAMMAR = "<feature> <operator> <number> [and ...]"


class Condition:
    """``text`` parsed. Raises SettingsError naming what is no comparison."""

    __slots__ = ("features", "_comparisons")

    def __init__(self, text: str) -> None:
        self._comparisons = tuple(_comparison(part, text) for part in text.split(" and "))
        self.features = frozenset(name for name, _, _ in self._comparisons)
        """What has to be known."""

    def holds(self, known: Mapping[str, float]) -> bool:
        """Whether every comparison is true of features that are known."""
        for name, compare, limit in self._comparisons:
            value = known.get(name)
            if value is None or isnan(value) or not compare(value, limit):
                return False
        return True


def _comparison(part: str, text: str) -> tuple[str, Callable[[float, float], bool], float]:
    words = part.split()
    if len(words) != 3 or not words[0].isidentifier() or words[1] not in _OPERATORS:
        raise SettingsError(f"condition {text!r}: {part!r} found, expected {_GRAMMAR}, {'|'.join(_OPERATORS)}")
    try:
        limit = float(words[2])
    except ValueError:
        limit = float("nan")
    if not isfinite(limit):
        raise SettingsError(f"condition {text!r}: {words[2]!r} found, expected a number")
    return words[0], _OPERATORS[words[1]], limit
