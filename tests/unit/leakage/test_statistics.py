from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from pipeline_lib.contracts.leakage import statistics as s
from pipeline_lib.contracts.leakage.hashing import buckets, customer_hash, split_of
from pipeline_lib.contracts.leakage.tree import grow, line_out_of_fold, tree_out_of_fold

COLUMN = hnp.arrays(np.float64, st.integers(8, 40), elements=st.integers(-5, 5).map(float))


def test_bucket_of_the_golden_customer():
    assert buckets("split-v1", [12345]) == [6483]
    assert customer_hash("order-v1", 12345) != customer_hash("split-v1", 12345)


@pytest.mark.parametrize(
    ("bucket", "side"), [(0, "train"), (6999, "train"), (7000, "val"), (8499, "val"), (8500, "test")]
)
def test_sides_are_the_declared_ranges(bucket: int, side: str):
    assert split_of(bucket, 7000, 1500) == side


@given(COLUMN)
def test_ranks_are_those_of_scipy(x):
    assert np.allclose(s.ranks(x[:, None])[:, 0], stats.rankdata(x))


@given(COLUMN, st.integers(0, 1000))
def test_auc_counts_the_pairs(x, seed: int):
    y = np.random.default_rng(seed).integers(0, 2, len(x))
    y[:2] = 0, 1
    pairs = [(a > b) + 0.5 * (a == b) for a, b in product(x[y == 1], x[y == 0])]
    expected = max(np.mean(pairs), 1 - np.mean(pairs))
    assert s.auc(s.ranks(x[:, None]), y[:, None].astype(float))[0, 0] == pytest.approx(expected)


@given(COLUMN)
def test_correlation_is_that_of_numpy_and_zero_for_a_constant(x):
    y = np.arange(len(x), dtype=float)
    found = s.pearson(x[:, None], y[:, None])[0, 0]
    expected = 0.0 if x.std() == 0 else np.corrcoef(x, y)[0, 1]
    assert found == pytest.approx(expected, abs=1e-9)


def test_correlation_ratio_is_one_for_a_function_of_the_class():
    y = np.array([0, 1, 2, 0, 1, 2, 0, 1])
    x = np.array([5.0, 1.0, 9.0])[y]
    hot = s.one_hot(y, np.arange(3))
    assert s.correlation_ratio(s.standard(np.stack([x, np.arange(8.0)], axis=1)), hot)[0] == pytest.approx(1.0)
    assert s.correlation_ratio(s.standard(np.arange(8.0)[:, None]), hot)[0] < 0.5


def test_information_is_full_for_a_recoded_class_and_none_for_noise():
    rng = np.random.default_rng(1)
    y = rng.integers(0, 4, 4000)
    x = np.stack([np.array([3.0, 0.0, 9.0, 1.0])[y], rng.normal(size=4000)], axis=1)
    share = s.information_share(s.quantile_bins(s.ranks(x), 80), 80, s.one_hot(y, np.arange(4)))
    assert share[0] == pytest.approx(1.0, abs=0.01)
    assert share[1] < 0.01


def test_missing_is_a_value_below_all_others():
    x = np.array([[1.0, np.nan], [np.nan, np.nan], [-3.0, np.nan]], dtype=np.float32)
    filled = s.without_nan(x)
    assert filled[1, 0] < -3
    assert len(set(filled[:, 1])) == 1


def test_tree_rebuilds_what_two_inputs_decide_and_not_what_is_drawn():
    rng = np.random.default_rng(2)
    x = rng.normal(size=(1500, 20))
    binned = s.quantile_bins(s.ranks(x), 32)
    fold = np.arange(1500) % 3
    decided = ((x[:, 3] > 0) & (x[:, 7] > 0)).astype(float)[:, None]
    drawn = rng.integers(0, 2, 1500).astype(float)[:, None]
    for y, low, high in ((decided, 0.99, 1.0), (drawn, 0.4, 0.6)):
        tree = tree_out_of_fold(binned, y, fold, 6, 32)
        direct = s.auc(s.ranks(tree), y)[0, 0]
        assert low <= direct <= high


def test_least_squares_rebuilds_a_weighted_sum():
    rng = np.random.default_rng(3)
    x = rng.normal(size=(600, 5))
    y = (0.3 * x[:, 0] - 2 * x[:, 4] + 1)[:, None]
    line = line_out_of_fold(x, y, np.arange(600) % 3)
    assert np.abs(line - y).max() < 1e-4


def test_a_tree_on_one_class_predicts_it():
    binned = np.zeros((20, 2), dtype=np.int64)
    y = np.ones((20, 1))
    assert grow(binned, y, 3, 4).predict(binned).tolist() == y.tolist()


@given(COLUMN, st.integers(0, 1000))
def test_ranks_of_some_rows_need_no_second_sort(x, seed: int):
    keep = np.random.default_rng(seed).random(len(x)) < 0.7
    keep[0] = True
    two = np.stack([x, -x], axis=1)
    assert np.allclose(s.ranks_within(two, s.order_of(two), keep), s.ranks(two[keep]))


def test_one_hot_targets_grow_the_same_tree_as_their_sums_would():
    """Counted in one pass or summed class by class: the same histogram, so the same tree."""
    rng = np.random.default_rng(4)
    binned, code = rng.integers(0, 16, (800, 30)), rng.integers(0, 4, 800)
    hot = s.one_hot(code, np.arange(3))  # the last class is in no column
    counted, summed = grow(binned, hot, 4, 16), grow(binned, hot * 2, 4, 16)
    assert np.allclose(counted.predict(binned) * 2, summed.predict(binned))


def test_a_wide_tree_keeps_the_columns_that_split():
    rng = np.random.default_rng(5)
    binned = rng.integers(0, 16, (2000, 400))
    y = ((binned[:, 390] > 7) & (binned[:, 17] > 7)).astype(float)[:, None]
    predicted = tree_out_of_fold(binned, y, np.arange(2000) % 2, 4, 16)
    assert s.auc(s.ranks(predicted), y)[0, 0] > 0.99


def test_psi_is_nothing_between_samples_of_one_law_and_counts_a_shift():
    rng = np.random.default_rng(6)
    a, b = rng.normal(size=2000), rng.normal(size=500)
    assert s.psi(a, b, 10) < 0.02
    assert s.psi(a, b + 1, 10) > 0.5
    missing = b.copy()
    missing[:250] = np.nan
    assert s.psi(a, missing, 10) > 0.5


def test_psi_of_small_samples_is_not_their_chance():
    rng = np.random.default_rng(7)
    values = [s.psi(rng.normal(size=300), rng.normal(size=60), 10) for _ in range(200)]
    assert np.mean(np.array(values) > 0.25) < 0.02
