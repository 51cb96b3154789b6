"""The ablation study of the teacher: run scenarios on a finished bank, then write the report.

    python benchmarks/study.py run --home var/synthetic --family main --minutes 60
    python benchmarks/study.py report --home var/synthetic --out docs/img
    python benchmarks/study.py probe --home var/synthetic          is the segment still among the inputs?

The bank must have finished ``features`` and ``labels``. Runs are kept one by one under ``--results``; a killed study
goes on where it was, and a run whose settings, rows and seed are unchanged is not repeated. ``--smoke`` takes one
seed, 2,000 train rows and two epochs.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import lightgbm as lgb
import numpy as np

from pipeline_lib.business_time import last_promotion_day, utc_now
from pipeline_lib.runs import RunContext, code_version
from pipeline_lib.settings import Place, load
from pipeline_lib.settings.ablation import family_names, load_family, load_protocol
from pipeline_lib.settings.teacher import Teacher
from pipeline_lib.teacher import metrics
from pipeline_lib.teacher.ablation.campaign import Campaign
from pipeline_lib.teacher.ablation.material import Bank, dense
from pipeline_lib.teacher.ablation.record import Results
from pipeline_lib.teacher.ablation.report import write
from pipeline_lib.teacher.ablation.scoring import Answers
from pipeline_lib.teacher.ablation.summary import summarise
from pipeline_lib.teacher.contract import TaskSpec
from pipeline_lib.teacher.frame import FIT, STOP
from pipeline_lib.teacher.setup import Data

OBJECTIVE = {"binary": "binary", "multiclass": "multiclass", "regression": "huber"}
SHAPE = {"learning_rate": 0.08, "num_leaves": 15, "min_child_samples": 40, "feature_fraction": 0.2,
         "bagging_fraction": 0.6, "bagging_freq": 1, "max_bin": 63, "verbose": -1, "num_threads": 1,
         "deterministic": True, "force_row_wise": True}  # fmt: skip
ROUNDS, PATIENCE = 300, 20
MANY_CLASSES, MANY_RATE, FEW_ROUNDS = 10, 0.2, 25  # of a task with many classes: a round costs a tree per class


def main() -> int:
    asked = _arguments()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    bank = _bank(asked)
    protocol = load_protocol()
    if asked.seeds:
        protocol = protocol.model_copy(update={"seeds": asked.seeds, "floor_seeds": asked.seeds})
    results = Results(asked.results or asked.home / "study")
    names = asked.family or family_names()
    campaigns = [Campaign(bank, load_family(n), protocol, results, asked.smoke, {"lightgbm": boosters}) for n in names]
    if asked.act == "probe":
        return _probe(bank, protocol.segment_f1)
    if asked.act == "run":
        missing = sum(c.run(asked.minutes, asked.seeds, asked.only) for c in campaigns)
        print(f"{missing} runs are missing" if missing else "all runs are there")
        return 0
    summaries = [summary for c in campaigns if (summary := summarise(c)).measured]
    write(asked.out, summaries, protocol, _conditions(asked, bank))
    print(asked.out / "study.html")
    return 0


def boosters(data: Data, policy: Teacher) -> Answers:
    """One LightGBM per task on the same inputs, hard labels, early stopping on part ``stop``."""
    return Boosters(data, policy).answers([task.name for task in data.tasks])


class Boosters:
    """Rows are binned once for all tasks; a row without a task's label weighs nothing there."""

    def __init__(self, data: Data, policy: Teacher) -> None:
        self._data, self._policy, protocol = data, policy, load_protocol()
        self._parts = [data.frame.part(part) for part in (FIT, STOP)]
        x = [dense(data.frame, rows).numpy() for rows in self._parts]
        train = lgb.Dataset(x[0], params=SHAPE, free_raw_data=False)
        self._sets = [train, lgb.Dataset(x[1], reference=train, free_raw_data=False)]
        self._asked = data.frame.part(STOP, *protocol.judged, *(p for parts in protocol.also for p in parts))
        self._x = dense(data.frame, self._asked).numpy()

    def answers(self, names: Sequence[str]) -> Answers:
        """Probabilities or values at the places of all rows; NaN for rows that nobody judges."""
        found = {}
        for task in self._data.tasks:
            if task.name in names:
                own = np.asarray(self._grow(task).predict(self._x))
                found[task.name] = np.full((self._data.frame.rows, *own.shape[1:]), np.nan)
                found[task.name][self._asked.numpy()] = own
        return found

    def _grow(self, task: TaskSpec) -> lgb.Booster:
        for rows, each in zip(self._parts, self._sets, strict=True):
            label = self._data.frame.labels[task.name][rows].numpy()
            each.set_label(np.nan_to_num(label))
            each.set_weight((~np.isnan(label)).astype(float))
        params = {**SHAPE, "objective": OBJECTIVE[task.kind], "seed": self._policy.seed}
        if task.kind == "multiclass":
            params |= {"num_class": task.out}
        if task.kind == "regression":  # the teacher's own loss
            params |= {"alpha": self._policy.loss.huber_delta * task.std}
        many = task.out > MANY_CLASSES
        params |= {"learning_rate": MANY_RATE, "num_leaves": 7} if many else {}
        stop = lgb.early_stopping(PATIENCE, verbose=False)
        return lgb.train(params, self._sets[0], FEW_ROUNDS if many else ROUNDS, [self._sets[1]], callbacks=[stop])


