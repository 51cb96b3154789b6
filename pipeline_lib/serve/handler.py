"""Entry point of the function: the gateway's event in, its response out. Never a stack trace, never a 500: what no
step has named is 503 NO_SAFE_ANSWER, and the log says where it was raised, not what about.

    POST /v1/recommendations    a recorded answer for one customer
    POST /v1/reasons            why an item of such an answer was recommended
    GET  /v1/health             which version answers, and how

The environment says where things are; a missing one stops the start, except that models which do not verify leave
a function that answers by rules:

    SERVE_BUNDLE            folder of the released package
    SERVE_MANIFEST_SHA256   hex SHA-256 of its manifest, fixed at publish
    SERVE_TABLES            what is known about customers: file:///folder or dynamodb:<prefix>
    SERVE_AUDIT             store of the record's evidence: file:///folder or s3://bucket/prefix
    SERVE_AUDIT_SECONDARY   optional: store for what SERVE_AUDIT does not take; see audit/sinks.py
    SERVE_KEYS              pepper.key and the record's root key: /folder or ssm:/path
    SERVE_ORIGIN            identity of the record
    SERVE_KEY_ID            id of the record's root key
    SERVE_AUTHORIZER        optional: jwt = the gateway names the caller in every event; see caller.py
    SERVE_REWRITES          optional: the JSON lines that the rewriting provider `recorded` replays
    SERVE_ENV               local, staging or prod; prod refuses context.as_of

Source: serving.md 3, 11, 12 and 14.
"""

from __future__ import annotations

import base64
import gc
import json
import logging
import os
import sys
import time
import traceback
import uuid
from collections.abc import Callable, Mapping
from functools import cache
from math import inf
from pathlib import Path
from typing import Any

from pipeline_lib.errors import (
    ContractError,
    ManifestMismatch,
    PipelineError,
    SettingsError,
)
from pipeline_lib.items import open_items
from pipeline_lib.serve import caller, metrics
from pipeline_lib.serve.bundle import Bundle, open_bundle, open_policy
from pipeline_lib.serve.keep import Keep
from pipeline_lib.serve.kernel import LibraryFailed
from pipeline_lib.serve.parameters import open_keys
from pipeline_lib.serve.policy import Policy
from pipeline_lib.serve.predictor import Predictor
from pipeline_lib.serve.recorder import Recorder, open_sink
from pipeline_lib.serve.request import Refused, body_of
from pipeline_lib.serve.service import Service
from pipeline_lib.serve.tables import Tables

log = logging.getLogger(__name__)
_VARIABLES = ("BUNDLE", "MANIFEST_SHA256", "TABLES", "AUDIT", "KEYS", "ORIGIN", "KEY_ID", "ENV")
_ALLOWED = {"SERVE_ENV": ("local", "staging", "prod"), "SERVE_AUTHORIZER": (None, caller.JWT)}
"""A misspelt guard would be no guard. None: the variable may be left out."""
RECOMMEND, EXPLAIN = ("POST", "/v1/recommendations"), ("POST", "/v1/reasons")


def handler(event: Mapping[str, Any], context: object = None) -> dict[str, Any]:
    """Answer one event of the HTTP gateway (payload format 2.0), and log one line of metrics."""
    started = time.perf_counter()
    http, body, response = answered(event, service, context)
    elapsed_ms = (time.perf_counter() - started) * 1000
    sys.stdout.write(metrics.line(http, body, elapsed_ms, int(time.time() * 1000)) + "\n")
    return response


def respond(event: Mapping[str, Any], get_service: Callable[[], Service], context: object = None) -> dict[str, Any]:
    """The gateway's response to an event."""
    return answered(event, get_service, context)[2]


def answered(
    event: Mapping[str, Any], get_service: Callable[[], Service], context: object = None
) -> tuple[int, dict[str, Any], dict[str, Any]]:
    """Route, answer, and turn every refusal into its documented error.

    Args:
        context: the platform's; what it says of the time that remains bounds the answer.

    Returns:
        HTTP status, body, and the gateway's response.
    """
    request_id = uuid.uuid4().hex
    try:
        body = _routed(event, get_service, request_id, _remaining_s(context))
        return 200, body, _response(200, body)
    except Refused as found:
        log.info("request %s refused: %s", request_id, found.code)
        refused = found
    except Exception as error:  # the one place where nothing may pass: the platform would answer with it
        log.critical("request %s: %s at %s", request_id, type(error).__name__, _place_of(error))
        refused = Refused(503, "NO_SAFE_ANSWER", "this answer failed in a way that nobody foresaw", retryable=True)
    error_body = {
        "error": {
            "code": refused.code, "message": refused.message, "request_id": request_id, "retryable": refused.retryable,
        }
    }  # fmt: skip
    return refused.http, error_body, _response(refused.http, error_body)


