"""The guide, followed to the letter: its adapter, its YAML and its commands, in a copy of the library."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from calendar import monthrange
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest

REPO = Path(__file__).resolve().parents[3]
GUIDE = (REPO / "docs" / "new-source.md").read_text(encoding="utf-8")
CUSTOMERS, MONTHS = 4000, 13


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", GUIDE, re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Followed:
    repo: Path
    added: list[str]
    output: dict[str, str]
    """Stage or verb -> what its command printed."""


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> Followed:
    repo, folder = tmp_path_factory.mktemp("repo"), tmp_path_factory.mktemp("files")
    for name in ("pipeline_lib", "sql"):
        shutil.copytree(REPO / name, repo / name, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    before = {path for path in repo.rglob("*") if path.is_file()}
    (adapter,) = (code for code in blocks("python") if code.startswith('"""My bank'))
    (repo / "pipeline_lib/ingest/adapters/mybank.py").write_text(adapter, encoding="utf-8")
    (repo / "pipeline_lib/config/sources/mybank.yaml").write_text(blocks("yaml")[0], encoding="utf-8")
    added = {path for path in repo.rglob("*") if path.is_file()} - before
    holdings().write_parquet(folder / "holdings.parquet")
    return Followed(repo, sorted(str(path.relative_to(repo)) for path in added), run_commands(repo, folder))


def holdings() -> pl.DataFrame:
    """A bank in which a saving account or a card is opened, or closed, now and then."""
    rng, ends = np.random.default_rng(7), []
    for back in range(MONTHS):
        year, month = divmod(2026 * 12 + 9 - back, 12)
        ends.append(date(year, month + 1, monthrange(year, month + 1)[1]))
    held = rng.random((CUSTOMERS, 2)) < 0.5
    frames = []
    for k, day in enumerate(sorted(ends)):
        frames.append(
            pl.DataFrame(
                {
                    "customer": [f"c{i}" for i in range(CUSTOMERS)],
                    "month_end": [day] * CUSTOMERS,
                    "age": 20 + np.arange(CUSTOMERS) % 60,
                    "tenure": 5 + k + np.arange(CUSTOMERS) % 90,
                    "saving": held[:, 0].astype(np.int64),
                    "card": held[:, 1].astype(np.int64),
                }
            )
        )
        held ^= rng.random((CUSTOMERS, 2)) < np.where(held, 0.2, 0.25)
    return pl.concat(frames)


RUN = """
import json, sys
from pipeline_lib.cli import main
for arguments in json.loads(sys.argv[1]):
    print("$", *arguments, flush=True)
    if code := main(arguments):
        sys.exit(code)
"""
"""The program behind ``.venv/bin/pipeline``, once for each command, without starting Python anew."""


def run_commands(repo: Path, folder: Path) -> dict[str, str]:
    """The bash block of section 3, with the two placeholders filled in."""
    text = blocks("bash")[0].replace("<name>", "mybank").replace("<folder>", str(folder))
    export, *commands = text.strip().splitlines()
    environ = dict(os.environ, PYTHONPATH=str(repo), OMP_NUM_THREADS="1", PIPELINE_THREADS="1")
    environ |= dict(pair.split("=", 1) for pair in export.removeprefix("export ").split())
    asked = [command.removeprefix(".venv/bin/pipeline ").split() for command in commands]
    assert all(command.startswith(".venv/bin/pipeline ") for command in commands)
    done = subprocess.run(
        [sys.executable, "-c", RUN, json.dumps(asked)], cwd=repo, env=environ, text=True, capture_output=True
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    said = re.split(r"^\$ (.*)$", done.stdout, flags=re.MULTILINE)[1:]
    names = [line.removeprefix("-v stage ").split()[0] for line in said[::2]]
    return dict(zip(names, said[1::2], strict=True))


def facts(followed: Followed, stage: str) -> dict[str, object]:
    (manifest,) = (followed.repo / "var/mybank/store/runs/mybank").glob(f"*/{stage}/manifest.json")
    found: dict[str, object] = json.loads(manifest.read_bytes())["facts"]
    return found


def test_a_new_source_is_one_module_and_one_yaml(followed: Followed) -> None:
    assert followed.added == ["pipeline_lib/config/sources/mybank.yaml", "pipeline_lib/ingest/adapters/mybank.py"]


def test_every_command_of_the_guide_works_on_it(followed: Followed) -> None:
    stages = ["ingest", "labels", "check_tables", "features", "check_features"]
    assert list(followed.output) == ["keys", *stages, "summary"]
    loaded = facts(followed, "ingest")
    assert (loaded["customers"], loaded["rows"], loaded["events"]) == (CUSTOMERS, CUSTOMERS * MONTHS, 0)


def test_its_honest_tasks_have_labels_and_the_others_their_reason(followed: Followed) -> None:
    tasks = facts(followed, "labels")["tasks"]
    assert isinstance(tasks, dict)
    assert {"will_acquire_deposits", "will_acquire_payments"} <= {
        n for n, v in tasks.items() if v["status"] == "active"
    }
    assert tasks["next_mcc"]["reason"] == "no transactions"


def test_summary_names_data_docs_that_are_there(followed: Followed) -> None:
    found = re.search(r"^data docs +(\S+)$", followed.output["summary"], re.MULTILINE)
    assert found
    page = Path(found[1]).read_text(encoding="utf-8")
    assert {"customer_snapshot", "label_table", "feature_matrix.profile"} <= set(re.findall(">([a-z_.]+)</a>", page))
