"""Legal holds: while one is on, its customer is not erased and no payload of anybody expires.

One person sets it and one releases it, each with a case; V18 and V19 compare their times with what went.
Source: audit.md 5.1, T22.
"""

from __future__ import annotations

from typing import Any

from pipeline_lib.audit import expiry, lawful, mapping
from pipeline_lib.audit.operation import record_operation
from pipeline_lib.business_time import utc_now
from pipeline_lib.errors import RequestRefused
from pipeline_lib.registry import persons
from pipeline_lib.scrub import scrub_ticket
from pipeline_lib.settings import Settings


def hold(settings: Settings, customer: str | None, operator: str, reason: str, ticket: str) -> dict[str, Any]:
    """Nothing of this customer is erased (None: of anybody), and no payload expires, until it is released."""
    return _hold(settings, customer, operator, reason, ticket, "held")


def release(settings: Settings, customer: str | None, operator: str, reason: str, ticket: str) -> dict[str, Any]:
    """End a legal hold. Raises RequestRefused when none is on."""
    return _hold(settings, customer, operator, reason, ticket, "released")


def _hold(
    settings: Settings, customer: str | None, operator: str, reason: str, ticket: str, state: str
) -> dict[str, Any]:
    operator, reason = persons.named(operator, reason, settings.promotion.force)
    of = lawful.RECORD
    if customer is not None:
        of = mapping.resolve(settings, customer, operator, f"legal_hold: {reason}")
    on = next((one for one in lawful.holds(expiry.acts(settings)) if one.object_id == of and not one.until), None)
    if bool(on) == (state == "held"):
        raise RequestRefused(f"{of}: " + (f"a hold is on since {on.since}" if on else "no hold is on"))
    record_operation(
        settings, lawful.HOLD, f"{lawful.HOLD}:{of}:{state}:{utc_now().isoformat()}", service="privacy",
        object_type="hold", object_id=of, reason=reason, actor=("human", operator), severity="major",
        details={"state": state, "subject_ref": None if customer is None else of, "ticket": scrub_ticket(ticket)},
    )  # fmt: skip
    return {"hold": of, "state": state}
