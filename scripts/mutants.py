"""Plant every known defect, one at a time, and show which test finds it.

Each file in ``tests/assets/mutants`` is a list of {rule, defect, file, find, replace, test}: the sentence that is wrong
afterwards, and the test that must fail. Works on a copy of the tree; two at a time.

    make mutants                 all of them
    make mutants ONLY="R07 R14"  some rules
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
COPIED = ("pipeline_lib", "tests", "scripts", "dags", "sql", "plugins", "benchmarks", "docs", "pyproject.toml")
WORKERS = 2
FAILED = 1
"""pytest's exit code for failed tests; any other (no such test, broken import) proves nothing."""


@dataclass(frozen=True)
class Mutant:
    rule: str
    defect: str
    file: str
    find: str
    replace: str
    test: str


def mutants(only: Sequence[str] = ()) -> list[Mutant]:
    """All of them in the order of their rules."""
    files = sorted((ROOT / "tests/assets/mutants").glob("*.yaml"))
    found = [Mutant(**one) for file in files for one in yaml.safe_load(file.read_text())]
    return sorted((m for m in found if not only or m.rule in only), key=lambda m: (m.rule, m.file))


def run(mutant: Mutant, tree: Path) -> str:
    """CAUGHT, SURVIVED, or why nothing was proven."""
    target = tree / mutant.file
    text = target.read_text()
    if text.count(mutant.find) != 1:
        return f"NOT PLANTED: the text occurs {text.count(mutant.find)} times in {mutant.file}"
    target.write_text(text.replace(mutant.find, mutant.replace))
    try:
        environment = {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "pytest", "-q", "-x", mutant.test]
        done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)
    finally:
        target.write_text(text)
    if done.returncode == FAILED:
        return "CAUGHT"
    return "SURVIVED" if done.returncode == 0 else f"NOT JUDGED: pytest ended with {done.returncode}"


def _copy(folder: Path) -> Path:
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif source.exists():
            shutil.copy(source, folder / name)
    return folder


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rules", nargs="*", help="plant the defects of these rules only")
    asked = parser.parse_args().rules
    if unknown := sorted(set(asked) - {m.rule for m in mutants()}):
        parser.error(f"no defect is known for {', '.join(unknown)}")
    chosen = mutants(asked)
    print(f"{'rule':<6}{'found':<10}{'defect planted':<92}test that fails")
    with tempfile.TemporaryDirectory() as folder:
        trees = [_copy(Path(folder) / str(i)) for i in range(WORKERS) if not (Path(folder) / str(i)).mkdir()]  # type: ignore[func-returns-value]
        shares = [chosen[i::WORKERS] for i in range(WORKERS)]
        with ThreadPoolExecutor(WORKERS) as pool:
            verdicts = list(pool.map(_judge, shares, trees))
    missed = sum(verdicts)
    print(f"{len(chosen) - missed} of {len(chosen)} planted defects caught")
    return 1 if missed else 0


def _judge(share: Sequence[Mutant], tree: Path) -> int:
    missed = 0
    for mutant in share:
        verdict = run(mutant, tree)
        missed += verdict != "CAUGHT"
        print(f"{mutant.rule:<6}{verdict:<10}{mutant.defect[:90]:<92}{mutant.test}", flush=True)
    return missed


if __name__ == "__main__":
    sys.exit(main())
