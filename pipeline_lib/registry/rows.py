"""Rows of the record about promotions: one ``promotion_decision`` per verdict, two-phase rows per effect.

A verdict is read back from the record before anything is done with it, so what takes effect is what was recorded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from functools import partial
from typing import Any

from pipeline_lib.audit import session
from pipeline_lib.audit.catalogue import SALT, complete
from pipeline_lib.audit.log import Entry, once_chain
from pipeline_lib.audit.operation import Phase as Phase
from pipeline_lib.audit.operation import record_operation
from pipeline_lib.canonical import with_decimals
from pipeline_lib.errors import PromotionUnrecorded
from pipeline_lib.records import Decision, Receipt
from pipeline_lib.runs import code_version
from pipeline_lib.settings import Settings

SERVICE = "promotion"
PROMOTIONS = "log_model_promotion"
VERDICT, SWAP, REPAIR = "promotion_decision", "manifest_swap", "pointer_swapped"
QUARANTINED, LIFTED, CHECKED = "version_quarantined", "quarantine_lifted", "registry_checked"
QUARANTINES = (QUARANTINED, LIFTED)

_ENVELOPE = {f.name: "gate_config_hash" if f.name == "config_hash" else f.name for f in fields(Decision)}
del _ENVELOPE["body"]
"""Field of a Decision -> column of its row; every other column is in the body."""

operation = partial(record_operation, service=SERVICE)
"""One durable ``log_operation`` row of the promotion service; see ``audit.operation``."""


def verdict_body(**known: Any) -> dict[str, Any]:
    """The evidence part of a Decision: every column of its row that is not in the envelope, unknown ones null.

    Raises:
        ValueError: a column the record does not have.
    """
    columns = complete(PROMOTIONS, with_decimals({"code_rev": code_version(), **known}))
    return {name: value for name, value in columns.items() if name not in _ENVELOPE.values()}


def verdict_payload(decision: Decision) -> dict[str, Any]:
    envelope = {column: getattr(decision, name) for name, column in _ENVELOPE.items()}
    return complete(PROMOTIONS, {**decision.body, **envelope})


def verdict_from(payload: Mapping[str, Any]) -> Decision:
    """The Decision that a row holds."""
    body = {k: v for k, v in payload.items() if k not in _ENVELOPE.values() and k != SALT}
    return Decision(**{name: payload[column] for name, column in _ENVELOPE.items()}, body=body)


def record_verdict(settings: Settings, decision: Decision) -> tuple[Decision, Receipt, str]:
    """Write the one row of this verdict, or find it.

    Returns:
        the decision as recorded, its receipt, and when it was recorded (ISO 8601, UTC).

    Raises:
        AuditError: the row is not durable: there is no decision.
    """
    entry = Entry(
        log_table=PROMOTIONS,
        event=VERDICT,
        payload=verdict_payload(decision),
        idem=_idem(decision.decision_id),
        request_id=decision.body["request_id"],
    )
    receipt = session.record_once(settings, SERVICE, [entry])
    recorded, at = recorded_verdict(settings, receipt)
    return recorded, receipt, at


def is_recorded(settings: Settings, decision_id: str) -> bool:
    """Does the record hold a verdict of this id?"""
    chain = once_chain(session.origin(settings), SERVICE, _idem(decision_id))
    return session.store(settings).exists(chain.key_of(1))


def recorded_verdict(settings: Settings, receipt: Receipt) -> tuple[Decision, str]:
    """The verdict a receipt stands for, read back from the record and verified.

    Raises:
        AuditError: the record does not verify.
        PromotionUnrecorded: the receipt is of something else.
    """
    rows = session.confirm(settings, receipt)
    found = [(row.header["log_table"], row.header["event"]) for row in rows]
    if found != [(PROMOTIONS, VERDICT)]:
        raise PromotionUnrecorded(f"the receipt {receipt} is of {found}, expected one {VERDICT}")
    return verdict_from(rows[0].payload), str(rows[0].header["ts"])


def _idem(decision_id: str) -> str:
    return f"verdict:{decision_id}"


def require_recorded(settings: Settings, decision: Decision, receipt: Receipt) -> None:
    """Returns nothing; raises PromotionUnrecorded unless the record holds exactly this champion-changing verdict."""
    if not decision.changes_champion:
        raise PromotionUnrecorded(f"{decision.decision} of {decision.challenger_version} changes no champion")
    recorded, _ = recorded_verdict(settings, receipt)
    if verdict_payload(recorded) != verdict_payload(decision):
        raise PromotionUnrecorded(
            f"the record says {recorded.decision} {recorded.challenger_version} ({recorded.decision_id}), "
            f"asked for {decision.decision} {decision.challenger_version} ({decision.decision_id})"
        )
