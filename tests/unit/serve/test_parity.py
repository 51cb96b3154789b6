"""Ten thousand rows of every kind of value: served raw scores are LightGBM's own batch predictions, bit by bit."""

from __future__ import annotations

from array import array
from typing import Any

import lightgbm as lgb
import numpy as np
import pytest

from pipeline_lib.errors import ContractError
from pipeline_lib.forest.compiling import compile_text
from pipeline_lib.forest.layout import Forest
from pipeline_lib.publish import package
from pipeline_lib.serve import batch, engine
from pipeline_lib.serve.bundle import open_bundle
from pipeline_lib.serve.oracle import require_lightgbms_scores
from pipeline_lib.serve.predictor import Predictor
from pipeline_lib.serve.trees import Trees

from .conftest import make_bank

ROWS, WIDTH, SETS = 10_000, 12, [0, 5]
OBJECTIVES = {"binary": {}, "multiclass": {"num_class": 4}, "regression": {}}
EXTREME = [np.inf, -np.inf, 3.4028235e38, -3.4028235e38, 1e-45, -1e-45, 0.0, -0.0]
UNSEEN = [-1.0, -7.0, 55.5, 900.0, 2147483520.0, 4294967296.0, np.inf, -np.inf]
Model = tuple[lgb.Booster, Forest]


@pytest.fixture(scope="module")
def answers() -> engine.Engine:
    """The engine a function would take: the kernel where it was built."""
    return engine.open_engine()


@pytest.fixture(scope="module")
def trained() -> dict[tuple[str, bool], Model]:
    return {(objective, sets): train(objective, sets=sets) for objective in OBJECTIVES for sets in (False, True)}


def train(objective: str, *, sets: bool) -> Model:
    rng = np.random.default_rng(11)
    x = usual(rng, 1500)
    z = np.nan_to_num(x[:, 1] + 0.4 * (x[:, 0] % 5) - x[:, 2] * np.nan_to_num(x[:, 3]))
    y = {"binary": z > 1, "multiclass": np.digitize(z, [-1, 1, 3]), "regression": z}[objective]
    params: dict[str, Any] = {
        "objective": objective, "num_leaves": 24, "min_child_samples": 4, "min_data_per_group": 2, "cat_smooth": 1,
        "max_cat_to_onehot": 2, "num_threads": 1, "verbosity": -1, "seed": 1, **OBJECTIVES[objective],
    }  # fmt: skip
    data = lgb.Dataset(x, y.astype(float), categorical_feature=SETS if sets else [])
    booster = lgb.train(params, data, 20)
    return booster, Forest(compile_text(booster.model_to_string(), objective))


def usual(rng: np.random.Generator, count: int) -> np.ndarray:
    """[count, WIDTH] float32: categories, counts and reals, some missing."""
    x = rng.normal(0, 2, (count, WIDTH)).astype(np.float32)
    x[:, SETS] = rng.integers(0, 60, (count, len(SETS)))
    x[:, 7:] = np.round(x[:, 7:])
    x[rng.random(x.shape) < 0.12] = np.nan
    return x


def every_kind(forest: Forest) -> np.ndarray:
    """[ROWS, WIDTH]: usual rows with missing, infinite and unseen values, and values at thresholds and beside them."""
    rng = np.random.default_rng(12)
    x = usual(rng, ROWS)
    for column in range(WIDTH):
        nodes = [n for tree in Trees(forest).trees for n in tree.nodes if n.feature == column and n.categories is None]
        at = np.array([node.threshold for node in nodes] or [0.0], dtype=np.float32)
        near = np.concatenate([at, np.nextafter(at, np.float32(np.inf)), np.nextafter(at, np.float32(-np.inf))])
        odd = np.concatenate([near, np.array(UNSEEN if column in SETS else EXTREME, dtype=np.float32)])
        chosen = rng.random(ROWS) < 0.4
        x[chosen, column] = rng.choice(odd, int(chosen.sum()))
    return x


@pytest.mark.parametrize("sets", [False, True], ids=["numbers", "categories"])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_ten_thousand_rows_have_the_scores_of_lightgbms_batch(
    trained: dict[tuple[str, bool], Model], answers: engine.Engine, objective: str, sets: bool
) -> None:
    booster, forest = trained[objective, sets]
    x = every_kind(forest)
    assert np.isnan(x).any(axis=0).all()
    assert np.isinf(x).any(axis=0).all()
    assert (forest.sets > 0) == sets
    model = answers.model(forest)
    served = np.array([model.raw(array("f", row)) for row in x.tolist()]).reshape(ROWS, -1)
    own = booster.predict(x, raw_score=True, num_threads=1).reshape(ROWS, -1)
    assert np.array_equal(served.view(np.uint64), own.view(np.uint64))
    assert len(np.unique(own[:, 0])) > ROWS // 20


def test_a_challenger_is_asked_beside_lightgbm_twins_included(release: Any) -> None:
    bundle = open_bundle(release.folder, release.bank.read("package").facts["manifest_sha256"])
    rows = batch.gate_rows(release.bank.read("features").path("feature_matrix.parquet"))
    columns = tuple(name for name in rows.columns if name not in batch.NOT_FEATURES)
    predictor, some = Predictor.of(bundle), rows.select(columns).head(20).rows()
    texts = [path for path in bundle.manifest["files"] if path["path"].endswith("/model.txt")]
    asked = require_lightgbms_scores(bundle, predictor, columns, some)
    assert asked > len(texts)
    twin = predictor.student("churn_signal", 2)
    twin.forest = predictor.student("churn_signal", 1).forest
    with pytest.raises(ContractError, match=r"churn_signal/direct\.txt: row 0 gives .*, LightGBM gives"):
        require_lightgbms_scores(bundle, predictor, columns, some)


def test_a_package_that_was_compiled_wrongly_is_not_scored(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrongly(text: str, where: str) -> bytes:
        data = bytearray(compile_text(text, where))
        for place in range(64, 64 + 8 * Forest(bytes(data)).leaves, 8):  # the last bit of every leaf
            data[place] ^= 1
        return bytes(data)

    monkeypatch.setattr(package, "compile_text", wrongly)
    bank = make_bank(tmp_path)
    with pytest.raises(ContractError, match="LightGBM gives"):
        batch.score(bank)
    assert not bank.has("score")
