"""The traps of LightGBM that distillation.md section 6 lists, each with the fact that shows it is avoided."""

from __future__ import annotations

import lightgbm as lgb
import numpy as np
import pytest
from scipy.special import expit, softmax

from pipeline_lib.distill import answer, booster, objective
from pipeline_lib.distill.frame import Rows

N, D = 3000, 6
COLUMNS = [f"f{i}" for i in range(D)]
TREES = {
    "learning_rate": 0.1, "num_leaves": 15, "min_child_samples": 20, "bagging_fraction": 0.8, "bagging_freq": 1,
    "feature_fraction": 0.8, "lambda_l1": 0.1, "lambda_l2": 1.0, "max_bin": 63,
}  # fmt: skip


def recipe(
    rounds: int = 30, threads: int = 1, classes: int = 1, cap: int = 10**6, columns: float = 0.8
) -> booster.Recipe:
    return booster.recipe(
        trees={**TREES, "feature_fraction": columns},
        rounds=rounds,
        patience=10,
        leaf_cap=cap,
        classes=classes,
        seed=5,
        threads=threads,
    )


@pytest.fixture(scope="module")
def data() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features (n, d), a binary label (n,) at about 12 % and the teacher's logit (n,)."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(N, D)).astype(np.float32)
    x[rng.random((N, D)) < 0.1] = np.nan
    z = np.nan_to_num(x[:, 0] - x[:, 1] * x[:, 2]).astype(np.float64) - 2.5
    return x, (rng.random(N) < expit(z)).astype(np.int64), z


def rows(x: np.ndarray, y: np.ndarray, teacher: np.ndarray) -> Rows:
    return Rows(x, y, teacher, np.arange(len(y)))


def built_in(name: str, x: np.ndarray, label: np.ndarray, rounds: int = 30, **extra: int) -> lgb.Booster:
    """The library's own objective. All columns in every tree: it draws them in another order for a custom one."""
    params = {**recipe(columns=1.0).params, "objective": name, **extra}
    return lgb.train(params, lgb.Dataset(x, label, params={"max_bin": 63, "verbosity": -1}), rounds)


def test_binary_equals_the_built_in_cross_entropy_on_the_blended_label(data):
    x, y, z = data
    student = booster.grow_distilled(recipe(columns=1.0), objective.Binary(0.3, 1.0), COLUMNS, rows(x, y, z), None)
    oracle = built_in("cross_entropy", x, 0.3 * y + 0.7 * expit(z))
    np.testing.assert_allclose(expit(student.predict(x)), oracle.predict(x), atol=1e-7)


def test_regression_equals_the_built_in_one_on_the_blended_label(data):
    x, _, z = data
    y = z + np.random.default_rng(1).normal(size=N)
    student = booster.grow_distilled(recipe(columns=1.0), objective.Regression(0.3), COLUMNS, rows(x, y, z), None)
    oracle = built_in("regression", x, 0.3 * y + 0.7 * z)
    np.testing.assert_allclose(student.predict(x), oracle.predict(x), atol=1e-5)


def test_multiclass_on_hard_labels_alone_equals_the_built_in_one(data):
    x, _, z = data
    logits = np.column_stack([z, np.nan_to_num(x[:, 3]), -z / 2])
    y = (softmax(logits, axis=1).cumsum(axis=1) < np.random.default_rng(2).random((N, 1))).sum(axis=1)
    student = booster.grow_distilled(
        recipe(columns=1.0), objective.Multiclass(1.0, 1.0), COLUMNS, rows(x, y, logits), None
    )
    oracle = built_in("multiclass", x, y, num_class=3)
    np.testing.assert_allclose(softmax(student.predict(x), axis=1), oracle.predict(x), atol=1e-6)


def test_permuting_class_ids_permutes_the_predictions(data):
    x, _, z = data
    logits = np.column_stack([z + 2, np.nan_to_num(x[:, 3]), np.nan_to_num(x[:, 4]) - 1, np.nan_to_num(x[:, 5])])
    y, order = logits.argmax(axis=1), np.array([2, 0, 3, 1])
    loss = objective.Multiclass(0.3, 1.0)
    plain = booster.grow_distilled(recipe(columns=1.0), loss, COLUMNS, rows(x, y, logits), None).predict(x)
    permuted = rows(x, np.argsort(order)[y], logits[:, order])
    moved = booster.grow_distilled(recipe(columns=1.0), loss, COLUMNS, permuted, None)
    np.testing.assert_allclose(moved.predict(x), plain[:, order], atol=1e-9)
    assert (plain.argmax(axis=1) == y).mean() > 0.8


