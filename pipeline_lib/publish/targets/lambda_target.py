"""AWS Lambda as release target: one immutable function version per package, and the alias ``live``.

The function itself (memory, tables, permissions) belongs to the bank's infrastructure; it is created here only
when it does not exist and the target names a role. A function version is found again by its description, so a
repeated publish makes no second one.
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError, WaiterError

from pipeline_lib.errors import ActivationFailed
from pipeline_lib.publish.targets.base import Target
from pipeline_lib.publish.targets.lambda_zip import PACKAGE_FOLDER, RUNTIME, bundle
from pipeline_lib.registry.versions import LocalVersion

log = logging.getLogger(__name__)

ALIAS = "live"
HANDLER = "pipeline_lib.serve.handler.handler"
MEMORY_MB, TIMEOUT_S = 1769, 3
"""One full core [MB] and the end of an answer [s]. Source: serving.md 13 and 14."""
HEALTH = {
    "version": "2.0",
    "rawPath": "/v1/health",
    "requestContext": {"requestId": "release", "http": {"method": "GET", "path": "/v1/health"}},
}
"""What the gateway sends the function for ``GET /v1/health`` (payload format 2.0)."""

Ask = Callable[[str, bytes, str], Mapping[str, Any]]
"""Function name, event, alias or version number -> answer of Lambda's ``Invoke``, its ``Payload`` read to bytes."""


def invoke(function: str, event: bytes, qualifier: str) -> Mapping[str, Any]:
    """Ask the running function; the release's role needs ``lambda:InvokeFunction``."""
    answer = boto3.client("lambda").invoke(FunctionName=function, Qualifier=qualifier, Payload=event)
    return {**answer, "Payload": answer["Payload"].read()}


