"""Asking a service as the gateway does, and changing what it knows: each answer is one that the contract knows."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from hashlib import sha256
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


def rebaked(release: Any, name: str, change: Callable[[Any], Any]) -> str:
    """SHA-256 of the manifest of a release whose policy file was changed before it was sealed."""
    path = release.folder / "policy" / f"{name}.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    manifest = json.loads((release.folder / "manifest.json").read_text())
    for file in manifest["files"]:
        if file["path"] == f"policy/{name}.json":
            file["sha256"] = sha256(path.read_bytes()).hexdigest()
    data = json.dumps(manifest).encode()
    (release.folder / "manifest.json").write_bytes(data)
    return sha256(data).hexdigest()
