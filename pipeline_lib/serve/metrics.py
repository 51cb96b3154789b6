"""One log line for each request that CloudWatch reads as metrics; nobody waits for a metrics call.

Counts, codes and times only: no customer, no operator, no item, no text of a request. The request id finds the rest
in the record. Format: CloudWatch embedded metric format, ``_aws.CloudWatchMetrics``. Source: serving.md 3, step 17.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

NAMESPACE = "Serving"
_COUNTS = ("Answered", "Refused", "Failed", "Degraded", "Unrecorded", "Layer1", "Layer2", "Layer3", "Layer4")


def line(http: int, body: Mapping[str, Any], elapsed_ms: float, now_ms: int) -> str:
    """The line of one answered event.

    Args:
        body: as it was sent, an answer, a health report or an error. elapsed_ms: event in, response out [ms].
        now_ms: time [milliseconds since 1970].
    """
    metrics = [{"Name": "Latency", "Unit": "Milliseconds"}, *({"Name": name, "Unit": "Count"} for name in _COUNTS)]
    how = {"Namespace": NAMESPACE, "Dimensions": [["Version"]], "Metrics": metrics}
    error = body.get("error") or {}
    shown = {
        "_aws": {"Timestamp": now_ms, "CloudWatchMetrics": [how]},
        "Version": _version(body),
        "Latency": round(elapsed_ms, 3),
        **_counts(http, body),
        "http": http,
        "status": body.get("status"),
        "code": error.get("code"),
        "request_id": body.get("request_id") or error.get("request_id"),
        "flags": body.get("flags"),
        "tier": (body.get("review") or {}).get("tier"),
        "items": len(body["items"]) if "items" in body else None,
    }
    return json.dumps(shown, separators=(",", ":"))


def _version(body: Mapping[str, Any]) -> str:
    return str(body.get("version") or (body.get("model") or {}).get("version") or "none")


def _counts(http: int, body: Mapping[str, Any]) -> dict[str, int]:
    """``Failed``: the function's own fault (5xx). ``Unrecorded``: content without a receipt, never a personal one."""
    is_answer = http == 200 and "tasks" in body and "items" in body
    layers = [task["layer"] for task in body["tasks"].values()] if is_answer else []
    counts = {
        "Answered": int(is_answer), "Refused": int(400 <= http < 500), "Failed": int(http >= 500),
        "Degraded": int(is_answer and bool(body["flags"]["degraded"])),
        "Unrecorded": int(is_answer and body["receipt"] is None),
    }  # fmt: skip
    return {**counts, **{f"Layer{layer}": layers.count(layer) for layer in (1, 2, 3, 4)}}
