"""Asking a service as the gateway does, and changing what it knows: each answer is one that the contract knows."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from typing import Any

from pipeline_lib.serve import local
from pipeline_lib.serve.handler import respond

from .contract import checked

SQL_OPT_OUT = "INSERT INTO optout VALUES (?, ?, '2026-11-01')"
SQL_SWITCH = "INSERT INTO kill_switch VALUES (?, ?, ?, ?, 1, 1)"


def ask(service: Any, body: dict[str, Any], /, **event: Any) -> tuple[int, Any]:
    answered = respond({**local.event(body), **event}, lambda: service)
    return checked(answered["statusCode"], json.loads(answered["body"]))


def change(release: Any, sql: str, *values: Any) -> None:
    with closing(sqlite3.connect(release.tables / "state.sqlite")) as database, database:
        database.execute(sql, values)


def assessed(release: Any, service: Any, customer: str = "c5", tolerance: int = 3) -> None:
    service.tables.record_assessment(release.subject(customer), tolerance, release.now.date())
