"""A few of the kills of ``make crash-matrix`` and of the races of ``make race``, with real processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import boto3
import pytest

from tests.crash.flows import FLOWS
from tests.crash.kill import Injector, Write
from tests.crash.matrix import points
from tests.crash.race import CONTESTS

REPO = Path(__file__).resolve().parent.parent.parent


def run(module: str, *arguments: str) -> dict[str, Any]:
    """In a process of its own: a fork of this one would lose its threads."""
    child = subprocess.run(
        [sys.executable, "-m", f"tests.crash.{module}", "--json", *arguments],
        cwd=REPO, env={**os.environ, "PYTHONPATH": str(REPO)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert child.stdout, child.stderr
    found: dict[str, Any] = json.loads(child.stdout)
    return found


@pytest.mark.e2e
def test_a_killed_flow_agrees_again_whoever_goes_on() -> None:
    found = run("matrix", "--every", "83")
    assert found["failures"] == []
    assert set(found["flows"]) == {flow.name for flow in FLOWS}
    assert all(flow["kills"] for flow in found["flows"].values())


@pytest.mark.e2e
def test_two_at_once_end_in_one_champion() -> None:
    found = run("race", "--times", "1")
    assert found == {"races": {contest.name: 1 for contest in CONTESTS}, "failures": []}


@pytest.mark.e2e
def test_two_at_once_end_in_one_champion_in_a_bucket(aws: str) -> None:
    boto3.client("s3").create_bucket(Bucket="bank", CreateBucketConfiguration={"LocationConstraint": "ap-northeast-2"})
    found = run("race", "--times", "1", "--bucket", "bank", "--contest", "4")
    assert found["failures"] == []


def test_every_write_is_a_point_and_a_name_is_three() -> None:
    writes = [Write(1, "open", "a"), Write(2, "os.link", "b")]
    assert [(w.number, how) for w, how in points(writes, 1)] == [
        (1, "before"), (2, "before"), (2, "torn"), (2, "after"),
    ]  # fmt: skip


def test_a_new_kind_of_write_counts_without_being_listed(tmp_path: Path) -> None:
    injector = Injector(tmp_path)
    sys.addaudithook(injector)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_text("x")
    os.replace(tmp_path / "folder" / "file", tmp_path / "named")
    (tmp_path / "named").read_text()
    Path("/dev/null").write_text("elsewhere")
    injector.stop()
    assert [(w.kind, w.what) for w in injector.writes] == [
        ("os.mkdir", "folder"), ("open", "folder/file"), ("os.rename", "named"),
    ]  # fmt: skip
