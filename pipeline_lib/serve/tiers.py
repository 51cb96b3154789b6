"""How much a person looks at before an answer is delivered: the conditions that hold, and the tier they give.

1: delivered. 2: withheld for review, the channel shows rules meanwhile and nothing is sent. 3: nothing of the answer is
shown until two people have decided.
All conditions are found and recorded, not only the one that decides. Source: serving.md 10; monitoring.md, review.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

TIERS: Mapping[str, int] = {
    "guardrail_block": 3,
    "fairness_breach": 3,
    "two_ood_flags": 3,
    "fairness_margin": 2,
    "fairness_unreadable": 2,
    "one_ood_flag": 2,
    "gate_entropy": 2,
    "close_scores": 2,
    "careful_customer": 2,
    "tolerance_stale": 2,
}
"""Condition -> tier; a condition that is not listed cannot be found."""
BREACH, MARGIN, ANY = "BREACH", "MARGIN", "*"


@dataclass(frozen=True)
class FairnessFlag:
    """What the monitors said last of one task and one group; never computed here."""

    task: str
    attribute: str
    group: str
    state: str
    """BREACH (confirmed), MARGIN, or anything else: no flag."""


@dataclass(frozen=True)
class Review:
    tier: int
    conditions: tuple[str, ...]
    """All that hold, the gravest first."""

    @property
    def withholds(self) -> bool:
        """Whether nothing of the answer may be shown."""
        return self.tier == 3


def review(found: Mapping[str, bool]) -> Review:
    """The tier of an answer, given which conditions hold; two flags about the row are not also one."""
    held = [name for name, holds in found.items() if holds]
    if "two_ood_flags" in held:
        held = [name for name in held if name != "one_ood_flag"]
    held.sort(key=lambda name: (-TIERS[name], name))
    return Review(max((TIERS[name] for name in held), default=1), tuple(held))


def fairness(flags: Sequence[FairnessFlag] | None, groups: Mapping[str, str], tasks: Sequence[str]) -> dict[str, bool]:
    """The fairness conditions of an answer.

    Args:
        flags: None = they could not be read. groups: protected attribute -> the customer's group. tasks: that decided.
    """
    states = {
        flag.state
        for flag in flags or ()
        if flag.task in (ANY, *tasks) and groups.get(flag.attribute) == flag.group
    }  # fmt: skip
    return {
        "fairness_breach": BREACH in states,
        "fairness_margin": MARGIN in states,
        "fairness_unreadable": flags is None,
    }
