"""The zip under AWS's own runtime client, with tables, keys and record in what stands in for AWS.

A loopback server speaks Lambda's runtime API: it hands out events and takes the answers. Nothing here shows how AWS
itself starts a sandbox, what its permissions say or how long anything takes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from threading import Event, Thread
from typing import Any

import boto3
import pytest

from pipeline_lib.audit import segment
from pipeline_lib.keys import KeyFolder
from pipeline_lib.objects import open_objects
from pipeline_lib.publish.targets.lambda_target import HANDLER
from pipeline_lib.publish.targets.lambda_zip import PACKAGE_FOLDER
from pipeline_lib.serve.local import event

from .conftest import Release
from .stores import PREFIX, copy_keys, copy_tables, make_tables
from .test_absence import DAY_OF_ROWS, task, zipped  # noqa: F401

BUCKET = "bank-audit"
HEALTH = {"rawPath": "/v1/health", "requestContext": {"http": {"method": "GET"}}}


class RuntimeApi:
    """Lambda's runtime API, version 2018-06-01, for one instance."""

    def __init__(self, events: list[bytes]) -> None:
        self._waiting, self._over = list(enumerate(events)), Event()
        self.posted: Queue[tuple[str, Any]] = Queue()
        api = self

        class Speaking(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                api.hand_out(self)

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                api.posted.put((self.path.rpartition("/runtime/")[2], json.loads(body)))
                self.send_response(202)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                """Silent."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Speaking)
        self.address = f"127.0.0.1:{self._server.server_port}"
        Thread(target=self._server.serve_forever, daemon=True).start()

    def hand_out(self, to: BaseHTTPRequestHandler) -> None:
        if not self._waiting:  # as in AWS: an instance without a request waits
            self._over.wait(60)
            return
        number, body = self._waiting.pop(0)
        to.send_response(200)
        for name, value in {
            "Lambda-Runtime-Aws-Request-Id": f"r{number}",
            "Lambda-Runtime-Deadline-Ms": "4102444800000",
            "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:ap-northeast-2:123456789012:function:recommend:live",
            "Content-Type": "application/json",  # without one the client waits for ever
            "Content-Length": str(len(body)),
        }.items():
            to.send_header(name, value)
        to.end_headers()
        to.wfile.write(body)

    def close(self) -> None:
        self._over.set()
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def instance(folder: Path, address: str, environment: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    bare = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    bare |= {
        "AWS_LAMBDA_RUNTIME_API": address,
        "LAMBDA_TASK_ROOT": str(folder),
        "AWS_LAMBDA_FUNCTION_NAME": "recommend",
    }
    with open(folder.parent / "log", "wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "awslambdaric", HANDLER], cwd=folder, env={**bare, **environment},
            stdout=log, stderr=log,
        )  # fmt: skip
        try:
            yield process
        finally:
            process.kill()
            process.wait()


@pytest.fixture
def place(aws: str, release: Release, task: Path) -> dict[str, str]:  # noqa: F811
    """A function's environment in AWS, with everything it names filled."""
    copy_tables(release.tables, make_tables())
    copy_keys(Path(release.bank.settings.place.keys), "/bank")
    where = {"LocationConstraint": "ap-northeast-2"}
    boto3.client("s3").create_bucket(Bucket=BUCKET, CreateBucketConfiguration=where)  # type: ignore[arg-type]
    return release.environment(
        SERVE_BUNDLE=str(task / PACKAGE_FOLDER), SERVE_TABLES=f"dynamodb:{PREFIX}", SERVE_KEYS="ssm:/bank",
        SERVE_AUDIT=f"s3://{BUCKET}/evidence",
    )  # fmt: skip


def answers(folder: Path, environment: Mapping[str, str], events: list[bytes]) -> list[tuple[str, Any]]:
    """What an instance posts back, in order."""
    api = RuntimeApi(events)
    try:
        with instance(folder, api.address, environment):
            return [api.posted.get(timeout=60) for _ in events]
    finally:
        api.close()


def test_an_instance_answers_and_records(
    place: dict[str, str],
    task: Path,  # noqa: F811
    release: Release,
    request_body: Callable[..., dict[str, Any]],
) -> None:
    bodies: list[Any] = [
        HEALTH,
        event(request_body(context=DAY_OF_ROWS)),
        event(request_body(customer_id="")),
        ["no", "object"],
    ]
    posted = answers(task, place, [json.dumps(body).encode() for body in bodies])
    assert [where for where, _ in posted] == [f"invocation/r{n}/response" for n in range(4)]
    assert [answer["statusCode"] for _, answer in posted] == [200, 200, 400, 404]
    health, body = (json.loads(answer["body"]) for _, answer in posted[:2])
    assert health["version"] == release.bank.read("package").facts["version"]
    assert body["flags"]["degraded"] is False
    assert {one["layer"] for one in body["tasks"].values()} >= {1}
    assert recorded(release) == [["writer_open"], ["data_access", "prediction", "attribution", "guardrail"]]


def recorded(release: Release) -> list[list[str]]:
    """Events of every segment in the bucket, in the order of the one chain they make; raises where it breaks."""
    store, environment = open_objects(f"s3://{BUCKET}/evidence"), release.environment()
    keys = sorted(name for name in store.list("") if name.endswith(".jsonl"))
    _, writer, epoch, _ = keys[0].split("/")
    identity = segment.Chain(environment["SERVE_ORIGIN"], writer, int(epoch))
    head = identity.start(KeyFolder(Path(environment["SERVE_KEYS"])).audit_root(environment["SERVE_KEY_ID"]))
    found = []
    for key in keys:
        lines, head = segment.check(identity, head, store.get(key))
        found.append([line.event for line in lines])
    return found


def test_a_function_without_its_secrets_says_503_and_nothing_else(place: dict[str, str], task: Path) -> None:  # noqa: F811
    ((where, answer),) = answers(task, {**place, "SERVE_KEYS": "ssm:/nobody"}, [json.dumps(HEALTH).encode()])
    assert where == "invocation/r0/response"
    assert (answer["statusCode"], json.loads(answer["body"])["error"]["code"]) == (503, "NO_SAFE_ANSWER")
    assert "nobody" not in answer["body"]
