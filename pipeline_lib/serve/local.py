"""The function on a laptop: the handler's environment for one bank's home, and a way to send it a request.

Runs in a plain shell beside the pipeline, so it may read the settings; the handler may not.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from pipeline_lib.audit import session
from pipeline_lib.audit.operation import record_operation
from pipeline_lib.errors import ObjectMissing, SettingsError
from pipeline_lib.items import FEATURES, meta, open_items
from pipeline_lib.items.place import WAIT_S
from pipeline_lib.keys import KeyFolder, subject_ref
from pipeline_lib.serve.handler import open_service, respond
from pipeline_lib.serve.service import Service
from pipeline_lib.serve.tables import Tables
from pipeline_lib.settings import Settings

JSON_TYPE = "application/json"
RECORDED = "suitability_recorded"


def environment(settings: Settings) -> dict[str, str]:
    """The ``SERVE_*`` variables of the version that serves from the local release folder.

    Raises:
        SettingsError: target or store are not local, or nothing is released there.
    """
    releases = _folder(settings.place.target, "target")
    try:
        live = json.loads((releases / "live.json").read_bytes())
    except FileNotFoundError:
        raise SettingsError(f"{releases}: nothing is released here yet") from None
    return {
        "SERVE_BUNDLE": str(releases / live["folder"]),
        "SERVE_MANIFEST_SHA256": live["manifest_sha256"],
        "SERVE_TABLES": tables_url(settings),
        "SERVE_AUDIT": settings.place.audit,
        "SERVE_KEYS": str(settings.place.keys),
        "SERVE_ORIGIN": f"{settings.audit.origin}/{settings.place.env}",
        "SERVE_KEY_ID": session.active_key(settings),
        "SERVE_ENV": settings.place.env,
        **({"SERVE_AUDIT_SECONDARY": second} if (second := settings.place.audit_secondary) else {}),
    }


def tables_url(settings: Settings) -> str:
    """Where the function of this place looks its customers up."""
    return settings.place.tables or f"file://{tables_folder(settings)}"


def tables_folder(settings: Settings) -> Path:
    return _folder(settings.place.root, "root") / "serving" / settings.source.name


def event(body: Mapping[str, Any], path: str = "/v1/recommendations", method: str = "POST") -> dict[str, Any]:
    """What the gateway would send."""
    return {
        "version": "2.0",
        "rawPath": path,
        "headers": {"content-type": JSON_TYPE},
        "requestContext": {"http": {"method": method}},
        "body": json.dumps(body, ensure_ascii=False),
        "isBase64Encoded": False,
    }


def ask(service: Service, body: Mapping[str, Any]) -> dict[str, Any]:
    """The body of the answer to one recommendation request."""
    answered: dict[str, Any] = json.loads(respond(event(body), lambda: service)["body"])
    return answered


def open_local(settings: Settings) -> Service:
    """The handler's service for this bank, in this process."""
    return open_service(environment(settings))


def sample_request(customer_id: str, as_of: date | None) -> dict[str, Any]:
    """A teller's request for a customer; ``as_of`` lets a bank of the past be asked in its own time."""
    return {
        "customer_id": customer_id,
        "channel": "branch",
        "access_reason": "branch_initiated",
        "operator_id": "teller-1",
        "terminal_id": "terminal-1",
        **({"context": {"as_of": as_of.isoformat()}} if as_of else {}),
    }


def refreshed_on(settings: Settings) -> date:
    """Date of the feature rows that serve."""
    return date.fromisoformat(served_rows(settings)["as_of"])


def served_rows(settings: Settings) -> Mapping[str, Any]:
    """What is said of the newest export of feature rows.

    Raises:
        ObjectMissing: there is none.
        TableUnreadable: the table cannot be read.
    """
    url = tables_url(settings)
    missing = url.startswith("file:") and not (tables_folder(settings) / FEATURES).is_file()
    found = None if missing else meta.newest(open_items(url, WAIT_S))
    if found is None:
        raise ObjectMissing(f"{FEATURES}: no feature rows are served yet, nothing was packaged")
    return found


def assess(settings: Settings, customer_id: str, tolerance: int, on: date, by: str) -> None:
    """A suitability interview: without one no product may be recommended. Recorded first, and only then done.

    Args:
        by: who held it, authenticated.

    Raises:
        AuditError: it could not be recorded; nothing changed.
        TableUnreadable: it was recorded and is not done; the same again does it.
    """
    subject = subject_ref(KeyFolder(settings.place.keys).pepper(), customer_id)
    record_operation(
        settings, RECORDED, f"{RECORDED}:{uuid.uuid4()}", service="branch", object_type="suitability",
        object_id=subject, reason="suitability interview", actor=("human", by),
        details={"tolerance": tolerance, "assessed_at": on.isoformat()},
    )  # fmt: skip
    Tables(open_items(tables_url(settings), WAIT_S), 0).record_assessment(subject, tolerance, on)


def _folder(url: str, what: str) -> Path:
    parts = urlparse(url)
    if parts.scheme != "file":
        raise SettingsError(f"place.{what}: the local function needs file:///folder, found {url}")
    return Path(parts.path)
