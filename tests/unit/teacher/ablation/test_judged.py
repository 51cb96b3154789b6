"""Resampled metrics: with every row once they are the metrics of the stage."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_lib.teacher import metrics
from pipeline_lib.teacher.ablation.judged import TaskAnswers, auc, headline, macro_f1, metrics_of, reduce
from pipeline_lib.teacher.contract import TaskSpec
from pipeline_lib.teacher.evaluate import Prior, averages, composite, score_task

ROWS = 60


def task(name: str, kind: str, out: int = 1) -> TaskSpec:
    return TaskSpec(name, kind, "g", out, 1.0, 0.9)


def drawn(seed: int) -> tuple[list[TaskSpec], dict[str, np.ndarray], dict[str, np.ndarray], dict[str, Prior]]:
    """Labels with gaps and answers with ties, of two tasks of every kind."""
    rng = np.random.default_rng(seed)
    tasks = [task("b", "binary"), task("c", "binary"), task("m", "multiclass", 4), task("s", "multiclass", 3),
             task("r", "regression")]  # fmt: skip
    labels, answers = {}, {}
    for t in tasks:
        label = rng.integers(0, max(2, t.out), ROWS).astype(float) if t.kind != "regression" else rng.normal(size=ROWS)
        labels[t.name] = np.where(rng.random(ROWS) < 0.2, np.nan, label)
        shape = (ROWS, t.out) if t.out > 1 else (ROWS,)
        answers[t.name] = rng.integers(1, 5, shape) / 5.0
    return tasks, labels, answers, {t.name: Prior.of(t, labels[t.name]) for t in tasks}


def reduced(seed: int) -> list[TaskAnswers]:
    tasks, labels, answers, priors = drawn(seed)
    return [reduce(t, labels[t.name], answers[t.name], priors[t.name], ["m"], 3) for t in tasks]


@pytest.mark.rule("R38")
@given(st.integers(0, 1000))
@settings(deadline=None, max_examples=25)
def test_with_every_row_once_they_are_the_metrics_of_the_stage(seed: int) -> None:
    tasks, labels, answers, priors = drawn(seed)
    once = np.ones((1, ROWS))
    own = {t.name: score_task(t, labels[t.name], answers[t.name], priors[t.name], 3) for t in tasks}
    named = {"auc": "auc", "ndcg": "ndcg", "macro_f1": "macro_f1"}
    for t, found in zip(tasks, reduced(seed), strict=True):
        for name, value in metrics_of(found, once).items():
            expected = 1 - own[t.name]["normalised_mae"] if name == "skill" else own[t.name][named[name]]
            assert value[0] == pytest.approx(expected)
    whole = headline(reduced(seed), once, "s")
    mean = averages(own, tasks, ["m"])
    assert whole["composite"][0] == pytest.approx(composite(mean))
    assert whole["avg_auc"][0] == pytest.approx(mean["avg_auc"])
    assert whole["avg_f1"][0] == pytest.approx(mean["avg_f1_macro"])
    assert whole["avg_f1_rest"][0] == pytest.approx(own["m"]["macro_f1"])


@given(st.lists(st.integers(0, 3), min_size=ROWS, max_size=ROWS), st.integers(0, 1000))
@settings(deadline=None, max_examples=25)
def test_a_weight_is_the_row_so_many_times(times: list[int], seed: int) -> None:
    tasks, labels, answers, _ = drawn(seed)
    label = np.nan_to_num(labels["b"])
    again = np.repeat(np.arange(ROWS), times)
    if not 0 < label[again].sum() < len(again):
        return
    weights = np.array([times], dtype=float)
    expected = metrics.auc(label[again], answers["b"][again])
    assert auc(label, answers["b"], weights)[0] == pytest.approx(expected)
    chosen, truth = answers["m"].argmax(1).astype(float), np.nan_to_num(labels["m"])
    expected = metrics.macro_f1(truth[again], chosen[again], 4)
    assert macro_f1(truth, chosen, 4, weights)[0] == pytest.approx(expected)


@pytest.mark.rule("R38")
def test_an_auc_of_one_class_is_undefined_and_not_a_half() -> None:
    label, score = np.zeros(8), np.linspace(0, 1, 8)
    found = reduce(task("b", "binary"), label, score, Prior.of(task("b", "binary"), np.array([0.0, 1.0])), [], 3)
    assert np.isnan(metrics_of(found, np.ones((1, 8)))["auc"][0])
    assert (
        score_task(task("b", "binary"), label, score, Prior.of(task("b", "binary"), np.array([0.0, 1.0])), 3)["auc"]
        is None
    )


@pytest.mark.rule("R38")
def test_ties_in_ndcg_count_their_expected_gain() -> None:
    """A constant ranking earns what chance earns, whatever the number of the true class."""
    many = task("m", "multiclass", 4)
    prior = Prior.of(many, np.array([0.0, 1, 2, 3]))
    gains = [
        reduce(many, np.array([float(k)]), np.full((1, 4), 0.25), prior, ["m"], 3).columns["gain"][0] for k in range(4)
    ]
    assert gains == pytest.approx([(1 + 1 / np.log2(3) + 0.5) / 4] * 4)


@pytest.mark.rule("R38")
def test_averages_stay_within_their_kind_of_task() -> None:
    once = np.ones((1, ROWS))
    before = headline(reduced(3), once, "s")
    worse = [replace(t, columns={n: c * (9 if n == "error" else 1) for n, c in t.columns.items()}) for t in reduced(3)]
    after = headline(worse, once, "s")
    changed = {name for name in before if not np.allclose(before[name], after[name], equal_nan=True)}
    assert changed == {"composite", "avg_skill", "task:r"}
