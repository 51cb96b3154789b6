"""Who asks, and why: what every command of a person on the registry must say."""

from __future__ import annotations

from pipeline_lib.errors import RequestRefused
from pipeline_lib.scrub import scrub
from pipeline_lib.settings.promotion import Force


def named(operator: str, reason: str, policy: Force) -> tuple[str, str]:
    """Operator and reason as they go into the record, without customers.

    Raises:
        RequestRefused: no operator, or no reason.
    """
    operator, reason = operator.strip(), scrub(reason)
    if not operator:
        raise RequestRefused("a change of the registry needs an operator")
    if not policy.reason_min_chars <= len(reason) <= policy.reason_max_chars:
        raise RequestRefused(
            f"a reason has {policy.reason_min_chars} to {policy.reason_max_chars} characters, found {len(reason)}"
        )
    return operator, reason
