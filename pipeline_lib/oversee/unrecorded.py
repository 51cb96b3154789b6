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
from pipeline_lib.errors import AuditError, DoneUnrecorded, ObjectMissing, StoreError
from pipeline_lib.objects import Objects
from pipeline_lib.records import Receipt
from pipeline_lib.settings import Settings

log = logging.getLogger(__name__)
SERVICE, FOLDER = "oversight", "oversight/unrecorded"
NO_STORE = (StoreError, OSError)
"""A local disk that is full or gone says so in its own words."""


def write(settings: Settings, row: Mapping[str, Any]) -> Receipt:
    """One row of what ``record_operation`` takes. Raises AuditError."""
    given = dict(row)
    event, idem = given.pop("event"), given.pop("idem")
    return record_operation(settings, event, idem, service=SERVICE, **{**given, "actor": tuple(given["actor"])})


def record(settings: Settings, objects: Objects, row: Mapping[str, Any]) -> bool:
    """Record a row now, or keep it until ``settle``; whether it is in the record.

    Raises:
        DoneUnrecorded: neither took it.
    """
    try:
        write(settings, row)
    except AuditError as error:
        _keep(objects, row, error)
        return False
    try:
        settle(settings, objects)
    except (AuditError, *NO_STORE) as error:  # this row is in the record; what waits goes on waiting
        log.critical("what was done earlier is not in the record yet: %s", error)
    return True


def settle(settings: Settings, objects: Objects) -> int:
    """Record everything that waits; how many. A row that was recorded before is found, not written twice.

    Two at once do the same: the record takes a row once, and who comes second finds nothing left to do.

    Raises:
        AuditError: the record is still not to be reached.
        StoreError: what waits is not.
    """
    waiting, settled = [key for key in objects.list(FOLDER) if key.endswith(".json")], 0
    for key in waiting:
        try:
            row = objects.get(key)
        except ObjectMissing:
            continue
        write(settings, json.loads(row))
        objects.delete(key)
        settled += 1
    return settled


def _keep(objects: Objects, row: Mapping[str, Any], why: AuditError) -> None:
    text, what = json.dumps(row, sort_keys=True), f"{row['event']} of {row['object_id']}"
    try:
        objects.create(f"{FOLDER}/{digest(row)}.json", text.encode())
    except NO_STORE as error:
        raise DoneUnrecorded(f"{what} was done; {why}; nor can it be kept: {error}; the row: {text}") from error
    log.critical("%s was done and is not in the record yet: %s", what, why)
