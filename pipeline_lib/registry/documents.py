"""Documents of the registry as they are read back: one that is not whole is named, never a traceback."""

from __future__ import annotations

import json
from typing import Any

from pipeline_lib.errors import GateCannotJudge


def document(key: str, data: bytes) -> dict[str, Any]:
    """The JSON object under ``key``.

    Raises:
        GateCannotJudge: REGISTRY_CORRUPT: half-written, edited, or another kind of file.
    """
    try:
        body = json.loads(data)
    except ValueError as error:
        raise corrupt(key, f"{len(data)} bytes that are no JSON ({error})") from error
    if not isinstance(body, dict):
        raise corrupt(key, f"a JSON {type(body).__name__}")
    return body


def corrupt(key: str, found: str) -> GateCannotJudge:
    return GateCannotJudge("REGISTRY_CORRUPT", f"{key}: found {found}, expected a document of the registry")
