"""LightGBM, one model per task: what a network with several tasks has to be compared with first.

Categories are handed over as categories, numbers as they are. Rounds: until 50 bring no better validation AUC.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import lightgbm as lgb
import numpy as np
import polars as pl

from benchmarks.census.data import TASKS, Census

SETTINGS = {
    "objective": "binary",
    "metric": "auc",
    "learning_rate": 0.05,
    "num_leaves": 31,
    "min_data_in_leaf": 50,
    "feature_fraction": 0.8,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "num_threads": 1,
    "verbose": -1,
}
ROUNDS, PATIENCE = 2000, 50


@dataclass(frozen=True)
class Forest:
    test: np.ndarray
    """Probabilities (N_test, 2)."""
    leaves: int
    rounds: list[int]
    cpu: float
    """Training of both tasks [s]."""


def train(census: Census, seed: int, settings: dict[str, object] = SETTINGS) -> Forest:
    x = {split: _matrix(census, split) for split in census.frames}
    start, tests, leaves, rounds = time.process_time(), [], 0, []
    for k in range(len(TASKS)):
        y = {split: part.y[:, k].numpy() for split, part in census.parts.items()}
        train = lgb.Dataset(x["train"], y["train"], categorical_feature=list(range(len(census.categories))))
        model = lgb.train(
            {**settings, "seed": seed},
            train,
            ROUNDS,
            valid_sets=[lgb.Dataset(x["val"], y["val"], reference=train)],
            callbacks=[lgb.early_stopping(PATIENCE, verbose=False)],
        )
        tests.append(np.asarray(model.predict(x["test"])))
        rounds.append(model.best_iteration)
        leaves += sum(tree["num_leaves"] for tree in model.dump_model(model.best_iteration)["tree_info"])
    return Forest(np.stack(tests, axis=1), leaves, rounds, time.process_time() - start)


def _matrix(census: Census, split: str) -> np.ndarray:
    """Categories as ids of the shared table, numbers raw (N, F)."""
    ids = census.parts[split].ids[:, : len(census.categories)].numpy()
    return np.column_stack([ids, census.frames[split].select(census.numbers).cast(pl.Float64).to_numpy()])
