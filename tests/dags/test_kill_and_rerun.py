"""A stage killed half-way leaves the old state or the new one: run again, it completes with the same bytes."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]
REPO = Path(__file__).resolve().parent.parent.parent
DAY = "2026-11-16"
KILLED = "student.top_mcc_shift"
"""One student stands for thirteen; the others are fitted undisturbed."""
BEFORE = ["ingest", "labels", "check_tables", "features", "check_features", "teacher", KILLED]
AFTER = ["distill", "package", "score", "gate", "publish"]
STUDENTS = """
from datetime import date
from pipeline_lib import distill, settings
from pipeline_lib.runs import RunContext
ctx = RunContext.open(settings.load(), date.fromisoformat("2026-11-16"))
for task in distill.active_tasks(ctx):
    distill.fit_student(ctx, task)
"""
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
            [sys.executable, *arguments],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def stage(self, name: str) -> tuple[str, ...]:
        by_hand = ["--promotable"] if name == "gate" else []
        return ("-m", "pipeline_lib.cli", "stage", name, "--date", DAY, *by_hand)

    def manifests(self) -> dict[str, str]:
        lines = self.run("-m", "pipeline_lib.cli", "manifests", "--date", DAY).splitlines()
        return {line.split()[1]: line.split()[0] for line in lines}

    def run(self, *arguments: str) -> str:
        child = self.start(*arguments)
        out, err = child.communicate(timeout=300)
        assert child.returncode == 0, err[-2000:]
        return out

    def kill_after(self, seconds: float, *arguments: str) -> bool:
        """Whether it died by our hand: it may also have finished before."""
        child = self.start(*arguments)
        try:
            child.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.communicate()
        return child.returncode == -signal.SIGKILL


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Shell, dict[str, float], dict[str, str]]:
    """A bank where nothing was killed: seconds of each stage and the manifests to end up with."""
    shell = Shell(tmp_path_factory.mktemp("undisturbed"))
    shell.run("-m", "pipeline_lib.cli", "keys", "init")
    seconds = {}
    for stage in (*BEFORE, *AFTER):
        if stage == AFTER[0]:
            shell.run("-c", STUDENTS)
        started = time.monotonic()
        shell.run(*shell.stage(stage))
        seconds[stage] = time.monotonic() - started
    return shell, seconds, shell.manifests()


def test_every_stage_survives_being_killed(undisturbed, tmp_path: Path) -> None:
    """Another bank, other keys, every stage killed on the way: the same content hashes."""
    _, seconds, expected = undisturbed
    shell = Shell(tmp_path)
    shell.run("-m", "pipeline_lib.cli", "keys", "init")
    for stage in (*BEFORE, *AFTER):
        if stage == AFTER[0]:
            shell.run("-c", STUDENTS)
        died = [shell.kill_after(part * seconds[stage], *shell.stage(stage)) for part in PARTS]
        assert any(died), f"{stage} was never killed"
        shell.run(*shell.stage(stage))
    assert shell.manifests() == expected


def test_recomputing_gives_the_same_bytes(undisturbed) -> None:
    """Nothing is read from the finished stage: it is made again, and a difference would raise NotReproducible."""
    shell, _, expected = undisturbed
    for stage in ("labels", "features", KILLED):
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
