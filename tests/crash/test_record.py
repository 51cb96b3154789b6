"""A share of ``make crash-record``: what was acknowledged is there once, whatever died, was full, lied or went away."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

REPO = Path(__file__).resolve().parent.parent.parent


def hurt(only: str, *arguments: str) -> list[dict[str, Any]]:
    """In a process of its own: it forks, and a fork of this one would lose its threads."""
    child = subprocess.run(
        [sys.executable, "-m", "tests.crash.record", "--json", "--only", only, *arguments],
        cwd=REPO, env={**os.environ, "PYTHONPATH": str(REPO)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert child.stdout, child.stderr
    found: list[dict[str, Any]] = json.loads(child.stdout)
    return found


def require_kept(found: list[dict[str, Any]]) -> None:
    assert [one for one in found if one["verdict"] not in ("INTACT", "-")] == []
    assert all(one["acknowledged"] > 0 for one in found if one["verdict"] == "INTACT")


def test_what_was_acknowledged_is_there_once_after_kills_full_disks_and_lying_clocks() -> None:
    found = hurt("^(?!lance|bucket)", "--kills", "12", "--every", "5")
    require_kept(found)
    assert len(found) >= 15
    assert found[0]["times"] == 12
    assert found[0]["acknowledged"] > 100


def test_a_bucket_whose_line_breaks_is_incomplete_meanwhile_and_whole_afterwards() -> None:
    (found,) = hurt("bucket partial")
    require_kept([found])
    assert "INCOMPLETE" in found["meanwhile"]


@pytest.mark.e2e
def test_a_bucket_that_is_gone_refuses_loses_answers_or_lists_the_past_keeps_everything() -> None:
    found = hurt("bucket (gone|503|lost|stale)")
    require_kept(found)
    assert len(found) == 4


@pytest.mark.e2e
@pytest.mark.skipif(shutil.which("strace") is None, reason="kills inside LanceDB need strace")
def test_a_load_that_is_killed_inside_lancedb_goes_on() -> None:
    (found,) = hurt("^lance", "--every", "8")
    assert found["times"] > 0
    require_kept([found])
