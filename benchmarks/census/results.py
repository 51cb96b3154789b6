"""One file per (row, seed): a run that is killed goes on where it was."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import json
from pathlib import Path

import numpy as np

from benchmarks.census import training, trees
from benchmarks.census.data import Census
from benchmarks.census.rows import Row

PACKAGES = ("torch", "torch-rechub", "deepctr-torch", "lightgbm", "numpy")


def key(name: str, row: Row, seed: int, census_digest: str) -> str:
    """Digest of what decides a result: row, recipe, protocol, seed, data. Code is not in it: ``--fresh`` forgets."""
    settings = trees.SETTINGS if row.build is None else (training.BATCH, training.RATE)
    parts = [name, row.spec, dataclasses.asdict(row.recipe), row.bins, settings, seed, census_digest]
    return hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()[:16]


def digest(folder: Path, file: str, quick: bool) -> str:
    """Of the data, and whether all of it is read."""
    return hashlib.sha256((folder / file).read_bytes()).hexdigest()[:16] + quick * "/quick"


def run(seed: int, census: Census, row: Row) -> tuple[dict[str, object], np.ndarray]:
    """Train, test. Returns what the table needs, and the test probabilities (N, 2)."""
    test = census.parts["test"]
    if row.build is None:
        forest = trees.train(census, seed)
        per_s = len(census.parts["train"].y) / forest.cpu
        return {"auc": training.aucs(test, forest.test), "parameters": forest.leaves, "epochs": forest.rounds,
                "best_epoch": forest.rounds, "cpu": forest.cpu, "samples_per_cpu_s": per_s}, forest.test  # fmt: skip
    net = row.build(census, seed)
    size = sum(p.numel() for p in net.parameters())
    done = training.train(net, census, seed, row.recipe)
    per_s = done.epochs * len(census.parts["train"].y) / done.train_cpu
    return {"auc": training.aucs(test, done.test), "parameters": size, "epochs": done.epochs,
            "best_epoch": done.best_epoch, "cpu": done.total_cpu, "samples_per_cpu_s": per_s,
            "validation": done.validation}, done.test  # fmt: skip


def path(out: Path, name: str, seed: int) -> Path:
    return out / f"{name}-{seed}.json"


def stored(out: Path, name: str, row: Row, seed: int, census_digest: str) -> dict[str, object] | None:
    """The finished result of this very row, or None."""
    file = path(out, name, seed)
    if not file.is_file():
        return None
    found: dict[str, object] = json.loads(file.read_text())
    return found if found["key"] == key(name, row, seed, census_digest) else None


def store(
    out: Path, name: str, row: Row, seed: int, census_digest: str, found: dict[str, object], test: np.ndarray
) -> None:
    """Probabilities first: a result without them is not finished."""
    np.save(path(out, name, seed).with_suffix(".npy"), test)
    body = {"key": key(name, row, seed, census_digest), "row": name, "seed": seed, **found}
    path(out, name, seed).write_text(json.dumps(body, indent=1) + "\n")


def versions() -> dict[str, str]:
    """Of what is installed here: the peers (extra ``bench``) are needed by their own rows alone."""
    installed = {d.name for d in importlib.metadata.distributions()}
    return {package: importlib.metadata.version(package) for package in PACKAGES if package in installed}
