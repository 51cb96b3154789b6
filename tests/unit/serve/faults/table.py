"""The fault table: what breaks, and what is seen then. It drives ``test_table.py`` and is printed for the docs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.unit.serve.faults.world import World


@dataclass(frozen=True)
class Seen:
    """What a caller and an auditor see of one request."""

    http: int = 200
    status: str = "ok"
    """Of the answer, or the code of the error."""
    layer: str = "as released"
    """``all 3``: every task; ``2``: the task ``churn_signal``, Layer 1 by its manifest; ``-``: no task is answered."""
    reason: str = "MANIFEST"
    """``layer_reason`` of that task."""
    rows: str = "4"
    """Entries that the request left in the record."""


@dataclass(frozen=True)
class Fault:
    family: str
    words: str
    seen: Seen
    bring_about: Callable[[World], None]


TABLE: dict[str, Fault] = {}


def fault(family: str, words: str, seen: Seen) -> Callable[[Callable[[World], None]], Callable[[World], None]]:
    def keep(bring_about: Callable[[World], None]) -> Callable[[World], None]:
        assert words not in TABLE, f"{words}: twice"
        TABLE[words] = Fault(family, words, seen, bring_about)
        return bring_about

    return keep


def rules(reason: str, status: str = "ok", rows: str = "4") -> Seen:
    """Every task is answered by rules."""
    return Seen(200, status, "all 3", reason, rows)


def error(http: int, code: str) -> Seen:
    return Seen(http, code, "-", "-", "0")


STATIC = Seen(200, "static_content", "-", "-", "0")
"""The list that is the same for everybody, without a receipt."""


def page() -> str:
    """The table as Markdown."""
    head = ["what breaks", "HTTP", "status or code", "layer", "layer reason", "audit rows"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    family = ""
    for one in TABLE.values():
        if one.family != family:
            family = one.family
            lines.append(f"| **{family}** |" + " |" * (len(head) - 1))
        seen = one.seen
        lines.append(f"| {one.words} | {seen.http} | `{seen.status}` | {seen.layer} | `{seen.reason}` | {seen.rows} |")
    return "\n".join(lines)
