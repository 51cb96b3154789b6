"""What a function instance costs: process start to first answer, warm answers, size, parity; ours beside others.

    python -m benchmarks.serving --home var/synthetic
        [--peers <python with onnxruntime, onnxmltools, treelite, tl2cgen>] [--starts 15] [--warm 1000] [--parity 10000]

The release that serves there is measured, on the rows of its newest feature matrix and of its serving tables.

Every variant runs in processes of its own with one thread; variants take turns, so that a busy machine is busy for
all. The release is copied as the function carries it: compiled models, without the text they were trained as.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import polars as pl

from benchmarks.serving import whole
from pipeline_lib.forest import SUFFIX, compiled
from pipeline_lib.forest.compiling import compile_text
from pipeline_lib.publish.targets import lambda_zip
from pipeline_lib.serve.bundle import open_bundle
from pipeline_lib.serve.predictor import RULES, Predictor, model_name

HERE = Path(__file__).resolve().parent
REPO = HERE.parent.parent
WARM_ROWS = 1000
"""Customers that take turns in warm answers; ``children.py`` counts on them."""
LEAN = ["-S", "-B"]
"""Without the environment's start-up files, which a function does not have either, and writing no bytecode."""
OURS = ("nothing", "ours", "kernel_alone", "lightgbm_c", "handler")
OTHERS = ("numpy", "lightgbm_package", "torch")
PEERS = {"onnx": "onnxruntime", "gtil": "treelite", "compiled_trees": "tl2cgen"}
WARMED = ("ours", "kernel_alone", "handler", "lightgbm_c", "lightgbm_package", *PEERS)


def main() -> None:
    asked = _parser().parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        home = Path(asked.home)
        bundle, rows = prepare(*found_in(home), folder, asked.parity)
        lambda_zip.code(folder / "task")
        whole.prepare(home, folder, bundle.manifest_sha256)
        variants = [*OURS, *OTHERS]
        if asked.peers:
            subprocess.run([asked.peers, str(HERE / "peers.py"), str(folder)], check=True)
            variants += PEERS
        measured = measure(variants, folder, asked)
        conditions()
        table(measured)
        sizes(folder / "release")
        parity(bundle, rows)


def found_in(home: Path) -> tuple[Path, Path]:
    """(the release that serves, the newest feature matrix)."""
    releases = home / "releases"
    live = json.loads((releases / "live.json").read_bytes())
    matrices = sorted(home.glob("store/runs/*/*/features/*/feature_matrix.parquet"), key=lambda path: path.parts[-4])
    return releases / live["folder"], matrices[-1]


def prepare(release: Path, matrix: Path, folder: Path, parity_rows: int) -> tuple[Any, pl.DataFrame]:
    """The function's copy of a release, every task with a model, its models as text beside it, and rows for them."""
    copy = folder / "release"
    shutil.copytree(release, copy)
    manifest = json.loads((copy / "manifest.json").read_bytes())
    print(f"{fill(copy, manifest['tasks'])} of {len(manifest['tasks'])} tasks had no model and got a copy of another's")
    for name in ("rows", "text", "forest"):
        (folder / name).mkdir()
    compile_models(copy)
    for task in manifest["tasks"]:
        stem = copy / f"students/{task['name']}/{model_name(task['route'], int(task['serve_layer']))}"
        shutil.copy(f"{stem}.txt", folder / f"text/{task['name']}.txt")
        shutil.copy(f"{stem}{SUFFIX}", folder / f"forest/{task['name']}{SUFFIX}")
    bundle = opened_without_texts(copy, manifest)
    (folder / "sha256.txt").write_text(bundle.manifest_sha256)
    table = pl.read_parquet(matrix, n_rows=max(parity_rows, WARM_ROWS))
    _floats(table.head(WARM_ROWS), bundle.policy["features"]["columns"]).tofile(folder / "rows/stored.f32")
    lines = []
    for student in students(bundle):
        _floats(table.head(WARM_ROWS), student.features).tofile(folder / f"rows/{student.task}.f32")
        lines.append(f"{student.task} {len(student.features)} {student.forest.forest.outputs}")
    (folder / "names.txt").write_text("\n".join(lines) + "\n")
    return bundle, table.head(parity_rows)


def fill(copy: Path, tasks: list[dict[str, Any]]) -> int:
    """Give tasks that rules answer the largest models of others, so that every task costs what a model costs."""
    places = {task["name"]: copy / "students" / task["name"] for task in tasks}
    donors = [task for task in tasks if int(task["serve_layer"]) < RULES]
    donors.sort(key=lambda task: -sum(path.stat().st_size for path in places[task["name"]].glob("*.txt")))
    empty = [task for task in tasks if int(task["serve_layer"]) >= RULES]
    for task, donor in zip(empty, donors, strict=False):
        shutil.rmtree(places[task["name"]], ignore_errors=True)
        shutil.copytree(places[donor["name"]], places[task["name"]])
        task.update({key: donor[key] for key in ("type", "route", "serve_layer", "normaliser")})
    return len(empty)


def compile_models(copy: Path) -> None:
    """What packaging does; a release of before has texts alone."""
    for path in sorted(copy.rglob("*.txt")):
        where = path.relative_to(copy).as_posix()
        if compiled(where):
            path.with_suffix(SUFFIX).write_bytes(compile_text(path.read_text(), where))


