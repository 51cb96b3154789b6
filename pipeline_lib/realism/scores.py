"""LightGBM on raw observables, and the one number that says how well it does, per kind of task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import lightgbm as lgb
import numpy as np
import numpy.typing as npt
import polars as pl
from sklearn.metrics import f1_score, r2_score, roc_auc_score

from pipeline_lib.runs import StageOutput
from pipeline_lib.settings.tasks import Kind

Floats = npt.NDArray[np.float64]
KEYS = ["customer_key", "cutoff_date"]
ROUNDS, PATIENCE = 400, 30
METRIC: dict[Kind, Literal["auc", "macro_f1", "r2"]] = {"binary": "auc", "multiclass": "macro_f1", "regression": "r2"}
OBJECTIVE: dict[Kind, str] = {"binary": "binary", "multiclass": "multiclass", "regression": "regression"}
SHAPE = {"num_leaves": 15, "learning_rate": 0.05, "min_child_samples": 50, "feature_fraction": 0.5, "verbose": -1,
         "deterministic": True, "force_row_wise": True, "num_threads": 1}  # fmt: skip


@dataclass(frozen=True)
class Sample:
    """Rows of one bank that carry a label."""

    x: pl.DataFrame
    """Raw features, by name."""
    y: Floats
    split: npt.NDArray[np.str_]
    keys: pl.DataFrame

    def part(self, *splits: str) -> tuple[npt.NDArray[np.float32], Floats]:
        at = np.isin(self.split, splits)
        return self.x.filter(pl.Series(at)).to_numpy(), self.y[at]


def sample_of(features: StageOutput, labels: StageOutput, task: str) -> Sample:
    """Labelled rows of the splits train, val and test with their raw features."""
    matrix = pl.read_parquet(features.path("feature_matrix.parquet"))
    table = pl.read_parquet(labels.path("label_table.parquet"), columns=[*KEYS, task])
    rows = matrix.join(table.drop_nulls(task), on=KEYS, how="inner", maintain_order="left")
    rows = rows.filter(pl.col("split").is_in(["train", "val", "test"]))
    x = rows.drop(*KEYS, "split", "part", task)
    return Sample(x, rows[task].to_numpy().astype(np.float64), rows["split"].to_numpy().astype(str), rows.select(KEYS))


def grow(sample: Sample, kind: Kind, seed: int) -> lgb.Booster:
    """A booster on ``train``, stopped early on ``val``."""
    (x, y), (x_val, y_val) = sample.part("train"), sample.part("val")
    classes = {"num_class": int(sample.y.max()) + 1} if kind == "multiclass" else {}
    params = {**SHAPE, **classes, "objective": OBJECTIVE[kind], "seed": seed}
    train = lgb.Dataset(x, y)
    stop = lgb.early_stopping(PATIENCE, verbose=False)
    return lgb.train(params, train, ROUNDS, [lgb.Dataset(x_val, y_val, reference=train)], callbacks=[stop])


def score(booster: lgb.Booster, x: npt.NDArray[np.float32], y: Floats, kind: Kind) -> float | None:
    """AUC, macro-F1 or R2; None when the rows carry one class only."""
    if len(np.unique(y)) < 2:
        return None
    predicted = np.asarray(booster.predict(x))
    if kind == "binary":
        return float(roc_auc_score(y, predicted))
    if kind == "multiclass":
        return float(f1_score(y, predicted.argmax(axis=1), average="macro"))
    return float(r2_score(y, predicted))
