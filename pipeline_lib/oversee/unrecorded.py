"""Rows of what was done before it could be recorded: kept in the store until the record takes them.

Only turning a kill switch may act first. Source: audit.md 6.2.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

from pipeline_lib.audit.operation import record_operation
from pipeline_lib.canonical import digest
from pipeline_lib.errors import AuditError
from pipeline_lib.objects import Objects
from pipeline_lib.records import Receipt
from pipeline_lib.settings import Settings

log = logging.getLogger(__name__)
SERVICE, FOLDER = "oversight", "oversight/unrecorded"


def write(settings: Settings, row: Mapping[str, Any]) -> Receipt:
    """One row of what ``record_operation`` takes. Raises AuditError."""
    given = dict(row)
    event, idem = given.pop("event"), given.pop("idem")
    return record_operation(settings, event, idem, service=SERVICE, **{**given, "actor": tuple(given["actor"])})


def record(settings: Settings, objects: Objects, row: Mapping[str, Any]) -> bool:
    """Record a row now, or keep it until ``settle``; whether it is in the record."""
    try:
        write(settings, row)
        settle(settings, objects)
    except AuditError as error:
        objects.create(f"{FOLDER}/{digest(row)}.json", json.dumps(row, sort_keys=True).encode())
        log.critical("%s of %s was done and is not in the record yet: %s", row["event"], row["object_id"], error)
        return False
    return True


def settle(settings: Settings, objects: Objects) -> int:
    """Record everything that waits; how many. A row that was recorded before is found, not written twice.

    Raises:
        AuditError: the record is still not to be reached.
    """
    waiting = [key for key in objects.list(FOLDER) if key.endswith(".json")]
    for key in waiting:
        write(settings, json.loads(objects.get(key)))
        objects.delete(key)
    return len(waiting)
