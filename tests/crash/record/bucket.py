"""The record in a bucket behind a line that breaks: an HTTP relay before moto's server, told to misbehave."""

from __future__ import annotations

import http.client
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlparse

import boto3

from pipeline_lib.audit import session
from pipeline_lib.errors import AppendFailed, PipelineError
from tests.crash.record.scene import Ack, Result, append, kept, opened, scratch

Mood = Literal["up", "gone", "503", "partial", "lost answer", "stale"]
REGION = "ap-northeast-2"
_HOP = {"connection", "transfer-encoding", "keep-alive", "content-length"}


class Relay:
    """Forwards to ``upstream`` as its mood is."""

    def __init__(self, upstream: str) -> None:
        self.mood: Mood = "up"
        self.listings: dict[str, tuple[int, list[tuple[str, str]], bytes]] = {}
        self._upstream = urlparse(upstream).netloc
        handler = type("Handler", (_Handler,), {"relay": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def ask(self, method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:  # fmt: skip  # noqa: E501
        """The answer of the real store; of a listing also the first one ever given, while the mood is stale."""
        if self.mood == "stale" and path in self.listings:
            return self.listings[path]
        line = http.client.HTTPConnection(self._upstream, timeout=10)
        line.request(method, path, body, headers)
        answer = line.getresponse()
        found = answer.status, answer.getheaders(), answer.read()
        line.close()
        if "list-type=2" in path:
            self.listings.setdefault(path, found)
        return found


class _Handler(BaseHTTPRequestHandler):
    relay: Relay
    protocol_version = "HTTP/1.1"

    def _relayed(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        mood = self.relay.mood
        if mood == "gone":
            self.close_connection = True
            return
        if mood == "503":
            self._answered(503, [], b"<Error><Code>ServiceUnavailable</Code></Error>")
            return
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP}
        status, given, data = self.relay.ask(self.command, self.path, headers, body)
        if mood == "lost answer" and self.command == "PUT":
            self.close_connection = True
            return
        self._answered(status, given, data, cut=mood == "partial" and self.command == "GET" and len(data) > 1)

    def _answered(self, status: int, headers: list[tuple[str, str]], data: bytes, cut: bool = False) -> None:
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in _HOP:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data[: len(data) // 2] if cut else data)
        self.close_connection = cut or self.close_connection

    do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = _relayed  # noqa: N815

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def behind_relay(upstream: str) -> Iterator[Relay]:
    """boto3 of this process speaks to the relay, and tries each call once."""
    relay = Relay(upstream)
    given = {
        "AWS_ENDPOINT_URL": relay.url, "AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": REGION, "AWS_MAX_ATTEMPTS": "1",
    }  # fmt: skip
    before = {name: os.environ.get(name) for name in given}
    os.environ.update(given)
    try:
        yield relay
    finally:
        relay.close()
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


MOODS: dict[Mood, tuple[str, bool, str]] = {
    "gone": ("the connection is cut at every call, then it is back", True, "INCOMPLETE"),
    "503": ("503 at every call, then it answers", True, "INCOMPLETE"),
    "partial": ("every body that is read is cut in half", False, "INCOMPLETE"),
    "lost answer": ("every write is kept, its answer never arrives", True, "INTACT"),
    "stale": ("listings are those of an hour ago", False, "INTACT"),
}
"""Mood -> in words; do appends fail; what ``verify`` says meanwhile."""


def bucket(folder: Path, upstream: str, mood: Mood) -> Result:
    """Evidence, checkpoints and copies in one bucket whose line misbehaves for a while."""
    words, appends_fail, expected = MOODS[mood]
    with behind_relay(upstream) as relay:
        name = f"bank-{mood.replace(' ', '-')}"
        boto3.client("s3").create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})
        stores = {part: f"s3://{name}/{part}" for part in ("audit", "anchors", "root")}
        settings = scratch(folder, **stores)
        writer = opened(settings)
        acks = [append(writer, "up.1")]
        session.commit(settings)
        session.verification(settings)  # the listings of an hour ago
        acks += [append(writer, "up.2"), append(opened(settings), "up.other")]
        session.commit(settings)
        relay.mood = mood
        told = _tried(lambda: append(writer, "meanwhile"), acks)
        assert (told != "a receipt") == appends_fail, told
        said = session.verification(settings, [ack.receipt for ack in acks]).verdict
        assert said == expected, said
        commit = _committed(settings)
        relay.mood = "up"
        acks.append(append(opened(settings), "up.again"))
        meanwhile = f"{told}; `verify` says {said}; end of a run: {commit}"
        return Result("bucket", words, 1, *kept(settings, acks), meanwhile)


def _tried(act: Callable[[], Ack], acks: list[Ack]) -> str:
    try:
        acks.append(act())
    except AppendFailed as error:
        return f"`{type(error).__name__}`"
    return "a receipt"


def _committed(settings: Any) -> str:
    try:
        session.commit(settings)
    except PipelineError as error:
        return f"`{type(error).__name__}`"
    return "as ever"
