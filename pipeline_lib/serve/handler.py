"""Entry point of the function: the gateway's event in, its response out. Never a stack trace, never a 500.

    POST /v1/recommendations    a recorded answer for one customer
    GET  /v1/health             which version answers, and how

The environment says where things are; a missing one stops the start, except that models which do not verify leave
a function that answers by rules:

    SERVE_BUNDLE            folder of the released package
    SERVE_MANIFEST_SHA256   hex SHA-256 of its manifest, fixed at publish
    SERVE_TABLES            what is known about customers: file:///folder or dynamodb:<prefix>
    SERVE_AUDIT             store of the record's evidence: file:///folder or s3://bucket/prefix
    SERVE_KEYS              pepper.key and the record's root key: /folder or ssm:/path
    SERVE_ORIGIN            identity of the record
    SERVE_KEY_ID            id of the record's root key
    SERVE_ENV               local, staging or prod; prod refuses context.as_of

Source: serving.md 3, 11, 12 and 14.
"""

from __future__ import annotations

import base64
import gc
import json
import logging
import os
import uuid
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from pipeline_lib.audit.log import Writer
from pipeline_lib.audit.segment import Entry
from pipeline_lib.errors import (
    AppendFailed,
    ContractError,
    ManifestMismatch,
    PipelineError,
    SecretMissing,
    SettingsError,
)
from pipeline_lib.keys import Keys
from pipeline_lib.objects import Objects, open_objects
from pipeline_lib.records import Receipt
from pipeline_lib.serve.bundle import Bundle, open_bundle, open_policy
from pipeline_lib.serve.items import open_items
from pipeline_lib.serve.kernel import LibraryFailed
from pipeline_lib.serve.parameters import open_keys
from pipeline_lib.serve.policy import Policy
from pipeline_lib.serve.predictor import Predictor
from pipeline_lib.serve.request import Refused, body_of
from pipeline_lib.serve.service import Service
from pipeline_lib.serve.tables import Tables

log = logging.getLogger(__name__)
_VARIABLES = ("BUNDLE", "MANIFEST_SHA256", "TABLES", "AUDIT", "KEYS", "ORIGIN", "KEY_ID", "ENV")


def handler(event: Mapping[str, Any], context: object = None) -> dict[str, Any]:
    """Answer one event of the HTTP gateway (payload format 2.0)."""
    return respond(event, service)


def respond(event: Mapping[str, Any], get_service: Callable[[], Service]) -> dict[str, Any]:
    """Route, answer, and turn every refusal into its documented error."""
    request_id = uuid.uuid4().hex
    try:
        return _response(200, _routed(event, get_service, request_id))
    except Refused as refused:
        log.info("request %s refused: %s", request_id, refused.code)
        error = {
            "code": refused.code, "message": refused.message, "request_id": request_id, "retryable": refused.retryable,
        }  # fmt: skip
        return _response(refused.http, {"error": error})


def open_service(environ: Mapping[str, str]) -> Service:
    """A function instance from its environment.

    Raises:
        SettingsError: a variable is missing, or the policy loosens a hard cap.
        ManifestMismatch: not even the policy verifies.
        SecretMissing: no pepper or no root key.
        StoreError: SERVE_AUDIT is no store. Whether it answers is found out by the first append.
    """
    place = _place(environ)
    keys = open_keys(place["KEYS"])
    keys.audit_root(place["KEY_ID"])  # or the first request would be the one to find out
    policy = load(Path(place["BUNDLE"]), place["MANIFEST_SHA256"])
    return Service(
        policy=policy,
        tables=Tables(open_items(place["TABLES"]), int(policy.serving["kill_switch"]["cache_ms"])),
        append=Recorder(open_objects(place["AUDIT"]), place, keys),
        pepper=keys.pepper(),
        code_rev=str(policy.models.bundle.manifest["code_rev"]),
        as_of_allowed=place["ENV"] != "prod",
    )


def load(folder: Path, manifest_sha256: str) -> Policy:
    """The package with its models, or with rules alone when the models do not verify or load."""
    bundle, predictor, refused = _models(folder, manifest_sha256)
    return Policy.open(bundle, predictor, refused)


class Recorder:
    """Appends to this instance's chain; a chain that stopped is left and another one opened, once per append."""

    def __init__(self, store: Objects, place: Mapping[str, str], keys: Keys) -> None:
        self._store, self._place, self._keys = store, place, keys
        self._writer: Writer | None = None

    def __call__(self, entries: Sequence[Entry]) -> Receipt:
        """Raises AppendFailed when nothing is durable."""
        if self._writer is not None:
            try:
                return self._writer.append(entries)
            except AppendFailed as error:
                log.warning("the chain was stopped, opening another: %s", error)
                self._writer = None
        writer = self._opened()
        receipt = writer.append(entries)
        self._writer = writer
        return receipt

    def _opened(self) -> Writer:
        origin, key_id = self._place["ORIGIN"], self._place["KEY_ID"]
        try:
            return Writer.open(self._store, self._keys, origin=origin, key_id=key_id, service="serve")
        except SecretMissing as error:  # there at the start, gone since
            raise AppendFailed(f"no chain can be opened: {error}") from error


@cache
def service() -> Service:
    """One per instance, made at the first request; what stopped the start is looked at again by the next one.

    Raises:
        Refused: 503, the start was stopped; what stopped it is in the log only.
    """
    try:
        opened = open_service(os.environ)
        # What lives as long as the instance need not be looked at by every full collection: the slowest answers.
        gc.collect()
        gc.freeze()
        return opened
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
    return place


def _routed(event: Mapping[str, Any], get_service: Callable[[], Service], request_id: str) -> dict[str, Any]:
    event = _object(event)
    route = (_object(_object(event.get("requestContext")).get("http")).get("method"), event.get("rawPath"))
    if route == ("GET", "/v1/health"):
        return get_service().health()
    if route != ("POST", "/v1/recommendations"):
        raise Refused(404, "NO_SUCH_ROUTE", "known: POST /v1/recommendations, GET /v1/health")
    return get_service().recommend(body_of(_payload(event), _media_type(event)), request_id)


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
