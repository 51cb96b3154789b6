"""Conditions of policy files: a closed grammar."""

from __future__ import annotations

from math import inf, nan

import pytest

from pipeline_lib.conditions import Condition
from pipeline_lib.errors import SettingsError


@pytest.mark.parametrize(
    ("text", "known", "holds"),
    [
        ("a <= 7", {"a": 7.0}, True),
        ("a < 7", {"a": 7.0}, False),
        ("a >= 7", {"a": 7.0}, True),
        ("a > 7", {"a": 7.0}, False),
        ("a == 7", {"a": 7.0}, True),
        ("a <= 7 and b > 0", {"a": 1.0, "b": 1.0}, True),
        ("a <= 7 and b > 0", {"a": 1.0, "b": 0.0}, False),
        ("a <= 7", {}, False),
        ("a <= 7", {"a": nan}, False),
        ("a > 7", {"a": inf}, True),
        ("a <= 7 and b > 0", {"a": 1.0}, False),
    ],
)
def test_a_condition_holds_of_what_is_known(text: str, known: dict[str, float], holds: bool) -> None:
    assert Condition(text).holds(known) is holds


def test_a_condition_names_what_it_needs() -> None:
    assert Condition("a <= 7 and b > 0").features == {"a", "b"}


@pytest.mark.parametrize(
    "text",
    ["", "a", "a <=", "a ! 7", "a <= seven", "a <= nan", "a <= 7 or b > 0", "a <= 7 and", "__import__('os') == 1",
     "a.b <= 7", "1 <= a", "a <= b", "a <= 7; b > 0", "(a <= 7)"],
)  # fmt: skip
def test_anything_else_is_refused_and_never_evaluated(text: str) -> None:
    with pytest.raises(SettingsError, match="condition"):
        Condition(text)
