"""Path contributions beside TreeSHAP, as a student records them."""

from __future__ import annotations

import lightgbm as lgb
import numpy as np
import pytest

from pipeline_lib.distill import agreement as module
from pipeline_lib.distill.agreement import agreement
from pipeline_lib.forest.compiling import compile_text
from pipeline_lib.forest.layout import Forest
from pipeline_lib.serve.trees import Trees

PARAMS = {"num_leaves": 8, "min_child_samples": 5, "num_threads": 1, "verbosity": -1, "deterministic": True, "seed": 1}


def grown(objective: str, outputs: int, rounds: int = 12) -> tuple[str, np.ndarray]:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(400, 7)).astype(np.float32)
    x[rng.random(x.shape) < 0.1] = np.nan
    signal = np.nan_to_num(x[:, 0]) + np.nan_to_num(x[:, 1]) * np.nan_to_num(x[:, 2])
    y = np.digitize(signal, np.quantile(signal, np.linspace(0, 1, max(outputs, 2) + 1)[1:-1])).astype(float)
    own = {"num_class": outputs} if outputs > 1 else {}
    booster = lgb.train({**PARAMS, "objective": objective, **own}, lgb.Dataset(x, y), rounds)
    return booster.model_to_string(), x


@pytest.mark.parametrize(("objective", "outputs"), [("binary", 1), ("regression", 1), ("multiclass", 3)])
def test_what_is_measured_is_what_serving_says(objective: str, outputs: int) -> None:
    text, x = grown(objective, outputs)
    booster, trees = lgb.Booster(model_str=text), Trees(Forest(compile_text(text, "t")))
    path = module._path(booster, x[:30], outputs).reshape(30, outputs, -1)
    for row, found in zip(x[:30], path, strict=True):
        for output in range(outputs):
            assert found[output] == pytest.approx(trees.contributions(row, output)[1], abs=1e-6)


def test_a_model_of_single_splits_agrees_with_treeshap_entirely() -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(400, 7)).astype(np.float32)
    booster = lgb.train({**PARAMS, "num_leaves": 2, "objective": "regression"}, lgb.Dataset(x, x.sum(axis=1)), 40)
    assert agreement(booster.model_to_string(), x) == {"rows": 400, "top5_overlap": 1.0, "sign_agreement": 1.0}


def test_where_features_act_together_they_part_in_rank_and_in_sign() -> None:
    text, x = grown("binary", 1)
    found = agreement(text, x)
    assert 0.3 < found["top5_overlap"] < 1
    assert found["sign_agreement"] < 0.95


def test_at_most_a_thousand_rows_and_outputs_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROWS", 100)
    text, x = grown("multiclass", 3, rounds=2)
    assert agreement(text, x)["rows"] <= 34


def test_a_tree_without_a_split_contributes_nothing() -> None:
    x = np.zeros((50, 7), dtype=np.float32)
    booster = lgb.train({**PARAMS, "objective": "regression"}, lgb.Dataset(x, np.ones(50)), 2)
    assert agreement(booster.model_to_string(), x)["rows"] == 50
