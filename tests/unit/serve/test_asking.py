"""Somebody at a shell asks the released version: every wrong call is named, none is a traceback."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline_lib import settings
from pipeline_lib.runs import RunContext
from pipeline_lib.serve import __main__ as asking
from pipeline_lib.serve import local
from tests.unit.serve.conftest import Release, request_body

__all__ = ["request_body"]


@pytest.fixture
def served(bank: RunContext, release: Release, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "load", lambda *_: bank.settings)
    monkeypatch.setattr(local, "environment", lambda _: release.environment())


def asked(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, Any]]:
    code = asking.main(list(words))
    return code, json.loads(capsys.readouterr().out)


@pytest.mark.usefixtures("served")
@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"garbage", "JSON"), (b"", "JSON"), (b"\xff\xfe", "JSON"), (b"[]", "object"),
        (b'{"customer_id": "c5", "channel": "pigeon"}', "channel"),
    ],
)  # fmt: skip
def test_a_file_is_sent_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: bytes, said: str) -> None:
    file = tmp_path / "request.json"
    file.write_bytes(text)
    code, answer = asked(capsys, str(file))
    assert (code, answer["error"]["code"]) == (1, "INVALID_REQUEST")
    assert said in answer["error"]["message"]


@pytest.mark.usefixtures("served")
def test_a_good_file_is_answered(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], request_body: Callable[..., Any]
) -> None:
    file = tmp_path / "request.json"
    file.write_text(json.dumps(request_body()))
    code, answer = asked(capsys, str(file))
    assert (code, answer["receipt"] is None) == (0, False)
    assert asked(capsys, "--health")[1]["status"] == "ok"


@pytest.mark.usefixtures("served")
def test_a_file_that_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert asking.main([str(tmp_path / "nowhere.json")]) == 2
    assert "nowhere.json" in capsys.readouterr().err


@pytest.mark.parametrize("words", [[], ["--health", "--customer", "1"], ["--health", "--tolerance", "3"]])
def test_what_is_asked_is_said(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        asking.main(words)
    assert capsys.readouterr().err