class LambdaTarget(Target):
    def __init__(self, function: str, role: str | None = None, ask: Ask = invoke) -> None:
        self.name = f"lambda:{function}"
        self._function, self._role, self._ask = function, role, ask
        self._client = boto3.client("lambda")

    def publish(self, copy: LocalVersion) -> str:
        label = _label(copy.package.version, copy.package.sha256)
        with self._translated("publish"):
            if known := self._published(label):
                return known
            data = bundle(copy)
            self._upload(data)
            self._configure(copy.package.sha256)
            answer = self._client.publish_version(
                FunctionName=self._function, Description=label, **self._as_sent(data, copy.package.sha256)
            )
        log.info("%s: version %s is %s", self.name, answer["Version"], label)
        return str(answer["Version"])

    def shift(self, version: str | None) -> None:
        with self._translated("shift"):
            if version is None:
                self._client.delete_alias(FunctionName=self._function, Name=ALIAS)
                return
            number = self._number(version)
            if self._alias() is None:
                self._client.create_alias(FunctionName=self._function, Name=ALIAS, FunctionVersion=number)
            else:
                self._route(number, {})

    def stage(self, version: str, share: float) -> bool:
        with self._translated("stage"):
            alias = self._alias()
            if alias is None:
                raise ActivationFailed(f"{self.name}: nothing serves that {version} could be staged beside")
            self._route(alias[0], {self._number(version): share})
        return True

    def look(self, version: str) -> None:
        with self._translated("look"):
            number = self._number(version)
        self._require_answer(version, number)

    def serving(self) -> str | None:
        with self._translated("read"):
            alias = self._alias()
            if alias is None:
                return None
            said = self._versions()
            names = {n: _version_of(said.get(n, f"{n} which is no version of ours")) for n in (alias[0], *alias[1])}
            beside = [f", {share:.0%} of it {names[number]}" for number, share in sorted(alias[1].items())]
            return names[alias[0]] + "".join(beside)

    def check(self, version: str) -> None:
        with self._translated("check"):
            alias, number = self._alias(), self._number(version)
            if alias != (number, {}):
                raise ActivationFailed(f"{self.name}: alias {ALIAS} is at {alias}, expected {version}")
            waiter = self._client.get_waiter("published_version_active")
            waiter.wait(FunctionName=self._function, Qualifier=number, WaiterConfig={"Delay": 2, "MaxAttempts": 15})
        self._require_answer(version, ALIAS)

    def published(self) -> dict[str, datetime]:
        with self._translated("list"):
            return {
                _version_of(item.get("Description", "")): datetime.fromisoformat(item["LastModified"])
                for item in self._listed()
                if item.get("Description")
            }

    def withdraw(self, version: str) -> None:
        with self._translated("withdraw"):
            for number, said in self._versions().items():
                if _version_of(said) == version:
                    if (alias := self._alias()) and number in (alias[0], *alias[1]):
                        raise ActivationFailed(f"{self.name}: {version} serves and cannot be withdrawn")
                    self._client.delete_function(FunctionName=self._function, Qualifier=number)

    def _upload(self, data: bytes) -> None:
        if self._exists():
            self._client.update_function_code(FunctionName=self._function, ZipFile=data)
        elif self._role is None:
            raise ActivationFailed(f"{self.name} does not exist; create it, or name a role: {self.name}?role=<arn>")
        else:
            self._client.create_function(
                FunctionName=self._function,
                Role=self._role,
                Runtime=RUNTIME,
                Handler=HANDLER,
                MemorySize=MEMORY_MB,
                Timeout=TIMEOUT_S,
                Code={"ZipFile": data},
            )
            self._client.get_waiter("function_active_v2").wait(FunctionName=self._function)
        self._client.get_waiter("function_updated_v2").wait(FunctionName=self._function)

    def _configure(self, manifest_sha256: str) -> None:
        """Fix the manifest's hash in the version's environment; other variables stay."""
        found = self._client.get_function_configuration(FunctionName=self._function)
        variables = dict(found.get("Environment", {}).get("Variables", {}))
        variables |= {"SERVE_BUNDLE": f"/var/task/{PACKAGE_FOLDER}", "SERVE_MANIFEST_SHA256": manifest_sha256}
        self._client.update_function_configuration(FunctionName=self._function, Environment={"Variables": variables})
        self._client.get_waiter("function_updated_v2").wait(FunctionName=self._function)

    def _as_sent(self, data: bytes, manifest_sha256: str) -> dict[str, str]:
        """What pins ``publish_version`` to the code and the hash that were just sent.

        Raises:
            ActivationFailed: another release wrote the function in between.
        """
        found = self._client.get_function_configuration(FunctionName=self._function)
        sent = base64.b64encode(hashlib.sha256(data).digest()).decode()
        if (found["CodeSha256"], _manifest_of(found)) != (sent, manifest_sha256):
            raise ActivationFailed(f"{self.name}: another release wrote the function meanwhile; release again")
        # AWS gives every state of a function a revision and refuses to publish any other; a stand-in may give none.
        pinned = {"RevisionId": found["RevisionId"]} if "RevisionId" in found else {}
        return {"CodeSha256": sent, **pinned}

    def _exists(self) -> bool:
        try:
            self._client.get_function_configuration(FunctionName=self._function)
        except self._client.exceptions.ResourceNotFoundException:
            return False
        return True

    def _alias(self) -> tuple[str, dict[str, float]] | None:
        """The version that ``live`` is at, and the shares of traffic of versions beside it."""
        try:
            answer = self._client.get_alias(FunctionName=self._function, Name=ALIAS)
        except self._client.exceptions.ResourceNotFoundException:
            return None
        beside = (answer.get("RoutingConfig") or {}).get("AdditionalVersionWeights") or {}
        return str(answer["FunctionVersion"]), {str(number): float(share) for number, share in beside.items()}

    def _route(self, number: str, beside: Mapping[str, float]) -> None:
        """Without the empty map an alias would keep the shares that it has."""
        routing = {"AdditionalVersionWeights": dict(beside)}
        self._client.update_alias(
            FunctionName=self._function, Name=ALIAS, FunctionVersion=number, RoutingConfig=routing
        )

    def _require_answer(self, version: str, qualifier: str) -> None:
        with self._translated("ask"):
            answer = self._ask(self._function, json.dumps(HEALTH).encode(), qualifier)
        if found := _not_answering(answer, version):
            raise ActivationFailed(f"{self.name}: GET /v1/health at {qualifier}: {found}, expected 200 from {version}")

    def _versions(self) -> dict[str, str]:
        """Function version -> its description."""
        return {item["Version"]: item.get("Description", "") for item in self._listed()}

    def _listed(self) -> list[Mapping[str, Any]]:
        if not self._exists():
            return []
        pages = self._client.get_paginator("list_versions_by_function").paginate(FunctionName=self._function)
        return [item for page in pages for item in page["Versions"] if item["Version"] != "$LATEST"]

    def _published(self, label: str) -> str | None:
        return next((number for number, said in self._versions().items() if said == label), None)

    def _number(self, version: str) -> str:
        for number, said in self._versions().items():
            if _version_of(said) == version:
                return number
        raise ActivationFailed(f"{self.name}: {version} was never published here")

    @contextmanager
    def _translated(self, doing: str) -> Iterator[None]:
        try:
            yield
        except (ClientError, BotoCoreError, WaiterError) as error:
            raise ActivationFailed(f"{self.name}: cannot {doing}: {error}") from error


def _not_answering(answer: Mapping[str, Any], version: str) -> str | None:
    """What is wrong with an answer to ``HEALTH``; None: this version answers."""
    if failed := answer.get("FunctionError"):
        return f"the function failed ({failed})"
    try:
        response = json.loads(answer["Payload"])
        said = json.loads(response["body"])
        status, found, errors = response["statusCode"], said.get("version"), said.get("load_errors")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return f"no answer of the handler's ({type(error).__name__})"
    if (status, found) != (200, version):
        return f"{status} from {found}"
    return None if said.get("status") == "ok" and not errors else f"{said.get('status')} with {errors}"


def _manifest_of(configuration: Mapping[str, Any]) -> str | None:
    """Hash of the package that a function's or a version's environment names."""
    hashed: str | None = configuration.get("Environment", {}).get("Variables", {}).get("SERVE_MANIFEST_SHA256")
    return hashed


def _label(version: str, sha256: str) -> str:
    return f"{version} {sha256}"


def _version_of(label: str) -> str:
    return label.split(" ")[0]
