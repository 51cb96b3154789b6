"""Metrics against brute force on small inputs, and the composite that selects."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline_lib.errors import ContractError
from pipeline_lib.teacher import metrics as m
from pipeline_lib.teacher.contract import TaskSpec
from pipeline_lib.teacher.evaluate import Prior, averages, composite, score_task, undefined

LABELS = arrays(np.float64, 12, elements=st.sampled_from([0.0, 1.0]))
SCORES = arrays(np.float64, 12, elements=st.sampled_from([0.1, 0.2, 0.5, 0.9]))


@given(LABELS, SCORES)
def test_auc_counts_pairs_with_ties_half(y: np.ndarray, score: np.ndarray) -> None:
    pairs = [(a > b) + 0.5 * (a == b) for a in score[y == 1] for b in score[y == 0]]
    expected = sum(pairs) / len(pairs) if pairs else None
    assert m.auc(y, score) == (pytest.approx(expected) if pairs else None)


@given(LABELS, SCORES)
def test_average_precision_does_not_depend_on_the_order_of_ties(y: np.ndarray, score: np.ndarray) -> None:
    order = np.argsort(y, kind="stable")
    assert m.average_precision(y, score) == pytest.approx(m.average_precision(y[order], score[order]))


def test_average_precision_by_hand() -> None:
    y, score = np.array([1.0, 0, 1, 0]), np.array([0.9, 0.8, 0.7, 0.1])
    assert m.average_precision(y, score) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)


@given(st.lists(st.sampled_from([0.0, 1.0, 2.0]), min_size=4, max_size=4), st.integers(0, 3))
@settings(deadline=None)
def test_ndcg_of_ties_is_the_mean_over_all_orders(scores: list[float], truth: int) -> None:
    gains = []
    for order in itertools.permutations(range(4)):
        ranked = sorted(order, key=lambda c: -scores[c])  # stable: ties keep the permuted order
        rank = ranked.index(truth) + 1
        gains.append(1 / math.log2(rank + 1) if rank <= 3 else 0.0)
    assert m.ndcg(np.array([float(truth)]), np.array([scores]), 3) == pytest.approx(np.mean(gains))


def test_macro_f1_counts_absent_classes_as_zero() -> None:
    assert m.macro_f1(np.array([0.0, 0, 1]), np.array([0.0, 0, 1]), 4) == pytest.approx(0.5)


def test_perfect_calibration_has_no_error_and_a_constant_shift_is_found() -> None:
    y = np.tile([0.0, 1.0], 150)
    assert m.expected_calibration_error(y, np.full(300, 0.5)) == pytest.approx(0)
    assert m.expected_calibration_error(y, np.full(300, 0.8)) == pytest.approx(0.3)


def test_metrics_that_are_not_defined_are_none() -> None:
    assert m.auc(np.ones(3), np.arange(3.0)) is None
    assert m.average_precision(np.zeros(3), np.arange(3.0)) is None
    assert m.r_squared(np.ones(3), np.arange(3.0)) is None


def binary(name: str) -> TaskSpec:
    return TaskSpec(name, "binary", "g", 1, 1.0, 0.5)


def test_masked_rows_are_left_out_and_an_unlabelled_task_is_listed() -> None:
    prior = Prior.of(binary("a"), np.array([0.0, 1.0, np.nan]))
    y = np.array([0.0, 1.0, np.nan, np.nan])
    found = score_task(binary("a"), y, np.array([0.2, 0.9, 0.99, 0.0]), prior, 3)
    assert (found["rows"], found["auc"], found["trivial_auc"]) == (2, 1.0, 0.5)
    nothing = score_task(binary("b"), np.full(4, np.nan), np.zeros(4), prior, 3)
    assert nothing == {"rows": 0}
    assert undefined({"a": found, "b": nothing}) == ["b"]
    assert averages({"a": found, "b": nothing}, [binary("a"), binary("b")], [])["avg_auc"] == 1.0


def test_trivial_baselines_know_only_the_train_labels() -> None:
    task = TaskSpec("r", "regression", "g", 1, 1.0, None)
    found = score_task(task, np.array([0.0, 10.0]), np.array([0.0, 10.0]), Prior.of(task, np.array([1.0, 2.0, 9.0])), 3)
    assert (found["mae"], found["trivial_mae"], found["normalised_mae"]) == (0.0, 5.0, 0.0)


def test_the_composite_weighs_kinds_equally_and_needs_one() -> None:
    known = {"avg_auc": 0.7, "avg_ndcg": 0.9, "avg_normalised_mae": 0.8}
    assert composite(known) == pytest.approx((0.7 + 0.9 + 0.2) / 3)
    assert composite({**known, "avg_ndcg": None}) == pytest.approx((0.7 + 0.2) / 2)
    with pytest.raises(ContractError, match="part 'stop'"):
        composite(dict.fromkeys(known))
