"""One durable ``log_operation`` row: what an actor did to an object, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pipeline_lib.audit import session
from pipeline_lib.audit.catalogue import complete
from pipeline_lib.audit.log import Entry
from pipeline_lib.canonical import digest, with_decimals
from pipeline_lib.records import Receipt, Severity
from pipeline_lib.runs import code_version
from pipeline_lib.settings import Settings

Phase = Literal["intent", "done", "failed", "single"]
Actor = tuple[Literal["human", "service", "agent"], str]
TABLE = "log_operation"


def record_operation(
    settings: Settings,
    event: str,
    idem: str,
    *,
    service: str,
    object_type: str,
    object_id: str,
    reason: str,
    actor: Actor | None = None,
    action_id: str | None = None,
    phase: Phase = "single",
    severity: Severity = "info",
    after_hash: str | None = None,
    details: Mapping[str, Any] | None = None,
    approvals: Sequence[Mapping[str, str]] | None = None,
) -> Receipt:
    """Record it exactly once per idem and content; a changed content under the same idem is a row of its own.

    Args:
        service: who writes the row; also the actor unless another is named.
        action_id: what the phases of one action share; the idem when there is one phase only.
        after_hash: SHA-256 of the object after the act, if the act made one.
        approvals: ``actor_ref``, ``method`` and ``at`` of the people whose yes it took.

    Raises:
        AuditError: the row is not durable; what it was to record must not happen.
    """
    kind, ref = actor or ("service", service)
    known = {
        "actor_kind": kind,
        "actor_ref": ref,
        "action_id": action_id or idem,
        "phase": phase,
        "object_type": object_type,
        "object_id": object_id,
        "after_hash": after_hash,
        "severity": severity,
        "reason": reason,
        "approvals": None if approvals is None else [dict(one) for one in approvals],
        "details": with_decimals(dict(details or {})),
        "code_rev": code_version(),
        "config_hash": settings.config_hash,
    }
    payload = complete(TABLE, known)
    # The same row again is found; an action resumed under other code or settings says so in a row of its own.
    entry = Entry(log_table=TABLE, event=event, payload=payload, idem=f"{idem}:{digest(payload)[:16]}")
    return session.record_once(settings, service, [entry])
