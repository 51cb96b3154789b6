"""What data and features cost as a bank grows: CPU seconds and memory, and how straight the line is.

    python benchmarks/features.py                                    # 50,000, 200,000 and 1,000,000 customers
    python benchmarks/features.py --sizes 5000 20000 --kernel 20000  # a quick look
    python benchmarks/features.py --stages labels features           # some stages only (all are run)

Part 1, stages. One synthetic bank per size, each with a home of its own and each stage in a process of its own.
CPU s is user and system time of the stage's process and its children. Peak MB is the resident memory of the largest
process. `ingest` also generates the bank. `features` has the groups that SQL and arrays make; topology, hidden
states, graphs and mixtures cost per customer what their own policy says and are left out. Slope and R2 are of the
least-squares line CPU s = a + b x customers; the exponent is the slope of ln CPU s on ln customers: 1 = linear.

Part 2, lags. The 121 lag and rolling features of customers x 17 months x 24 products by our kernel and, at the sizes
of --peers, by window functions of DuckDB and by window expressions and shifts of Polars, one thread each. The ratio
is CPU s over the kernel's at the same size in the same run. All engines must give the same checksum.

Seconds move with the machine: compare ratios. Nothing printed here is remembered from another run.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

REPO = Path(__file__).resolve().parent.parent
ENGINES = REPO / "benchmarks" / "lag_engines.py"
STAGES = ("ingest", "labels", "check_tables", "features", "check_features")
COLUMNAR = {
    "demographics", "relationship", "product_holdings", "txn_behavior", "derived_temporal", "economics",
    "txn_rolling", "multidisciplinary", "mcc_multihot", "product_history_multihot", "log_copies", "availability",
}  # fmt: skip
PEERS = {
    "duckdb": "DuckDB, window functions",
    "over": "Polars streaming, .over(customer)",
    "shift": "Polars streaming, shift and month mask",
}
EVENTS_A_MONTH_AT_SCALE_1 = 28.0
"""Purchases and inflows of a customer per month when ``event_rate_scale`` is 1; what a bank has is counted below."""


class Cost(NamedTuple):
    wall: float
    """[s]."""
    cpu: float
    """User and system time with children [s]."""
    peak: float
    """Resident memory of the largest process [MB]."""
    answer: str


def main() -> None:
    asked = _arguments()
    print(_machine())
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        if asked.sizes:
            _stages(Path(folder), asked)
        if asked.kernel:
            _lags(Path(folder), asked.kernel, asked.peers)


def _stages(folder: Path, asked: argparse.Namespace) -> None:
    print(f"\nStages at {asked.events:g} events a month and customer asked for, {asked.threads} threads")
    print(f"{'stage':<16}{'customers':>12}{'rows':>12}{'events':>14}{'wall s':>9}{'CPU s':>9}{'peak MB':>9}")
    seen: dict[str, list[tuple[int, Cost]]] = {stage: [] for stage in STAGES}
    for size in asked.sizes:
        home = folder / f"bank-{size}"
        environment = _bank(home, size, asked)
        for stage in STAGES:
            cost = _cost([sys.executable, __file__, "--run", stage, "--date", asked.date], environment)
            seen[stage].append((size, cost))
            facts = json.loads(cost.answer.splitlines()[-1])
            if stage in asked.stages:
                numbers = f"{size:>12,}{facts['rows']:>12,}{facts['events']:>14,}"
                print(f"{stage:<16}{numbers}{cost.wall:>9.1f}{cost.cpu:>9.1f}{cost.peak:>9.0f}", flush=True)
        subprocess.run(["rm", "-rf", str(home)], check=True)
    _lines({stage: points for stage, points in seen.items() if stage in asked.stages})


def _bank(home: Path, customers: int, asked: argparse.Namespace) -> dict[str, str]:
    """Environment of a fresh place with a bank of this size."""
    home.mkdir(parents=True)
    overrides = home / "overrides.yaml"
    scale = asked.events / EVENTS_A_MONTH_AT_SCALE_1
    overrides.write_text(f"source: {{params: {{customers: {customers}, event_rate_scale: {scale}}}}}\n")
    environment = {
        **os.environ,
        "PYTHONPATH": str(REPO),
        "PIPELINE_HOME": str(home),
        "PIPELINE_DATASET": "synthetic",
        "PIPELINE_OVERRIDES": str(overrides),
        "PIPELINE_THREADS": str(asked.threads),
        "OMP_NUM_THREADS": str(asked.threads),
        "POLARS_MAX_THREADS": str(asked.threads),
    }
    command = [sys.executable, "-m", "pipeline_lib.cli", "keys", "init"]
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    return environment


def run_stage(stage: str, date: str) -> None:
    """In the measured process: one stage of this place, then its size as JSON."""
    from datetime import date as day

    from pipeline_lib import settings
    from pipeline_lib.cli import STAGES as known
    from pipeline_lib.runs import RunContext

    policy = settings.load()
    groups = {name: group for name, group in policy.features.groups.items() if name in COLUMNAR}
    features = policy.features.model_copy(update={"groups": groups})
    ctx = RunContext.open(policy.model_copy(update={"features": features}), day.fromisoformat(date))
    module, function = known[stage].split(":")
    getattr(importlib.import_module(f"pipeline_lib.{module}"), function)(ctx)
    ingest, labels = ctx.read("ingest"), ctx.read("labels") if stage != "ingest" else None
    rows = sum(labels.facts["rows"].values()) if labels else ingest.facts["rows"]
    print(json.dumps({"rows": rows, "events": ingest.facts["events"]}))


def _lines(seen: dict[str, list[tuple[int, Cost]]]) -> None:
    if any(len(points) < 2 for points in seen.values()):
        return
    print(f"\n{'line':<16}{'CPU s per 1,000 customers':>28}{'start CPU s':>13}{'R2':>9}{'exponent':>10}")
    for stage, points in seen.items():
        sizes, seconds = [float(size) for size, _ in points], [cost.cpu for _, cost in points]
        slope, start, r2 = _fit(sizes, seconds)
        exponent, _, _ = _fit([math.log(x) for x in sizes], [math.log(y) for y in seconds])
        shown = f"{r2:>9.4f}" if len(points) > 2 else f"{'-':>9}"  # two points always lie on a line
        print(f"{stage:<16}{slope * 1000:>28.3f}{start:>13.1f}{shown}{exponent:>10.2f}")


def _fit(x: Sequence[float], y: Sequence[float]) -> tuple[float, float, float]:
    """Least-squares slope and intercept, and R2."""
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    spread = sum((a - mean_x) ** 2 for a in x)
    slope = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)) / spread
    start = mean_y - slope * mean_x
    left = sum((b - start - slope * a) ** 2 for a, b in zip(x, y, strict=True))
    total = sum((b - mean_y) ** 2 for b in y)
    return slope, start, 1 - left / total if total else 1.0


def _lags(folder: Path, sizes: Sequence[int], peers: Sequence[int]) -> None:
    print("\n121 lag and rolling features, 17 months x 24 products, one thread, reading included")
    print(f"{'engine':<42}{'customers':>12}{'wall s':>9}{'CPU s':>9}{'peak MB':>9}{'ratio':>8}{'checksum':>18}")
    environment = {**os.environ, "PYTHONPATH": str(REPO)}
    for size in sizes:
        panel = folder / f"panel-{size}"
        command = [sys.executable, str(ENGINES)]
        subprocess.run([*command, "make", str(panel), str(size)], env=environment, check=True)
        ours = _cost([*command, "kernel", str(panel)], environment)
        _engine("product_lags.cube_features", size, ours, ours)
        for name, title in PEERS.items() if size in peers else ():
            peer = _cost([*command, name, str(panel)], environment)
            _engine(title, size, peer, ours)
            if peer.answer != ours.answer:
                raise SystemExit(f"{title}: checksum {peer.answer}, expected {ours.answer}: not the same features")
        subprocess.run(["rm", "-rf", str(panel)], check=True)


def _engine(title: str, size: int, cost: Cost, ours: Cost) -> None:
    figures = f"{size:>12,}{cost.wall:>9.1f}{cost.cpu:>9.1f}{cost.peak:>9.0f}{cost.cpu / ours.cpu:>8.1f}"
    print(f"{title:<42}{figures}{cost.answer:>18}", flush=True)


def _cost(command: Sequence[str], environment: dict[str, str]) -> Cost:
    started = time.monotonic()
    with tempfile.TemporaryFile("w+") as out:
        child = subprocess.Popen(command, env=environment, stdout=out)
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if status:
            raise SystemExit(f"{' '.join(command)} failed")
        out.seek(0)
        answer = out.read().strip()
    return Cost(time.monotonic() - started, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, answer)


def _machine() -> str:
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("numpy", "polars", "duckdb"))
    load = os.getloadavg()[0]
    return f"{os.cpu_count()} CPUs, load {load:.1f} at the start; Python {sys.version.split()[0]}, {versions}"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="*", default=[50_000, 200_000, 1_000_000], help="customers, part 1")
    parser.add_argument("--kernel", type=int, nargs="*", default=[200_000, 1_000_000], help="customers, part 2")
    parser.add_argument(
        "--peers", type=int, nargs="*", default=[200_000], help="sizes of part 2 with the other engines"
    )
    parser.add_argument("--events", type=float, default=2.0, help="events a month and customer (default 2)")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES), help="stages to print")
    parser.add_argument("--date", default="2026-11-16", help="the run's Monday")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--folder", help="where the banks lie while they are measured; default: the system's")
    parser.add_argument("--run", choices=STAGES, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.run:
        run_stage(asked.run, asked.date)
        raise SystemExit(0)
    return asked


if __name__ == "__main__":
    main()
