"""Who asks, and why: what every command of a person on the registry or the champion must say, in one place."""

from __future__ import annotations

import re

from pipeline_lib.errors import RequestRefused
from pipeline_lib.scrub import scrub
from pipeline_lib.settings.promotion import Force

DISTINCT = 4
"""Different characters a reason has at least: fewer is a key that was held down."""


def same(one: str, other: str) -> bool:
    """Whether two names are one person's: spaces around them and capitals make no second person."""
    return one.strip().casefold() == other.strip().casefold()


def named(operator: str, reason: str, policy: Force) -> tuple[str, str]:
    """Operator and reason as they go into the record, without customers.

    Raises:
        RequestRefused: no operator, or no reason.
    """
    operator, reason = operator.strip(), scrub(reason)
    if not operator:
        raise RequestRefused("a change of the registry needs an operator")
    require_reason(reason, policy)
    return operator, reason


def require_reason(reason: str, policy: Force) -> None:
    """Returns nothing; raises RequestRefused unless it says, in its length, what happened."""
    if not policy.reason_min_chars <= len(reason) <= policy.reason_max_chars:
        raise RequestRefused(
            f"a reason has {policy.reason_min_chars} to {policy.reason_max_chars} characters, found {len(reason)}"
        )
    words = re.findall(r"\w+", reason.lower())
    if not set(words) - set(policy.boilerplate) or len(set("".join(words))) < DISTINCT:
        raise RequestRefused(f"{reason!r} is no reason: say what happened")
