"""The collaborative seat: is what stands in for the old system's ALS at least as good? Accuracy and cost, side by side.

    make bench-collaborative                                         # the bank under var/ (run ingest and labels first)
    PIPELINE_HOME=<home> python benchmarks/collaborative.py --date 2026-11-09

Needs ``pip install implicit``; reads the finished ingest and labels of a run and writes nothing.

Task: for every held-out customer with an addition in the month after the cutoff, rank the items that he does not have:
products not held, and apart from them categories not used for 360 days. All learn from the same train rows, nobody
sees an edge after a cutoff, and test customers are in no other split. Score: the dot product of the raw vectors.
ALS is `implicit`'s, tuned on validation rows over a grid; test customers are folded in by ``recalculate_user``.

CI: 95 %, paired, of each contestant minus ALS, test customers drawn with replacement. Seat: held when the lower bound
of the default backend minus ALS is above -margin in both figures of both tasks. CPU s is the fit, one thread; users
per CPU s is folding in and scoring all items. Nothing printed here is remembered from another run.
"""

from __future__ import annotations

import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS"):
    os.environ[name] = "1"  # read when the libraries are loaded

import argparse  # noqa: E402
import importlib.metadata  # noqa: E402
import time  # noqa: E402
from datetime import date  # noqa: E402

import numpy as np  # noqa: E402
from collaborative_rivals import CONTESTANTS, Fitted, with_prior  # noqa: E402
from collaborative_window import Bank, Floats, figures, read_bank  # noqa: E402

from pipeline_lib import settings  # noqa: E402
from pipeline_lib.runs import RunContext  # noqa: E402

RESAMPLES = 2000
MARGIN = 0.005
MEASURES = ("recall@5", "NDCG@3")
Scored = dict[str, Floats]
"""Contestant -> figures of the task's rows [n, 2]."""


def main() -> None:
    asked = _arguments()
    policy = settings.load()
    bank = read_bank(RunContext.open(policy, asked.date), asked.fit_customers)
    _print_window(bank)
    fitted = {name: make(bank, policy.features) for name, make in CONTESTANTS.items()}
    scores = {name: _timed(one, bank) for name, one in fitted.items()}
    _print_costs(fitted, {name: rate for name, (_, rate) in scores.items()})
    default = policy.features.graph.backend
    held = _tasks(bank, {name: score for name, (score, _) in scores.items()}, default)
    print(f"\n{default}, the default, minus ALS: lower bounds above -{MARGIN}: {'SEAT HELD' if held else 'SEAT LOST'}")
    print("\nWith a popularity prior, its weight chosen on validation rows:")
    mixed = {name: with_prior(bank, fitted[name]) for name in ("als", "svd", "lightgcn")}
    print("; ".join(f"{name}: {one.chosen}" for name, one in mixed.items()))
    _tasks(bank, {name: one.score(bank.test) for name, one in mixed.items()}, default)


def _timed(one: Fitted, bank: Bank) -> tuple[Floats, float]:
    """(scores of the test rows, rows per CPU second)."""
    started = time.process_time()
    score = one.score(bank.test)
    return score, len(score) / max(time.process_time() - started, 1e-9)


def _tasks(bank: Bank, scores: dict[str, Floats], default: str) -> bool:
    """Print both tasks; whether the default holds against ALS in every figure."""
    held = True
    for task in bank.tasks:
        found = {name: figures(bank, bank.test, score, task) for name, score in scores.items()}
        rows = found["als"][0]
        drawn = _draws(bank.test.customer[rows])
        print(f"\n{task}: {len(rows):,} test customers with an addition")
        print(f"{'':<12}" + "".join(f"{m:>10}{'minus ALS, 95 % CI':>32}" for m in MEASURES))
        for name, (_, own) in found.items():
            gap = own - found["als"][1]
            low, high = np.quantile(drawn @ gap / len(gap), [0.025, 0.975], axis=0)
            cells = zip(own.mean(axis=0), gap.mean(axis=0), low, high, strict=True)
            print(
                f"{name:<12}" + "".join(f"{v:>10.4f}{f'{g:+.4f} ({a:+.4f} to {b:+.4f})':>32}" for v, g, a, b in cells)
            )
            held &= name != default or bool((low > -MARGIN).all())
    return held


def _draws(customer: np.ndarray) -> Floats:
    """How often each row is in each resample of customers [RESAMPLES, n]; a test customer has one row."""
    if len(np.unique(customer)) != len(customer):
        raise SystemExit("a test customer has two rows: resample customers, not rows")
    rng = np.random.default_rng(0)
    n = len(customer)
    return np.stack([np.bincount(rng.integers(0, n, n), minlength=n) for _ in range(RESAMPLES)]).astype(np.float64)


def _print_window(bank: Bank) -> None:
    print(f"implicit {importlib.metadata.version('implicit')}, numpy {np.__version__}, one thread")
    print(f"cutoffs {bank.cutoffs}")
    for name, side in (("train", bank.train), ("val", bank.val), ("test", bank.test)):
        customers = len(np.unique(side.customer))
        print(f"{name}: {len(side.customer):,} rows of {customers:,} customers, {side.counts.nnz:,} edges, "
              f"{side.counts.shape[1]} items")  # fmt: skip


def _print_costs(fitted: dict[str, Fitted], rates: dict[str, float]) -> None:
    print(f"\n{'':<12}{'fit CPU s':>12}{'users / CPU s':>16}  settings")
    for name, one in fitted.items():
        print(f"{name:<12}{one.seconds:>12.2f}{rates[name]:>16,.0f}  {one.chosen}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--date", type=date.fromisoformat, required=True, help="logical date of the finished stages")
    parser.add_argument("--fit-customers", type=int, help="train customers; the policy's when not given")
    return parser.parse_args()


if __name__ == "__main__":
    main()
