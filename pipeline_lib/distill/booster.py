"""Growing trees with LightGBM 4.7, and the one form in which a student exists: model text plus a base score.

Traps of the library, each covered by a test (distillation.md section 6): custom objectives start at raw 0 and do
not save their offset, so ``base_score`` travels beside the text; they ignore Dataset weights; multiclass
gradients are (n, K); soft labels are bound in a closure. Early stopping watches the exact distance from the teacher on
``stop``, computed here, so that it does not depend on the library's threads.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import lightgbm as lgb
import numpy as np
from numpy.typing import NDArray

from pipeline_lib.distill.frame import Rows
from pipeline_lib.distill.metrics import Reals
from pipeline_lib.distill.objective import MIN_PROBABILITY, Objective
from pipeline_lib.settings.tasks import Kind

log = logging.getLogger(__name__)
lgb.register_logger(log)

OutputKind = Literal["raw", "prob", "value"]
BUILT_IN = {"binary": "binary", "multiclass": "multiclass", "regression": "regression"}


@dataclass(frozen=True)
class Recipe:
    """How to grow one student. ``params`` are LightGBM's, without objective."""

    params: Mapping[str, Any]
    rounds: int
    patience: int


@dataclass(frozen=True)
class Model:
    """A grown student. What is judged is read back from ``text``: exactly what is shipped."""

    text: str
    output_kind: OutputKind
    base_score: tuple[float, ...]
    """Added to the booster's output when ``output_kind`` is raw; empty otherwise."""

    @property
    def trees(self) -> int:
        return len(re.findall(r"^Tree=", self.text, re.MULTILINE))

    @property
    def leaves(self) -> int:
        return sum(int(n) for n in re.findall(r"^num_leaves=(\d+)", self.text, re.MULTILINE))

    @property
    def features(self) -> list[str]:
        return list(self._booster.feature_name())

    @cached_property
    def _booster(self) -> lgb.Booster:
        return lgb.Booster(model_str=self.text)

    def predict(self, x: NDArray[np.float32]) -> Reals:
        """Raw score with base score, probability or value: (n,), or (n, K) for a multiclass task."""
        output = np.asarray(self._booster.predict(x, num_threads=1), dtype=np.float64)
        if self.output_kind != "raw":
            return output
        return output + (np.array(self.base_score) if output.ndim == 2 else self.base_score[0])


def recipe(
    *, trees: Mapping[str, Any], rounds: int, patience: int, leaf_cap: int, classes: int, seed: int, threads: int
) -> Recipe:
    """Reproducible LightGBM parameters; rounds are lowered until their leaves fit ``leaf_cap``.

    Args:
        trees: learning_rate, num_leaves and the other parameters of the trees.
        classes: trees per round (1 unless multiclass).
    """
    fixed = {"deterministic": True, "force_row_wise": True, "seed": seed, "num_threads": threads, "verbosity": -1}
    fits = leaf_cap // (int(trees["num_leaves"]) * classes)
    return Recipe({**trees, **fixed, "metric": "None"}, max(1, min(rounds, fits)), patience)


def grow_distilled(how: Recipe, objective: Objective, columns: Sequence[str], fit: Rows, stop: Rows | None) -> Model:
    """A student of soft and hard labels. Without ``stop`` all rounds are grown (the probe)."""
    base = objective.base_score(fit.y, fit.teacher)
    classes, watched = len(base), objective.imitation()

    def gradients(z: Reals, data: lgb.Dataset) -> tuple[Reals, Reals]:
        _require_same_length(z, fit)
        return objective.gradients(z, fit.y, fit.teacher)

    def loss(z: Reals, data: lgb.Dataset) -> tuple[str, float, bool]:
        assert stop is not None
        _require_same_length(z, stop)
        return "distillation_loss", float(np.mean(watched.row_loss(z, stop.y, stop.teacher))), False

    params = {**how.params, "objective": gradients, "num_class": classes}
    booster = _train(params, how, columns, fit, stop, loss, base)
    return Model(_text(booster), "raw", tuple(float(score) for score in base))


def grow_direct(how: Recipe, kind: Kind, classes: int, columns: Sequence[str], fit: Rows, stop: Rows | None) -> Model:
    """A student of hard labels alone, with LightGBM's built-in objective."""

    def loss(output: Reals, data: lgb.Dataset) -> tuple[str, float, bool]:
        assert stop is not None
        return "hard_loss", _hard_loss(kind, output, stop.y), False

    params = {**how.params, "objective": BUILT_IN[kind]}
    if kind == "multiclass":
        params["num_class"] = classes
    booster = _train(params, how, columns, fit, stop, loss, None)
    return Model(_text(booster), "value" if kind == "regression" else "prob", ())


def gains(model: Model) -> dict[str, float]:
    """Column -> total gain, in column order."""
    booster = lgb.Booster(model_str=model.text)
    importance = booster.feature_importance(importance_type="gain")
    return dict(zip(booster.feature_name(), (float(gain) for gain in importance), strict=True))


def _train(
    params: dict[str, Any],
    how: Recipe,
    columns: Sequence[str],
    fit: Rows,
    stop: Rows | None,
    loss: Callable[[Reals, lgb.Dataset], tuple[str, float, bool]],
    base: Reals | None,
) -> lgb.Booster:
    data = _dataset(fit, columns, base, params)
    if stop is None:
        return lgb.train(params, data, num_boost_round=how.rounds)
    watched = _dataset(stop, columns, base, params, data)
    ended = lgb.early_stopping(how.patience, verbose=False)
    return lgb.train(
        params, data, how.rounds, valid_sets=[watched], valid_names=["stop"], feval=loss, callbacks=[ended]
    )


def _dataset(
    rows: Rows, columns: Sequence[str], base: Reals | None, params: Mapping[str, Any], like: lgb.Dataset | None = None
) -> lgb.Dataset:
    start = None if base is None else np.tile(base, (len(rows), 1)).squeeze(axis=1 if len(base) == 1 else ())
    binning = {k: params[k] for k in ("max_bin", "min_child_samples", "seed", "num_threads", "verbosity")}
    return lgb.Dataset(
        rows.x, label=rows.y, init_score=start, feature_name=list(columns), params=binning, reference=like
    )


def _hard_loss(kind: Kind, output: Reals, y: NDArray[Any]) -> float:
    """Mean loss of a built-in objective on probabilities or values."""
    if kind == "regression":
        return float(np.mean((output - y) ** 2))
    if kind == "binary":
        observed = np.where(y == 1, output, 1 - output)
    else:
        observed = output[np.arange(len(y)), y]
    return float(-np.mean(np.log(np.clip(observed, MIN_PROBABILITY, 1))))


def _text(booster: lgb.Booster) -> str:
    """Model text up to the best round. The thread count is no part of a model, so it is not in its bytes."""
    best = booster.best_iteration if booster.best_iteration > 0 else None
    return re.sub(r"^\[num_threads: \d+\]$", "[num_threads: 0]", booster.model_to_string(best), flags=re.MULTILINE)


def _require_same_length(z: Reals, rows: Rows) -> None:
    if len(z) != len(rows):
        raise ValueError(f"{len(rows)} soft labels for {len(z)} rows: the booster is fed other rows")
