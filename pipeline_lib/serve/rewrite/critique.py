"""The model's own verdict on a rewrite, read strictly: what cannot be read is a fail."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any


@dataclass(frozen=True)
class Critique:
    """``f``: share of the text that the evidence supports [0..1]. ``c``: 1 compliant, 0 not."""

    f: float
    c: int
    revision: str | None = None
    """The text as the model would correct it; it is judged like any other."""

    def verdict(self, policy: Mapping[str, Any]) -> str:
        """pass, revise or reject."""
        if self.c != 1 or self.f < float(policy["f_revise"]):
            return "reject"
        return "pass" if self.f >= float(policy["f_pass"]) else "revise"


def read(answer: str) -> Critique | None:
    """None for anything but one JSON object of ``f``, ``c`` and perhaps ``revision``."""
    try:
        found = json.loads(answer, object_pairs_hook=_unique, parse_constant=_refused)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or not {"f", "c"} <= found.keys() <= {"f", "c", "revision"}:
        return None
    f, c, revision = found["f"], found["c"], found.get("revision")
    if type(f) not in (int, float) or not isfinite(f) or not 0 <= f <= 1 or type(c) is not int or c not in (0, 1):
        return None
    return Critique(float(f), c, revision) if revision is None or isinstance(revision, str) else None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({name for name, _ in pairs}) != len(pairs):
        raise ValueError("a key is written twice")
    return dict(pairs)


def _refused(constant: str) -> float:
    raise ValueError(constant)