def _probe(bank: Bank, limit: float) -> int:
    """Exit 1 when a small LightGBM reads the segment from the inputs. Source: teacher.md 2.1."""
    protocol = load_protocol()
    policy = bank.settings.teacher
    data = bank.read(policy)
    task = next(t for t in data.tasks if t.name == protocol.shared_task)
    rows = data.frame.part(*protocol.judged).numpy()
    label = data.frame.labels[task.name].numpy()[rows]
    chosen = Boosters(data, policy).answers([task.name])[task.name][rows].argmax(1)
    known = ~np.isnan(label)
    found = metrics.macro_f1(label[known], chosen[known], task.out)
    print(f"segment from the inputs: macro-F1 {found:.3f} on {known.sum()} rows, limit {limit}")
    return int(found > limit)


def _bank(asked: argparse.Namespace) -> Bank:
    settings = load("synthetic", Place(dataset="synthetic", home=asked.home.resolve(), overrides=asked.overrides))
    ctx = RunContext.open(settings, asked.date)
    rows = load_protocol().smoke_rows if asked.smoke else asked.rows
    return Bank(ctx.read("features"), ctx.read("labels"), settings, rows)


def _conditions(asked: argparse.Namespace, bank: Bank) -> dict[str, str]:
    data = bank.read(bank.settings.teacher)
    part, people = data.frame.keys["part"].value_counts(sort=True), data.frame.keys["customer_key"].n_unique()
    return {
        "run date": str(asked.date),
        "bank": f"synthetic, {people:,} customers, features {bank.features.content_hash[:12]}",
        "rows": ", ".join(f"{p} {n:,}" for p, n in part.iter_rows()),
        "tasks": f"{len(data.tasks)}: {', '.join(t.name for t in data.tasks)}",
        "cores": f"{os.cpu_count()}, one thread a process",
        "code of the report": code_version(),
        **dict(line.split("=", 1) for line in asked.condition),
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("act", choices=["run", "report", "probe"])
    parser.add_argument("--home", type=Path, required=True, help="the bank's folder, e.g. var/synthetic")
    parser.add_argument("--date", type=date.fromisoformat, default=last_promotion_day(utc_now()))
    parser.add_argument("--overrides", type=Path, help="settings of that bank")
    parser.add_argument("--family", action="append", choices=family_names(), help="all when left out; may be repeated")
    parser.add_argument("--results", type=Path, help="where runs are kept; the bank's folder study/ when left out")
    parser.add_argument("--seeds", type=int, nargs="+", help="instead of the protocol's")
    parser.add_argument("--only", nargs="+", default=[], help="scenarios")
    parser.add_argument("--rows", type=int, help="train rows at most")
    parser.add_argument("--minutes", type=float, default=60.0, help="no run starts later than this")
    parser.add_argument("--smoke", action="store_true", help="one seed, few rows, two epochs")
    parser.add_argument("--out", type=Path, default=Path("var/study"), help="where the report goes")
    parser.add_argument("--condition", action="append", default=[], metavar="NAME=TEXT", help="a line of the report")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