def open_service(environ: Mapping[str, str]) -> Service:
    """A function instance from its environment.

    Raises:
        SettingsError: a variable is missing or has a value that means nothing, or the policy loosens a hard cap.
        ManifestMismatch: not even the policy verifies.
        SecretMissing: no pepper or no root key.
        StoreError: SERVE_AUDIT is no store. Whether it answers is found out by the first append.
    """
    place = _place(environ)
    keys = open_keys(place["KEYS"])
    keys.audit_root(place["KEY_ID"])  # or the first request would be the one to find out
    policy = load(Path(place["BUNDLE"]), place["MANIFEST_SHA256"])
    read_s, append_s = (int(policy.serving[name]) / 1000 for name in ("read_timeout_ms", "append_timeout_ms"))
    items = open_items(place["TABLES"], read_s)
    return Service(
        policy=policy,
        tables=Tables(items, int(policy.serving["kill_switch"]["cache_ms"])),
        keep=Keep(items, int(policy.serving["l2a"]["ttl_h"])),
        append=Recorder(
            open_sink(place["AUDIT"], environ.get("SERVE_AUDIT_SECONDARY"), append_s), place, keys, append_s
        ),
        pepper=keys.pepper(),
        code_rev=str(policy.models.bundle.manifest["code_rev"]),
        as_of_allowed=place["ENV"] != "prod",
        recording=environ.get("SERVE_REWRITES", ""),
    )


def load(folder: Path, manifest_sha256: str) -> Policy:
    """The package with its models, or with rules alone when the models do not verify or load."""
    bundle, predictor, refused = _models(folder, manifest_sha256)
    return Policy.open(bundle, predictor, refused)


@cache
def service() -> Service:
    """One per instance, made at the first request; what stopped the start is looked at again by the next one."""
    opened = started(os.environ)
    # What lives as long as the instance need not be looked at by every full collection: the slowest answers.
    gc.collect()
    gc.freeze()
    return opened


def started(environ: Mapping[str, str]) -> Service:
    """``open_service`` for somebody who waits for an answer.

    Raises:
        Refused: 503, the start was stopped; what stopped it is in the log only.
    """
    try:
        return open_service(environ)
    except (PipelineError, OSError) as error:
        log.critical("refusing to start: %s", error)
        raise Refused(503, "NO_SAFE_ANSWER", "this function has no verified release, key or record") from error


def _models(folder: Path, manifest_sha256: str) -> tuple[Bundle, Predictor | None, str | None]:
    try:
        bundle = open_bundle(folder, manifest_sha256)
        return bundle, Predictor.of(bundle), None
    except ManifestMismatch as error:
        log.critical("models refused, answering by rules: %s", error)
        return open_policy(folder, manifest_sha256), None, "MODELS_REFUSED"
    except (LibraryFailed, ContractError) as error:
        log.critical("models cannot be loaded, answering by rules: %s", error)
        return open_policy(folder, manifest_sha256), None, "MODELS_UNLOADABLE"


def _place(environ: Mapping[str, str]) -> dict[str, str]:
    place = {name: environ.get(f"SERVE_{name}", "") for name in _VARIABLES}
    if missing := [f"SERVE_{name}" for name, value in place.items() if not value]:
        raise SettingsError(f"environment: {', '.join(missing)} must be set")
    for name, allowed in _ALLOWED.items():
        if (found := environ.get(name, allowed[0])) not in allowed:
            said = " or ".join(value for value in allowed if value is not None)
            raise SettingsError(f"environment: {name} is {found!r}, allowed: {said}")
    return place


def _remaining_s(context: object) -> float:
    """Until the platform ends this function [s]; a context that does not say so sets no end."""
    remaining = getattr(context, "get_remaining_time_in_millis", None)
    return float(remaining()) / 1000 if callable(remaining) else inf


def _routed(
    event: Mapping[str, Any], get_service: Callable[[], Service], request_id: str, remaining_s: float
) -> dict[str, Any]:
    event = _object(event)
    route = (_object(_object(event.get("requestContext")).get("http")).get("method"), event.get("rawPath"))
    if route == ("GET", "/v1/health"):
        return get_service().health()
    if route not in (RECOMMEND, EXPLAIN):
        raise Refused(404, "NO_SUCH_ROUTE", "known: POST /v1/recommendations, POST /v1/reasons, GET /v1/health")
    body = body_of(_payload(event), _media_type(event))
    authorizer = os.environ.get("SERVE_AUTHORIZER")
    who = caller.check(event, body, authorizer)
    if route == EXPLAIN:
        return get_service().explain(body, request_id, who, caller.channels(event, authorizer))
    return get_service().recommend(caller.named(body, who), request_id, remaining_s)


def _place_of(error: BaseException) -> str:
    """File and line that raised it; its message may quote a customer."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "?"


def _object(value: Any) -> Mapping[str, Any]:
    """An envelope's part that is no object says nothing."""
    return value if isinstance(value, Mapping) else {}


def _media_type(event: Mapping[str, Any]) -> str:
    found = [value for name, value in _object(event.get("headers")).items() if str(name).lower() == "content-type"]
    return found[-1] if found and isinstance(found[-1], str) else ""


def _payload(event: Mapping[str, Any]) -> str | bytes:
    text = event.get("body") or ""
    if not isinstance(text, str):
        raise Refused(400, "INVALID_REQUEST", "the body is not a text")
    if not event.get("isBase64Encoded"):
        return text
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise Refused(400, "INVALID_REQUEST", "the body is not base64") from None


def _response(http: int, body: Mapping[str, Any]) -> dict[str, Any]:
    text = json.dumps(body, ensure_ascii=False, allow_nan=False)
    return {"statusCode": http, "headers": {"content-type": "application/json; charset=utf-8"}, "body": text}
