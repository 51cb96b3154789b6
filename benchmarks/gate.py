"""How long a verdict takes, and whether its test does what it says.

    make bench-gate                                     # all of it; BENCH="--quick" for a look
    make bench-gate BENCH="--home var/synthetic"        # times the rows of that bank too
    make bench-gate BENCH="--only clock"                # or: --only null, power, errors

Seconds move with the machine and with what runs beside it; the rates do not, they are seeded.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # read when the libraries are loaded

from benchmarks import gate_clock, gate_statistics  # noqa: E402
from benchmarks.gate_law import SHAPES, Law  # noqa: E402
from pipeline_lib import settings  # noqa: E402
from pipeline_lib.gate.limits import Limits  # noqa: E402

GATE_ROWS = 1_800
"""Customers of part gate in the default synthetic bank of 20,000."""
SIZES = (GATE_ROWS, 50_000, 100_000)
BINARY = tuple(task for task, shape in SHAPES.items() if shape.kind == "binary")
GAINS = (0.005, 0.010)
"""True relative gains of the primary metric; the first is what the policy asks for."""
PARTS = ("clock", "null", "power", "errors")


def main(arguments: Sequence[str] | None = None) -> None:
    asked = _arguments(arguments)
    limits = Limits.of(settings.load("synthetic").promotion)
    for part in asked.only:
        globals()[part](limits, asked)


def clock(limits: Limits, asked: argparse.Namespace) -> None:
    """A. Seconds of one verdict, audit entry included."""
    print("\nVerdict, from the stage's call to its durable row [s]\n" + gate_clock.HEAD)
    sets = {f"{rows}": gate_clock.simulated(rows) for rows in SIZES}
    if asked.home:
        sets = {"bank": gate_clock.of_bank(asked.home), **sets}
    for name, tables in sets.items():
        print(gate_clock.clock(tables, 3 if asked.quick else 20).row(name, tables.rows), flush=True)
    print("\nPeer: sklearn's AUC of 7 tasks x 2 models with a paired customer bootstrap of 200 [s]")
    for name, tables in sets.items():
        resamples = 40 if tables.rows < 10_000 and not asked.quick else 4
        seconds, drawn = gate_clock.bootstrap_seconds(tables, resamples)
        print(f"{name:<12} {tables.rows:>7} {seconds:>9.2f}   ({drawn} resamples drawn)", flush=True)


def null(limits: Limits, asked: argparse.Namespace) -> None:
    """B. Two exchangeable models."""
    print("\nNo difference between the models\n" + f"{'rows':>7} {'per customer':>12} " + gate_statistics.HEAD)
    for law, weeks in ((Law(GATE_ROWS), 2000), (Law(GATE_ROWS, 4), 1000), (Law(20_000), 400)):
        found = gate_statistics.rates(law, limits, weeks // 20 if asked.quick else weeks, seed=1)
        print(f"{law.rows:>7} {law.per_customer:>12} {found}", flush=True)
    loose = gate_statistics.counted_as_rows(
        Law(GATE_ROWS, 4, tasks=BINARY), limits, 50 if asked.quick else 1000, seed=2
    )
    print(f"  {loose:.1%} below 0.05 had the rows of a customer been taken for customers")


def power(limits: Limits, asked: argparse.Namespace) -> None:
    """C. A challenger that is better by a known amount."""
    print(f"\nA true gain\n{'gain':>7} {'rows':>7} " + gate_statistics.HEAD)
    law = Law(GATE_ROWS, tasks=BINARY)
    for gain in GAINS[:1] if asked.quick else GAINS:
        lift = gate_statistics.lift_of(gain, law, limits)
        for rows, weeks in ((GATE_ROWS, 300), (5_000, 300), (20_000, 150), (50_000, 80), (100_000, 40)):
            one = Law(rows, lift=lift)
            found = gate_statistics.rates(one, limits, weeks // 20 if asked.quick else weeks, seed=3)
            print(f"{gain:>7.1%} {rows:>7} {found}", flush=True)


def errors(limits: Limits, asked: argparse.Namespace) -> None:
    """D. Standard errors from influences beside a bootstrap."""
    for per_customer in (1, 4):
        print(f"\nStandard error of the difference, {per_customer} rows of each customer")
        print(f"{'metric':<22} {'influence':>10} {'bootstrap':>10} {'ratio':>7}")
        resamples = 50 if asked.quick else 400
        print("\n".join(gate_statistics.standard_errors(4_000, per_customer, resamples, limits, seed=5)), flush=True)


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, help="folder of a bank with a finished run, e.g. var/synthetic")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--quick", action="store_true", help="does it run at all?")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
