"""Who asked the record what: one ``log_query`` row, durable before anything is shown."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline_lib.audit import catalogue, record
from pipeline_lib.audit.segment import Entry
from pipeline_lib.canonical import digest
from pipeline_lib.errors import RequestRefused
from pipeline_lib.settings import Settings

MIN_REASON = 10


def log_bulk(
    settings: Settings, operator: str, reason: str, tables: Sequence[str], parameters: Mapping[str, Any], rows: int
) -> None:
    """Record a question about many answers; ``parameters`` only as their digest.

    Raises:
        RequestRefused: no reason is given.
        AuditError: the row is not durable; then nothing may be shown.
    """
    if len(reason.strip()) < MIN_REASON:
        raise RequestRefused(f"say why in {MIN_REASON} characters or more, found {reason!r}")
    known = {
        "operator_ref": operator, "operator_kind": "human", "row_scope": "bulk", "query_hash": digest(parameters),
        "access_reason": "log_query", "purpose": reason, "fields_read": sorted(tables), "row_count": rows,
        "denied": False,
    }  # fmt: skip
    payload = catalogue.complete("log_data_access", known)
    entry = Entry("log_data_access", "log_query", payload, f"log_query:{secrets.token_hex(16)}")
    record.record_once(settings, "query", [entry])
