"""Findings in one form: what was measured, on what, against which limit."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, Literal

from pipeline_lib.records import Finding

Verdict = Literal["FAIL", "WARN", "UNJUDGED"]


def ids_of(rule: Callable[..., Any]) -> tuple[str, ...]:
    """Ids of the catalogue that a rule's docstring begins with: ``L05, L29: share of ...``."""
    return tuple(re.findall(r"[LR]\d\d", (rule.__doc__ or "").split(":")[0]))


def rules_of(rules: Iterable[Callable[..., Any]]) -> dict[str, tuple[str, ...]]:
    return {rule.__name__: ids_of(rule) for rule in rules}


def number(value: float) -> str:
    """Four decimals where they say something, else significant digits."""
    return f"{value:.4f}" if value == 0 or 1e-3 <= abs(value) < 1000 else f"{value:.6g}"


def finding(
    check: str,
    column: str,
    statistic: str,
    value: float | int | str,
    limit: float | int | str,
    message: str,
    *,
    label: str = "",
    verdict: Verdict = "FAIL",
) -> Finding:
    """A Finding with its numbers as text."""
    return Finding(check, column, statistic, _text(value), _text(limit), message, label, verdict)


def graded(failed: bool, fail: float, warn: float) -> tuple[float, Verdict]:
    """The limit that was crossed, and its verdict."""
    return (fail, "FAIL") if failed else (warn, "WARN")


def _text(value: float | int | str) -> str:
    return number(value) if isinstance(value, float) else str(value)
