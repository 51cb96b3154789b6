"""The C interface, calibration, transform and contributions against LightGBM's own package."""

from __future__ import annotations

import json
import math
from typing import Any

import lightgbm as lgb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_lib.errors import ContractError
from pipeline_lib.forest.compiling import compile_text
from pipeline_lib.forest.layout import Forest
from pipeline_lib.serve import calibrate, engine, transform
from pipeline_lib.serve.lightgbm_c import Booster, Library, LibraryFailed, find_library
from pipeline_lib.serve.predictor import PredictionRefused, Range, Student
from pipeline_lib.serve.trees import Trees

LIBRARY = Library(find_library())
MODELS = [
    ("churn_signal", False),
    ("churn_signal", True),
    ("nba_primary", False),
    ("nba_primary", True),
    ("product_stability", False),
]
KINDS = {"churn_signal": "binary", "nba_primary": "multiclass", "product_stability": "regression"}
WIDTH = 15
Grown = dict[tuple[str, bool], tuple[str, dict[str, Any]]]
values = st.floats(-200, 200, width=32) | st.just(math.nan) | st.just(0.0)


def student(grown: Grown, task: str, raw: bool) -> Student:
    text, facts = grown[task, raw]
    inputs = {"gain": [1.0] * WIDTH, "knows_missing": [True] * WIDTH}
    return Student(engine.open_engine(), task, KINDS[task], facts, inputs, compile_text(text, task))


@pytest.mark.parametrize(("task", "raw"), MODELS)
def test_single_rows_equal_lightgbms_own_prediction_missing_values_included(
    task: str, raw: bool, grown: Grown, gate_x: np.ndarray
) -> None:
    text, _ = grown[task, raw]
    own = lgb.Booster(model_str=text).predict(gate_x, raw_score=raw, num_threads=1)
    one = student(grown, task, raw)
    one.base = (0.0,) * one.forest.forest.outputs
    ours = np.array([one.predict(list(map(float, row)), None).raw for row in gate_x]).squeeze()
    assert np.isnan(gate_x).any()
    assert np.array_equal(ours, own)


@pytest.mark.parametrize(("task", "raw"), MODELS)
@settings(max_examples=40, deadline=None)
@given(row=st.lists(values, min_size=WIDTH, max_size=WIDTH))
def test_contributions_and_bias_add_up_to_the_raw_score(grown: Grown, task: str, raw: bool, row: list[float]) -> None:
    text, _ = grown[task, raw]
    forest = Forest(compile_text(text, task))
    scores = Booster(LIBRARY, forest, text.encode(), Trees(forest)).raw(row)
    for output, score in enumerate(scores):
        bias, parts = engine.open_engine().model(forest).contributions(row, output)
        assert bias + sum(parts) == pytest.approx(score, abs=1e-12)


def test_a_feature_no_tree_uses_contributes_nothing(grown: Grown, gate_x: np.ndarray) -> None:
    forest = Forest(compile_text(grown["churn_signal", True][0], "churn"))
    used = {node.feature for tree in Trees(forest).trees for node in tree.nodes}
    _, parts = engine.open_engine().model(forest).contributions(gate_x[0].tolist())
    assert used < set(range(WIDTH))
    assert all(parts[i] == 0 for i in range(WIDTH) if i not in used)


def test_base_score_is_added_once_and_only_to_raw_outputs(grown: Grown, gate_x: np.ndarray) -> None:
    row = gate_x[3].tolist()
    text, facts = grown["churn_signal", True]
    own = lgb.Booster(model_str=text).predict(gate_x[3:4], raw_score=True)[0]
    served = student(grown, "churn_signal", True).predict(row, None)
    assert served.raw[0] == pytest.approx(own + facts["base_score"], abs=1e-12)
    platt = facts["calibrator"]
    assert served.served[0] == pytest.approx(1 / (1 + math.exp(-(platt["a"] * served.raw[0] + platt["b"]))), abs=1e-12)


def test_a_probability_is_not_transformed_twice() -> None:
    probability = calibrate.served("binary", "prob", [0.12], {"kind": "none"})
    assert probability == (0.12,)
    assert calibrate.served("multiclass", "prob", [0.2, 0.3, 0.5], None) == pytest.approx((0.2, 0.3, 0.5), abs=1e-12)


def test_platt_of_a_direct_model_works_on_its_logit() -> None:
    (p,) = calibrate.served("binary", "prob", [0.3], {"kind": "platt", "a": 1.0, "b": 0.0})
    assert p == pytest.approx(0.3, abs=1e-12)


