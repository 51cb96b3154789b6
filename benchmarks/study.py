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
from datetime import date
from pathlib import Path

import lightgbm as lgb
import numpy as np
import torch

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
         "bagging_fraction": 0.6, "bagging_freq": 1, "verbose": -1, "num_threads": 1, "deterministic": True,
         "force_row_wise": True}  # fmt: skip
ROUNDS, PATIENCE = 400, 30
MANY_CLASSES, MANY_RATE, FEW_ROUNDS = 10, 0.15, 40  # of a task with many classes: a round costs a tree per class


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
    every = dense(data.frame, torch.arange(data.frame.rows)).numpy()
    return {task.name: _booster(task, data, every, policy) for task in data.tasks}


def _booster(task: TaskSpec, data: Data, every: np.ndarray, policy: Teacher) -> np.ndarray:
    """Probabilities or values at the places of all rows."""
    label = data.frame.labels[task.name].numpy()
    sets = []
    for part in (FIT, STOP):
        rows = data.frame.part(part).numpy()
        rows = rows[~np.isnan(label[rows])]
        sets.append((every[rows], label[rows]))
    classes = {"num_class": task.out} if task.kind == "multiclass" else {}
    if task.kind == "regression":  # the teacher's own loss
        classes = {"alpha": policy.loss.huber_delta * task.std}
    if task.out > MANY_CLASSES:
        classes |= {"learning_rate": MANY_RATE, "num_leaves": 7}
    rounds = FEW_ROUNDS if task.out > MANY_CLASSES else ROUNDS
    train = lgb.Dataset(*sets[0])
    stop = lgb.early_stopping(PATIENCE, verbose=False)
    params = {**SHAPE, **classes, "objective": OBJECTIVE[task.kind], "seed": policy.seed}
    grown = lgb.train(params, train, rounds, [lgb.Dataset(*sets[1], reference=train)], callbacks=[stop])
    return np.asarray(grown.predict(every))


def _probe(bank: Bank, limit: float) -> int:
    """Exit 1 when a small LightGBM reads the segment from the inputs. Source: teacher.md 2.1."""
    protocol = load_protocol()
    policy = bank.settings.teacher
    data = bank.read(policy)
    task = next(t for t in data.tasks if t.name == protocol.shared_task)
    every = dense(data.frame, torch.arange(data.frame.rows)).numpy()
    rows = data.frame.part(*protocol.judged).numpy()
    label = data.frame.labels[task.name].numpy()[rows]
    chosen = _booster(task, data, every, policy)[rows].argmax(1)
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
