"""Classical series statistics against statsmodels, textbook loops and features.md 16."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import kurtosis, skew
from statsmodels.stats.diagnostic import acorr_ljungbox
from statsmodels.tsa.stattools import acf, pacf

from pipeline_lib.features.columns import Column
from pipeline_lib.features.series.change_points import change_points, cusum
from pipeline_lib.features.series.complexity import complexity, newest_amounts
from pipeline_lib.features.series.daily import autocorrelations, autoregression, permutation_entropy, spectrum
from pipeline_lib.features.series.distribution import distribution
from pipeline_lib.features.series.groups import model_derived
from tests.unit.features.event_world import make_events, material, policy, shape, some_bank

DAYS = 180


@pytest.fixture(scope="module")
def daily() -> np.ndarray:
    """Spend of six customers: mostly idle days, heavy amounts."""
    rng = np.random.default_rng(1)
    return np.where(rng.random((6, DAYS)) < 0.4, np.exp(rng.normal(3, 1.2, (6, DAYS))), 0.0)


def test_autocorrelations_are_those_of_statsmodels(daily):
    ours, made = autocorrelations(daily, 7), autoregression(daily)
    for row, x in enumerate(daily):
        np.testing.assert_allclose(ours[row], acf(x, nlags=7, fft=False)[1:], atol=1e-12)
        partial = pacf(x, nlags=2, method="ywm")
        assert made["ts_ar_partial2"][row] == pytest.approx(partial[2], abs=1e-12)
        q = acorr_ljungbox(x, lags=[7])["lb_stat"].iloc[0]
        assert made["ts_ar_ljung_box"][row] == pytest.approx(np.log1p(q), abs=1e-10)
        assert made["ts_ar_lag1"][row] == ours[row, 0]
        assert made["ts_ar_lag7"][row] == ours[row, 6]


def test_permutation_entropy_of_the_published_series():
    """Source: features.md 16."""
    series = np.array([[4, 7, 9, 10, 6, 11, 3], [1, 2, 3, 4, 5, 6, 7], [0, 0, 0, 0, 0, 0, 0]], dtype=float)
    assert permutation_entropy(series) == pytest.approx([0.5888, 0.0, 0.0], abs=5e-5)


def test_permutation_entropy_counts_the_orders_of_three(daily):
    for row, x in enumerate(daily):
        orders = [tuple(np.argsort(x[t : t + 3], kind="stable")) for t in range(len(x) - 2)]
        share = np.array([orders.count(o) for o in itertools.permutations(range(3))]) / len(orders)
        expected = -sum(p * math.log(p) for p in share if p) / math.log(6)
        assert permutation_entropy(daily)[row] == pytest.approx(expected)


def test_the_spectrum_of_a_sine_is_at_its_period():
    """The 90-day sine of features.md 16, and its entropy; white noise is spread over all bins."""
    t = np.arange(90)
    noise = np.random.default_rng(2).normal(size=90)
    made = spectrum(np.stack([10 + 5 * np.sin(2 * np.pi * t / 7), noise]))
    assert 1 / made["ts_freq_dominant"][0] == pytest.approx(6.923, abs=1e-3)
    assert made["ts_freq_entropy"] == pytest.approx([0.231, 0.89], abs=0.05)
    assert made["ts_freq_entropy"][0] == pytest.approx(0.231, abs=5e-4)
    assert made["ts_freq_centroid"][0] == pytest.approx(1 / 7, abs=2e-3)
    assert made["ts_freq_bandwidth"][0] < 0.01 < 0.1 < made["ts_freq_bandwidth"][1]


def slow_cusum(z: list[float], allowance: float, alarm: float) -> list[int]:
    high = low = 0.0
    days = []
    for day, x in enumerate(z):
        high, low = max(0.0, high + x - allowance), max(0.0, low - x - allowance)
        if high >= alarm or low >= alarm:
            days.append(day)
            high = low = 0.0
    return days


def test_change_points_are_those_of_the_textbook_loop(daily):
    made = change_points(daily, 0.25, 2.0)
    for row, x in enumerate(daily):
        z = (x - x.mean()) / x.std()
        days = slow_cusum(z.tolist(), 0.25, 2.0)
        parts = [part for part in np.split(z, [day + 1 for day in days]) if len(part)]
        shifts = [abs(b.mean() - a.mean()) for a, b in itertools.pairwise(parts)]
        assert len(days) > 3
        assert made["ts_cp_count"][row] == pytest.approx(len(days) / DAYS)
        assert made["ts_cp_max_shift"][row] == pytest.approx(max(shifts))
        assert made["ts_cp_segment"][row] == pytest.approx(sum(len(p) ** 2 for p in parts) / DAYS**2)


def test_a_step_alarms_once_it_has_added_up():
    z = np.array([[0.0] * 5 + [1.0] * 5, [0.0] * 5 + [-1.0] * 5, [0.2] * 10])
    assert [np.flatnonzero(row).tolist() for row in cusum(z, 0.25, 2.0)] == [[7], [7], []]


def test_a_series_of_one_segment_has_no_shift():
    made = change_points(np.array([[0.0, 1.0, 0.0, 1.0]]), 5.0, 2.0)
    assert made["ts_cp_count"].tolist() == [0]
    assert np.isnan(made["ts_cp_max_shift"]).all()
    assert made["ts_cp_segment"].tolist() == [1]


def test_count_and_segment_length_are_not_one_number():
    """F11: with the plain mean length they would be, whatever the customer."""
    rng = np.random.default_rng(3)
    x = np.where(rng.random((300, DAYS)) < rng.random((300, 1)), np.exp(rng.normal(3, 1.2, (300, DAYS))), 0.0)
    x[:, :2] = [[1.0, 2.0]]
    made = change_points(x, 0.25, 2.0)
    ranks = [np.argsort(np.argsort(made[name])) for name in ("ts_cp_count", "ts_cp_segment")]
    assert abs(np.corrcoef(*ranks)[0, 1]) < 0.99


def slow_matches(x: list[float], m: int, r: float, stretches: int) -> list[int]:
    def near(i: int, j: int) -> bool:
        return max(abs(x[i + k] - x[j + k]) for k in range(m)) <= r

    return [sum(near(i, j) for j in range(stretches)) for i in range(stretches)]


def slow_entropies(x: list[float], tolerance: float) -> tuple[float, float]:
    """Pincus' phi(2) - phi(3), and Richman and Moorman's -ln(A / B)."""
    n, r = len(x), tolerance * float(np.std(x))
    two, three = slow_matches(x, 2, r, n - 1), slow_matches(x, 3, r, n - 2)
    phi = [sum(math.log(c / len(all_)) for c in all_) / len(all_) for all_ in (two, three)]
    b, a = sum(slow_matches(x, 2, r, n - 2)) - (n - 2), sum(three) - (n - 2)
    return phi[0] - phi[1], -math.log(a / b) if a and b else math.nan


def test_entropies_are_those_of_the_textbook_loops():
    rng = np.random.default_rng(4)
    lengths = [5, 15, 16, 17, 40, 100, 300, 4]
    amounts = np.full((len(lengths), 300), np.nan)
    for row, n in enumerate(lengths):
        amounts[row, :n] = np.round(np.exp(rng.normal(3, 0.5, n)), 1)
    amounts[4, :40] = 7.0
    made = complexity(amounts, np.array(lengths), 5, 0.2)
    for row, n in enumerate(lengths[:-1]):
        approximate, sample = slow_entropies(amounts[row, :n].tolist(), 0.2)
        assert made["ts_complex_approximate_entropy"][row] == pytest.approx(approximate, abs=1e-12)
        assert made["ts_complex_sample_entropy"][row] == pytest.approx(sample, abs=1e-12, nan_ok=True)
    assert np.isnan(made["ts_complex_sample_entropy"][0])
    assert np.isnan(made["ts_complex_approximate_entropy"][-1])


def test_the_newest_amounts_are_kept_in_their_order():
    rows = [make_events([9, 8, 7, 6], [1, 2, 3, 4]), make_events([5], [8]), make_events([])]
    amounts, counts = newest_amounts(material(rows).stream.window(360, ("spend",)), 3)
    np.testing.assert_array_equal(amounts, [[2, 3, 4], [8, np.nan, np.nan], [np.nan] * 3])
    assert counts.tolist() == [3, 1, 0]


def test_moments_are_those_of_scipy():
    rng = np.random.default_rng(5)
    ages = sorted(rng.integers(0, 180, 30).tolist(), reverse=True)
    amounts = np.exp(rng.normal(3, 1, 30)).tolist()
    rows = [make_events(ages, amounts), make_events([9, 8, 7, 6, 5, 4], [3.3] * 6), make_events([3, 2], [1, 2])]
    made = distribution(material(rows).stream.window(180, ("spend",)), 5)
    gaps = -np.diff(ages)
    assert made["ts_dist_amount_skew"][0] == pytest.approx(skew(amounts))
    assert made["ts_dist_amount_kurtosis"][0] == pytest.approx(kurtosis(amounts))
    assert made["ts_dist_gap_skew"][0] == pytest.approx(skew(gaps))
    assert made["ts_dist_gap_kurtosis"][0] == pytest.approx(kurtosis(gaps))
    assert all(np.isnan(values[1:]).all() for values in made.values())


@pytest.fixture(scope="module")
def world():
    m = some_bank(400)
    return m, model_derived(shape(), policy()).make(m, {}, {})


def test_the_group_has_twenty_seven_columns_with_the_lifecycle_and_twenty_two_without(world):
    m, made = world
    generator = model_derived(shape(), policy())
    assert generator.columns_of is not None
    assert generator.after == ("hmm_lifecycle",)
    known = {c.name.replace("hmm_", "hmm_lifecycle_", 1): c for c in generator.columns if c.name.startswith("hmm_")}
    theirs = {name: replace(column, name=name, lineage=("a.b",)) for name, column in known.items()}
    assert len(generator.columns) == 27
    full = generator.columns_of({}, theirs)
    assert [c.name for c in full] == [c.name for c in generator.columns]
    assert {c.lineage for c in full if c.name.startswith("hmm_")} == {("a.b",)}
    values = {name: np.arange(len(m), dtype=float) + place for place, name in enumerate(theirs)}
    both = generator.make(m, {}, values)
    assert set(both) == {c.name for c in full}
    for name in theirs:
        np.testing.assert_array_equal(both[name.replace("lifecycle_", "")], values[name])
    without: tuple[Column, ...] = generator.columns_of({}, {})
    assert {c.name for c in without} == set(made)
    assert len(without) == 22


def test_little_data_is_not_defined_and_much_is(world):
    m, made = world
    spent = m.stream.window(180, ("spend",))
    active = (spent.daily(spent.events.amount) > 0).sum(axis=1)
    year = m.stream.window(360, ("spend",)).counts
    entropy = made["ts_complex_approximate_entropy"]
    assert (np.isnan(made["ts_freq_centroid"]) == (active < 10)).all()
    assert (np.isnan(entropy) == (year < 5)).all()
    assert np.isnan(made["ts_dist_amount_skew"])[spent.counts < 5].all()
    assert 0.3 < np.mean(active >= 10) < 0.95


def test_rows_only_move_when_they_are_permuted_or_taken_alone(world):
    m, made = world
    order = np.random.default_rng(6).permutation(len(m))
    for rows in (order, order[:1], order[:7]):
        part = replace(m, rows=m.rows[rows], stream=m.stream.at(rows))
        for name, values in model_derived(shape(), policy()).make(part, {}, {}).items():
            np.testing.assert_array_equal(values, made[name][rows], err_msg=name)


@pytest.mark.parametrize(
    "name", ["ts_ar_partial2", "ts_cp_count", "ts_complex_sample_entropy", "ts_complex_permutation_entropy"]
)
def test_another_order_of_time_is_another_result(world, name: str):
    m, made = world
    again = model_derived(shape(), policy()).make(some_bank(len(m), backwards=True), {}, {})
    both = ~np.isnan(again[name]) & ~np.isnan(made[name])
    assert both.sum() > 100
    assert (again[name] != made[name])[both].mean() > 0.5