@given(st.lists(st.floats(-50, 50), min_size=2, max_size=9))
def test_class_probabilities_sum_to_one_whatever_the_calibrator(scores: list[float]) -> None:
    k = len(scores)
    calibrator = {"kind": "ovr_platt", "a": [1.3] * k, "b": [-0.4] * k}
    served = calibrate.served("multiclass", "raw", scores, calibrator)
    assert sum(served) == pytest.approx(1, abs=1e-9)
    assert min(served) > 0


def test_isotonic_knots_are_interpolated_and_clipped_at_the_ends() -> None:
    knots = {"kind": "isotonic", "x": [-1.0, 0.0, 2.0], "y": [0.1, 0.2, 0.6]}
    assert [calibrate.served("binary", "raw", [x], knots)[0] for x in (-9, -0.5, 1, 9)] == pytest.approx(
        [0.1, 0.15, 0.4, 0.6]
    )


@pytest.mark.parametrize("kind", ["binary", "multiclass", "regression"])
def test_an_unknown_calibrator_is_an_error(kind: str) -> None:
    with pytest.raises(ContractError, match="mystery"):
        calibrate.served(kind, "raw", [0.1, 0.2], {"kind": "mystery"})


def test_an_answer_outside_the_training_range_is_refused(grown: Grown, gate_x: np.ndarray) -> None:
    with pytest.raises(PredictionRefused) as refused:
        student(grown, "product_stability", False).predict(gate_x[0].tolist(), Range(5.0, 6.0))
    assert refused.value.code == "OUT_OF_RANGE"


def test_vectors_are_built_by_name_and_what_is_absent_is_nan() -> None:
    where = transform.positions(("c", "a", "gone"), ("a", "b", "c"))
    row = transform.vector([1.0, 2.0, 3.0], where)
    assert row[:2] == [3.0, 1.0]
    assert math.isnan(row[2])


@pytest.mark.parametrize(
    ("value", "where", "knows_missing", "share"),
    [
        (1.0, 0, False, 0.0),
        (math.nan, 0, True, 0.0),
        (math.nan, 0, False, 0.25),
        (math.inf, 0, True, 0.25),
        (math.nan, -1, True, 0.25),
    ],
    ids=["finite", "missing_as_in_training", "missing_as_never_in_training", "infinite", "column_gone"],
)
def test_only_unusable_inputs_count_as_anomaly(value: float, where: int, knows_missing: bool, share: float) -> None:
    assert transform.anomaly_share([value, 1.0], [where, 1], [1.0, 3.0], [knows_missing, False]) == share


def test_a_package_whose_feature_list_is_not_the_models_own_is_refused(grown: Grown, names: list[str]) -> None:
    text, facts = grown["churn_signal", True]
    swapped = {**facts, "features": [names[1], names[0], *names[2:]]}
    with pytest.raises(ContractError, match="feature list"):
        Student(
            engine.open_engine(), "churn_signal", "binary", swapped, {"gain": [], "knows_missing": []},
            compile_text(text, "churn"),
        )  # fmt: skip


def test_a_model_of_raw_scores_cannot_be_served_as_probabilities(grown: Grown) -> None:
    text, facts = grown["churn_signal", True]
    with pytest.raises(ContractError, match="prob expected"):
        Student(
            engine.open_engine(), "churn_signal", "binary", {**facts, "output_kind": "prob", "base_score": None},
            {"gain": [], "knows_missing": []}, compile_text(text, "churn"),
        )  # fmt: skip


def test_a_text_that_is_no_model_is_refused_not_crashed_on(grown: Grown) -> None:
    forest = Forest(compile_text(grown["churn_signal", True][0], "churn"))
    with pytest.raises(LibraryFailed):
        Booster(LIBRARY, forest, b"this is no model", Trees(forest))


def test_packaged_gains_are_lightgbms_own(bank: Any) -> None:
    name = "churn_signal"
    student_out = bank.read(f"student.{name}")
    from pipeline_lib.publish import model_text

    text = student_out.path("model.txt").read_text()
    own = lgb.Booster(model_str=text).feature_importance("gain")
    packaged = json.loads(json.dumps(model_text.inputs(text)))
    assert packaged["gain"] == pytest.approx(list(own), rel=1e-4)
    assert any(packaged["knows_missing"])
    assert not all(packaged["knows_missing"])
