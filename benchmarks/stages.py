"""Seconds and memory of every stage of one run, each in a process of its own.

    python benchmarks/stages.py --dataset synthetic --date 2026-11-16
    python benchmarks/stages.py --dataset berka --source <folder> --date 2026-11-16

Wall and CPU seconds move with the machine; the last column, bytes written, does not.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent
BEFORE = ("ingest", "labels", "check_tables", "features", "check_features", "teacher")
AFTER = ("distill", "package", "score", "gate")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="synthetic")
    parser.add_argument("--source")
    parser.add_argument("--date", required=True)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, "PIPELINE_HOME": home, "PIPELINE_DATASET": asked.dataset, "PYTHONPATH": str(REPO)}
        if asked.source:
            environment["PIPELINE_SOURCE"] = asked.source
        run(["keys", "init"], environment)
        print(f"{'stage':<32}{'wall s':>9}{'cpu s':>9}{'peak MB':>9}{'MB written':>12}")
        for stage in BEFORE:
            measured(stage, asked.date, environment, Path(home))
        for task in active(asked, environment):
            measured(f"student.{task}", asked.date, environment, Path(home))
        for stage in AFTER:
            measured(stage, asked.date, environment, Path(home))


def measured(stage: str, date: str, environment: dict[str, str], home: Path) -> None:
    size, started = written(home), time.monotonic()
    child = subprocess.Popen(command(["stage", stage, "--date", date]), env=environment, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(child.pid, 0)
    if status:
        raise SystemExit(f"{stage} failed")
    cpu = used.ru_utime + used.ru_stime
    print(
        f"{stage:<32}{time.monotonic() - started:>9.1f}{cpu:>9.1f}{used.ru_maxrss / 1024:>9.0f}"
        f"{(written(home) - size) / 1e6:>12.1f}",
        flush=True,
    )


def active(asked: argparse.Namespace, environment: dict[str, str]) -> list[str]:
    code = (
        "from datetime import date; from pipeline_lib import settings; from pipeline_lib.runs import RunContext;"
        f"facts = RunContext.open(settings.load(), date.fromisoformat('{asked.date}')).read('labels').facts['tasks'];"
        "print(*[name for name, fact in facts.items() if fact['status'] == 'active'])"
    )
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True
    ).stdout.split()


def written(home: Path) -> int:
    return sum(path.stat().st_size for path in home.rglob("*") if path.is_file())


def run(arguments: list[str], environment: dict[str, str]) -> None:
    subprocess.run(command(arguments), env=environment, check=True, stdout=subprocess.DEVNULL)


def command(arguments: list[str]) -> list[str]:
    return [sys.executable, "-m", "pipeline_lib.cli", *arguments]


if __name__ == "__main__":
    main()
