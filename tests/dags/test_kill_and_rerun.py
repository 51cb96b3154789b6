"""A stage killed half-way leaves the old state or the new one: run again, it completes with the same bytes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]
REPO = Path(__file__).resolve().parent.parent.parent
DAY = "2026-11-16"
STAGES = ["ingest", "labels", "check_tables", "features", "check_features", "teacher", "student.top_mcc_shift"]
PARTS = (0.3, 0.8)
"""Share of a stage's undisturbed time after which it is killed: once while it starts working, once near its end."""


@dataclass
class Shell:
    home: Path

    @property
    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "PIPELINE_HOME": str(self.home),
            "PIPELINE_DATASET": "synthetic",
            "PIPELINE_OVERRIDES": str(REPO / "tests" / "assets" / "tiny.yaml"),
            "PYTHONPATH": str(REPO),
        }

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "pipeline_lib.cli", *arguments],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *arguments: str) -> str:
        child = self.start(*arguments)
        out, err = child.communicate(timeout=300)
        assert child.returncode == 0, err[-2000:]
        return out

    def kill_after(self, seconds: float, *arguments: str) -> None:
        child = self.start(*arguments)
        try:
            child.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.communicate()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Shell, dict[str, float], dict[str, str]]]:
    """A bank where nothing was killed: seconds of each stage and the manifests to end up with."""
    shell = Shell(tmp_path_factory.mktemp("undisturbed"))
    shell.run("keys", "init")
    seconds = {}
    for stage in STAGES:
        started = time.monotonic()
        shell.run("stage", stage, "--date", DAY)
        seconds[stage] = time.monotonic() - started
    lines = shell.run("manifests", "--date", DAY).splitlines()
    yield shell, seconds, {line.split()[1]: line.split()[0] for line in lines}


def test_every_stage_survives_being_killed(undisturbed, tmp_path: Path) -> None:
    """Another bank, other keys, every stage killed twice: the same content hashes."""
    _, seconds, expected = undisturbed
    shell = Shell(tmp_path)
    shell.run("keys", "init")
    for stage in STAGES:
        for part in PARTS:
            shell.kill_after(part * seconds[stage], "stage", stage, "--date", DAY)
        shell.run("stage", stage, "--date", DAY)
    lines = shell.run("manifests", "--date", DAY).splitlines()
    assert {line.split()[1]: line.split()[0] for line in lines} == expected


def test_recomputing_gives_the_same_bytes(undisturbed) -> None:
    """Nothing is read from the finished stage: it is made again, and a difference would raise NotReproducible."""
    shell, _, expected = undisturbed
    for stage in ("labels", "features", "student.top_mcc_shift"):
        child = subprocess.run(
            [sys.executable, "-m", "pipeline_lib.cli", "-v", "stage", stage, "--date", DAY],
            env={**shell.environment, "PIPELINE_RECOMPUTE": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert child.returncode == 0, child.stderr[-2000:]
        assert "already done" not in child.stderr
        assert expected[stage] in child.stdout