def opened_without_texts(copy: Path, manifest: dict[str, Any]) -> Any:
    """The copy as a function's zip holds it, verified."""
    for path in copy.rglob("*.txt"):
        if compiled(path.relative_to(copy).as_posix()):
            path.unlink()
    files = [p for p in sorted(copy.rglob("*")) if p.is_file() and not p.name.startswith("manifest.")]
    manifest["files"] = [
        {"path": p.relative_to(copy).as_posix(), "bytes": p.stat().st_size, "sha256": _sha256(p)} for p in files
    ]
    (copy / "manifest.json").write_text(json.dumps(manifest))
    return open_bundle(copy, _sha256(copy / "manifest.json"))


def students(bundle: Any) -> list[Any]:
    """The student of every task that a model answers."""
    predictor = Predictor.of(bundle)
    tasks = [task for task in bundle.manifest["tasks"] if int(task["serve_layer"]) < RULES]
    return [predictor.student(task["name"], int(task["serve_layer"])) for task in tasks]


def measure(variants: list[str], folder: Path, asked: argparse.Namespace) -> dict[str, list[Any]]:
    """Variant -> (CPU ms of the whole process until its first answer, wall ms of the process, child's line)."""
    found: dict[str, list[Any]] = {name: [] for name in variants}
    for turn in range(-1, asked.starts):
        for name in variants:
            try:
                line = _start(name, folder, 0 if turn < asked.starts - 1 else asked.warm, asked.peers)
            except subprocess.CalledProcessError as error:
                print(f"{name}: not measured ({error.stderr.strip().splitlines()[-1]})")
                continue
            if turn >= 0:  # the first turn warms the page cache
                found[name].append(line)
    return {name: lines for name, lines in found.items() if lines}


def _start(name: str, folder: Path, warm: int, peers: str | None) -> list[Any]:
    python, flags = (peers, []) if name in PEERS else (sys.executable, [] if name in OTHERS else LEAN)
    path = "" if name in PEERS else str(REPO) if name in OTHERS else str(folder / "task")
    if name == "lightgbm_c":
        path += os.pathsep + str(Path(lgb.__file__).parent.parent)
    environment = {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [str(python), *flags, str(HERE / "children.py"), name, str(folder), str(warm)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    last = json.loads(done.stdout.splitlines()[-1])  # after the lines of metrics
    return [*last, (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) * 1e3]


def conditions() -> None:
    load = " ".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"{os.cpu_count()} cores, load {load}, Python {platform.python_version()}, LightGBM {lgb.__version__}")


def table(measured: dict[str, list[Any]]) -> None:
    """CPU ms from process start to the first answer of all models; then warm answers: wall us, and how many a second.

    Medians over the starts; the warm answers are those of the last one.
    """
    floor = statistics.median(line[0] for line in measured["nothing"])
    print(
        "variant             first CPU ms (min-max)  x bare    load   first  RSS MiB warm p50 us     p99 answers/CPU-s"
    )
    for name, lines in measured.items():
        total = [line[0] for line in lines]
        row = f"{name:18s} {statistics.median(total):8.1f} ({min(total):.0f}-{max(total):.0f})"
        row = f"{row:42s} {statistics.median(total) / floor:6.1f} {_median(lines, 1):7.1f} {_median(lines, 2):7.2f}"
        row += f" {_median(lines, 3):8.1f}"
        if name in WARMED and lines[-1][4]:
            wall, spent = sorted(lines[-1][4]), lines[-1][5]
            p50, p99 = wall[len(wall) // 2] * 1e6, wall[len(wall) * 99 // 100] * 1e6
            row += f" {p50:11.0f} {p99:7.0f} {len(wall) / spent:13.0f}"
        print(row)


def sizes(release: Path) -> None:
    files = [p for p in release.rglob("*") if p.is_file()]
    models = sum(p.stat().st_size for p in files if p.suffix == SUFFIX)
    kernel = sum(p.stat().st_size for p in (REPO / "pipeline_lib/serve/kernel").glob("*.so"))
    release_bytes = sum(p.stat().st_size for p in files)
    print(f"models {models / 1e6:.2f} MB, release {release_bytes / 1e6:.2f} MB, kernel {kernel} B")


def parity(bundle: Any, table: pl.DataFrame) -> None:
    """Largest difference between served raw scores and LightGBM's own batch prediction of the training frame's rows."""
    columns = tuple(bundle.policy["features"]["columns"])
    stored = _floats(table, columns)
    for student in students(bundle):
        name = student.task
        text = Path(f"{bundle.folder.parent}/text/{name}.txt").read_text()
        x = _floats(table, student.features)
        own = lgb.Booster(model_str=text).predict(x, raw_score=True, num_threads=1).reshape(len(x), -1)
        served = np.array([student.forest.raw(student.row(row, columns)[0]) for row in stored.tolist()])
        print(f"parity {name:26s} {len(x)} rows, largest difference {np.abs(served - own).max():.1e}")


def _floats(table: pl.DataFrame, columns: Any) -> np.ndarray:
    return np.ascontiguousarray(table.select(list(columns)).to_numpy(), dtype=np.float32)


def _median(lines: list[Any], at: int) -> float:
    return statistics.median(line[at] for line in lines)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", required=True, help="a bank that something serves in, as var/synthetic")
    parser.add_argument("--peers")
    parser.add_argument("--starts", type=int, default=15)
    parser.add_argument("--warm", type=int, default=1000)
    parser.add_argument("--parity", type=int, default=10_000)
    return parser


if __name__ == "__main__":
    main()