def test_without_its_base_score_a_student_answers_another_mean(data):
    x, y, z = data
    student = booster.grow_distilled(recipe(10), objective.Binary(0.3, 1.0), COLUMNS, rows(x, y, z), None)
    offset = student.base_score[0]
    assert expit(student.predict(x)).mean() == pytest.approx(y.mean(), abs=0.02)
    assert expit(student.predict(x) - offset).mean() > y.mean() + 0.2


def test_a_direct_model_is_not_transformed_twice(data):
    x, y, z = data
    direct = booster.grow_direct(recipe(), "binary", 2, COLUMNS, rows(x, y, z), None)
    assert direct.output_kind == "prob"
    raw = answer.raw_score("binary", direct, x)
    served = answer.served("binary", {"kind": "none"}, raw)
    np.testing.assert_allclose(served, direct.predict(x), atol=1e-9)
    assert served.mean() == pytest.approx(y.mean(), abs=0.01)


@pytest.mark.parametrize("kind", ["binary", "multiclass", "regression"])
def test_bytes_do_not_depend_on_threads(data, kind):
    x, y, z = data
    teacher = np.column_stack([-z, z, z / 2]) if kind == "multiclass" else z
    label = y if kind != "regression" else z
    loss = objective.objective_of(kind, 0.3, 1.0)
    stop = rows(x[:500], label[:500], teacher[:500])
    texts = {
        (
            booster.grow_distilled(recipe(6, threads), loss, COLUMNS, rows(x, label, teacher), stop).text,
            booster.grow_direct(recipe(6, threads), kind, 3, COLUMNS, rows(x, label, teacher), stop).text,
        )
        for threads in (1, 2)
    }
    assert len(texts) == 1


def test_leaves_stay_under_the_cap_and_early_stopping_ends_before_all_rounds(data):
    x, y, z = data
    capped = booster.grow_distilled(recipe(30, cap=150), objective.Binary(0.3, 1.0), COLUMNS, rows(x, y, z), None)
    assert 0 < capped.leaves <= 150
    assert capped.trees == 10
    noise = np.random.default_rng(9)
    label = noise.integers(0, 2, N)
    stop = rows(noise.normal(size=(500, D)).astype(np.float32), noise.integers(0, 2, 500), np.zeros(500))
    stopped = booster.grow_distilled(
        recipe(200), objective.Binary(1.0, 1.0), COLUMNS, rows(x, label, np.zeros(N)), stop
    )
    assert stopped.trees < 100


@pytest.mark.parametrize(("weight", "same"), [(0.3, True), (1.0, False)])
def test_hard_labels_of_the_stopping_rows_do_not_end_a_student_that_has_a_teacher(data, weight, same):
    x, y, z = data
    grown = [
        booster.grow_distilled(
            recipe(rounds=400),
            objective.Binary(weight, 1.0),
            COLUMNS,
            rows(x[:2000], y[:2000], z[:2000]),
            rows(x[2000:], labels, z[2000:]),
        ).text
        for labels in (y[2000:], 1 - y[2000:])
    ]
    assert (grown[0] == grown[1]) is same


def test_a_row_count_other_than_the_soft_labels_is_an_error(data):
    x, y, z = data
    with pytest.raises(ValueError, match="soft labels"):
        booster._require_same_length(z[:10], rows(x, y, z))


def test_unknown_and_zero_are_different_answers(data):
    x, y, z = data
    mark = np.isnan(x[:, 0])
    student = booster.grow_distilled(
        recipe(), objective.Binary(0.0, 1.0), COLUMNS, rows(x, y, np.where(mark, 3.0, -3.0)), None
    )
    zeroed = np.where(np.isnan(x), 0, x).astype(np.float32)
    assert student.predict(x)[mark].mean() > student.predict(zeroed)[mark].mean() + 1
