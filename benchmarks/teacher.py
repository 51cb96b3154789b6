"""Our networks beside other people's on Census-Income: test AUC, training speed, size.

    python -m benchmarks.teacher FOLDER                  # every row, 3 seeds; FOLDER holds train.parquet
    python -m benchmarks.teacher FOLDER --rows ple lightgbm --seeds 0
    python -m benchmarks.teacher FOLDER --tried          # also what was tried and left out
    python -m benchmarks.teacher FOLDER --quick          # a minute: 2,000 rows, 1 epoch; no figure means anything

Protocol (``census/training.py``, the same loop for all): batch 1,024, embedding 8, Adam 1e-3, at most 30 epochs,
patience 3 on the mean validation AUC, 60/20/20 by the hash of a row's inputs, one thread. Peers come with the extra
``bench``. Each (row, seed) is a process of its own and a file in --out: a killed run goes on, --fresh starts anew.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # read when the libraries are loaded

import torch  # noqa: E402

from benchmarks.census import data, results, speed, table  # noqa: E402
from benchmarks.census.rows import ROWS, Row  # noqa: E402

QUICK_ROWS = 2000


def main(arguments: Sequence[str] | None = None) -> None:
    asked = _arguments(arguments)
    torch.set_num_threads(1)
    if asked.fresh:
        shutil.rmtree(asked.out, ignore_errors=True)
    asked.out.mkdir(parents=True, exist_ok=True)
    rows = {name: _quick(ROWS[name]) if asked.quick else ROWS[name] for name in asked.rows}
    digest = results.digest(asked.folder, data.policy().file, asked.quick)
    if asked.one:
        _one(rows, asked, digest)
        return
    start = table.conditions()
    for seed in asked.seeds:
        for name in rows:
            if results.stored(asked.out, name, rows[name], seed, digest) is None:
                _apart(name, seed, asked, rows, digest)
    sets = {bins: _read(asked, bins) for bins in {row.bins for row in rows.values()}}
    speeds = speed.measure(rows, sets, 1 if asked.quick else asked.speeds, 1 if asked.quick else speed.STEPS)
    print(table.write(asked.out, rows, asked.seeds, digest, sets, speeds, start))


def _apart(name: str, seed: int, asked: argparse.Namespace, rows: dict[str, Row], digest: str) -> None:
    """One result in a process of its own: its CPU time and memory are nobody else's."""
    print(f"{name}, seed {seed}", flush=True)
    if asked.quick:
        _one({name: rows[name]}, argparse.Namespace(**{**vars(asked), "seeds": [seed]}), digest)
        return
    command = [sys.executable, "-m", "benchmarks.teacher", str(asked.folder), "--out", str(asked.out)]
    subprocess.run([*command, "--one", "--rows", name, "--seeds", str(seed)], check=True)


def _one(rows: dict[str, Row], asked: argparse.Namespace, digest: str) -> None:
    for name, row in rows.items():
        for seed in asked.seeds:
            found, test = results.run(seed, _read(asked, row.bins), row)
            results.store(asked.out, name, row, seed, digest, found, test)


def _read(asked: argparse.Namespace, bins: int) -> data.Census:
    return data.read(asked.folder, bins, QUICK_ROWS if asked.quick else None)


def _quick(row: Row) -> Row:
    return replace(row, recipe=replace(row.recipe, epochs=1))


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="holds train.parquet of Census-Income (KDD)")
    parser.add_argument("--out", type=Path, default=Path("var/bench-teacher"), help="results, one file each")
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), help="default: all whose library is installed")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--speeds", type=int, default=6, help="repetitions of the speed measurement")
    parser.add_argument("--tried", action="store_true", help="also the rows that were tried and left out")
    parser.add_argument("--quick", action="store_true", help="does it run at all?")
    parser.add_argument("--fresh", action="store_true", help="forget earlier results")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args(arguments)
    groups = {"ours", "peer", "trees"} | ({"tried"} if asked.tried else set())
    asked.rows = asked.rows or [name for name, row in ROWS.items() if row.group in groups and _installed(row)]
    return asked


def _installed(row: Row) -> bool:
    missing = row.needs and find_spec(row.needs) is None
    if missing:
        print(f"left out: {row.label}; {row.needs} is not installed (pip install '.[bench]')")
    return not missing


if __name__ == "__main__":
    main()
