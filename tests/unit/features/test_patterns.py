"""Patterns of 90 days against slow formulas and other libraries. Golden values: features.md 16."""

from __future__ import annotations

import math
import statistics
from datetime import date, timedelta
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.signal
from statsmodels.tsa.stattools import acf

from pipeline_lib.features import patterns, patterns_days, patterns_wave
from pipeline_lib.features.generator import GroupUnavailable
from pipeline_lib.features.stream import KINDS, NO_MERCHANT, NO_TIME, Events, Stream
from pipeline_lib.settings.feature_groups.patterns import Patterns

POLICY = Patterns(top_categories=15, min_purchases=5, min_gaps=5, min_active_days=10)
CUTOFF = (date(2026, 11, 28) - date(1970, 1, 1)).days
CATEGORIES, LEVEL2 = 12, 6
TOP = np.arange(4)
DAYS = np.arange(90)
WEEKLY = 10 + 5 * np.sin(2 * np.pi * DAYS / 7)


def purchase(age: int, mcc: int = 0, amount: float = 10.0, hour: float = 12.0, kind: str = "spend") -> dict:
    return {"age": age, "mcc": mcc, "amount": amount, "second": int(hour * 3600), "kind": kind}


def stream(*customers: list[dict], cutoff: int = CUTOFF) -> Stream:
    """One row per customer, all at one cutoff."""
    rows = [(who, e) for who, own in enumerate(customers) for e in sorted(own, key=lambda e: (-e["age"], e["second"]))]
    mcc = np.array([e["mcc"] for _, e in rows], dtype=np.uint8)
    events = Events(
        day=np.array([cutoff - e["age"] for _, e in rows], dtype=np.int32),
        second=np.array([e["second"] for _, e in rows], dtype=np.int32),
        kind=np.array([KINDS.index(e["kind"]) for _, e in rows], dtype=np.uint8),
        mcc=mcc,
        l2=mcc // 2,
        l1=mcc // 6,
        merchant=np.full(len(rows), NO_MERCHANT, dtype=np.int64),
        amount=np.array([e["amount"] for _, e in rows], dtype=np.float64),
    )
    who = np.array([who for who, _ in rows], dtype=np.int64)
    return Stream.of(who, events, np.arange(len(customers)), np.full(len(customers), cutoff, dtype=np.int32))


def made(*customers: list[dict]) -> dict[str, np.ndarray]:
    return patterns._block(stream(*customers), TOP, POLICY, CATEGORIES, LEVEL2)


def one(events: list[dict]) -> dict[str, float]:
    return {name: float(values[0]) for name, values in made(events).items()}


def random_customer(seed: int, events: int = 120) -> list[dict]:
    rng = np.random.default_rng(seed)
    return [
        purchase(int(age), int(mcc), round(float(amount), 2), float(hour))
        for age, mcc, amount, hour in zip(
            rng.integers(0, 360, events),
            rng.integers(0, CATEGORIES, events),
            rng.lognormal(3, 1, events),
            rng.uniform(0, 24, events),
            strict=True,
        )
    ]


def test_a_weekly_rhythm_has_the_golden_spectrum():
    share = patterns_wave.spectrum(WEEKLY[None, :])
    assert 90 * patterns_wave.dominant_period(share, 90) == pytest.approx([6.923], abs=1e-3)
    assert patterns_wave.weekly_power(share, 90) == pytest.approx([0.9989], abs=1e-4)
    assert patterns_wave.entropy(share) == pytest.approx([0.231], abs=5e-4)


def test_noise_has_the_golden_spectrum():
    share = patterns_wave.spectrum(np.random.default_rng(3).normal(size=(4000, 90)))
    assert patterns_wave.weekly_power(share, 90).mean() == pytest.approx(0.17, abs=0.04)
    assert patterns_wave.entropy(share).mean() == pytest.approx(0.89, abs=0.02)


def test_the_spectrum_is_the_periodogram():
    x = np.random.default_rng(4).gamma(1, 20, (5, 90))
    _, power = scipy.signal.periodogram(x, window=np.hanning(90), detrend="constant", scaling="spectrum", axis=1)
    power = power[:, 1:]
    power[:, -1] *= 2  # one-sided: the last bin of an even length is counted once
    np.testing.assert_allclose(
        patterns_wave.spectrum(x), power / power.sum(axis=1, keepdims=True), rtol=1e-9, atol=1e-15
    )


def test_coherence_and_phases_are_those_of_scipy():
    rng = np.random.default_rng(5)
    a, b = rng.gamma(1, 20, (2, 6, 90))
    _, expected = scipy.signal.coherence(a, b, nperseg=30, noverlap=15, axis=1)
    np.testing.assert_allclose(patterns_wave.coherence(a, b), expected[:, 1:].mean(axis=1), rtol=1e-9)
    za, zb = (scipy.signal.hilbert(x - x.mean(axis=1, keepdims=True), axis=1) for x in (a, b))
    step = np.exp(1j * (np.angle(za) - np.angle(zb)))
    locking, difference, together = patterns_wave.phases(a, b)
    np.testing.assert_allclose(locking, np.abs(step.mean(axis=1)), rtol=1e-9)
    np.testing.assert_allclose(difference, np.abs(np.angle(step.mean(axis=1))) / np.pi, rtol=1e-9)
    np.testing.assert_allclose(together, (np.cos(np.angle(za) - np.angle(zb)) > 0).mean(axis=1))


def test_two_series_in_step_are_locked_and_opposite_ones_are_half_a_turn_apart():
    a = WEEKLY[None, :]
    locking, difference, together = patterns_wave.phases(a, 2 * a)
    assert [locking, difference, together] == [pytest.approx([v]) for v in (1.0, 0.0, 1.0)]
    locking, difference, together = patterns_wave.phases(a, 20 - a)
    assert [locking, difference, together] == [pytest.approx([v]) for v in (1.0, 1.0, 0.0)]


def test_burstiness_and_hours_give_the_golden_numbers():
    row = np.zeros(4, dtype=np.int64)
    assert patterns_days.burstiness(row, np.array([1.0, 1, 1, 10]), 1) == pytest.approx([0.0905], abs=1e-4)
    w = stream([purchase(0, hour=h) for h in (22, 0, 2)]).window(90, ("spend",))
    assert patterns_days.circular_variance(w, 3) == pytest.approx([0.0893], abs=1e-4)


def test_autocorrelation_is_that_of_statsmodels():
    x = np.random.default_rng(6).gamma(1, 20, (40, 90))
    x[::2] += 30 * (DAYS % 14 == 3)
    found = patterns_days.recurrence(x)
    for series, lag in zip(x, found, strict=True):
        values = acf(series, nlags=30, fft=False)[list(patterns_days.LAGS)]
        expected = patterns_days.LAGS[int(values.argmax())] if values.max() > 0.1 else 0
        assert lag == expected
    assert {0.0, 14.0} <= set(found)


@pytest.mark.parametrize("seed", range(6))
def test_category_columns_are_those_of_the_sets(seed: int):
    events = random_customer(seed)
    found = one(events)
    used = {
        name: {e["mcc"] for e in events if low <= e["age"] < high}
        for name, low, high in (("w3", 0, 30), ("w2", 30, 60), ("w1", 60, 90), ("before", 90, 360), ("all", 0, 90))
    }
    older = used["w1"] | used["w2"]
    new = used["w3"] - older - used["before"]
    assert found["chem_new_category_activation_rate"] == pytest.approx(len(new) / len(used["all"]))
    back = (used["w1"] & used["w3"]) - used["w2"]
    assert found["chem_dormancy_reactivation_rate"] == pytest.approx(len(back) / len(used["w1"]))
    assert found["epi_sir_susceptible"] == pytest.approx(len(set(TOP) - used["all"]) / len(TOP))
    assert found["epi_sir_recovered"] == pytest.approx(len(older - used["w3"]) / len(used["all"]))
    ages = {k: [e["age"] for e in events if e["mcc"] == k and e["age"] < 90] for k in used["all"]}
    risen = [k for k, own in ages.items() if sum(a < 30 for a in own) > sum(a >= 30 for a in own) * 30 / 60]
    assert found["epi_sir_infected"] == pytest.approx(len(risen) / len(ages))
    assert found["epi_category_lifecycle_mean"] == pytest.approx(
        statistics.fmean(max(own) - min(own) for own in ages.values())
    )


def test_new_categories_are_counted_in_the_week_of_their_first_use():
    old = [purchase(200, mcc=0), purchase(3, mcc=0)]
    fresh = [purchase(8, mcc=1), purchase(9, mcc=2), purchase(13, mcc=3), purchase(2, mcc=3), purchase(50, mcc=4)]
    assert one(old + fresh)["epi_max_weekly_new_mcc"] == 3


@pytest.mark.parametrize("seed", range(4))
def test_daily_columns_are_the_written_formulas(seed: int):
    events = [e for e in random_customer(seed, 160) if e["age"] < 90]
    found = one(events)
    x = np.zeros(90)
    for e in events:
        x[89 - e["age"]] += e["amount"]
    w1, w2, w3 = x[:30].mean(), x[30:60].mean(), x[60:].mean()
    assert found["chem_spending_acceleration"] == pytest.approx((w3 - 2 * w2 + w1) / (x.mean() + 1))
    active = x[x > 0]
    assert found["chem_saturation_proximity"] == pytest.approx(
        min(active.max() / (active.mean() + active.std(ddof=1)), 5)
    )
    gaps = -np.diff(sorted((e["age"] for e in events), reverse=True))
    assert found["chem_spending_half_life"] == statistics.median(gaps)
    assert found["crime_burstiness"] == pytest.approx((gaps.std() - gaps.mean()) / (gaps.std() + gaps.mean()))
    logs = np.log([e["amount"] for e in events])
    z = (logs.max() - logs.mean()) / logs.std(ddof=1)
    assert found["crime_max_amount_zscore"] == pytest.approx(1 / (1 + math.exp(3 - z)))
    dates = [date(1970, 1, 1) + timedelta(days=int(CUTOFF - 89 + i)) for i in range(90)]
    early = np.mean([v for v, d in zip(x, dates, strict=True) if d.day <= 10])
    late = np.mean([v for v, d in zip(x, dates, strict=True) if d.day >= 21])
    assert found["chem_catalyst_sensitivity"] == pytest.approx(math.log((early + 1) / (late + 1)))
    weeks = [x[::-1][7 * k : 7 * k + 7].sum() for k in range(12)] + [x[:6].sum() * 7 / 6]
    above = np.array(weeks) > np.mean(weeks)
    assert found["crime_routine_breakpoint_count"] == pytest.approx((above[1:] != above[:-1]).sum() / 12)


def test_the_same_amount_every_day_has_no_breakpoint_and_no_spectrum():
    found = one([purchase(age, amount=0.1) for age in range(90)])
    assert found["crime_routine_breakpoint_count"] == 0
    assert np.isnan(found["wave_spectral_entropy"])
    assert np.isnan(found["wave_dominant_period"])


def test_pairs_are_the_two_kinds_of_shop_with_most_spend():
    rng = np.random.default_rng(8)
    events = [
        purchase(int(a), mcc, float(m), 12) for mcc, m in ((4, 50), (8, 40), (10, 1)) for a in rng.integers(0, 90, 30)
    ]
    x = np.zeros((LEVEL2, 90))
    for e in events:
        x[e["mcc"] // 2, 89 - e["age"]] += e["amount"]
    _, expected = scipy.signal.coherence(x[2], x[4], nperseg=30, noverlap=15)
    assert one(events)["wave_cross_spectral_coherence"] == pytest.approx(expected[1:].mean())
    single = one([purchase(age, mcc=4 + age % 2) for age in range(0, 90, 3)])
    assert np.isnan(single["wave_cross_spectral_coherence"])
    assert not np.isnan(single["wave_spectral_entropy"])


def test_too_little_is_no_pattern():
    assert all(np.isnan(v) for v in one([purchase(age) for age in range(4)]).values())
    assert all(np.isnan(v) for v in one([purchase(age, kind="refund") for age in range(90)]).values())
    five = one([purchase(age, amount=age + 1.0) for age in (1, 2, 40, 41, 80)])
    assert np.isnan(five["crime_burstiness"])  # four gaps
    assert not np.isnan(five["chem_spending_acceleration"])


def test_unknown_times_leave_the_hour_undefined_and_nothing_else():
    dated = [{**purchase(age, mcc=age % 3, amount=10 + age % 5), "second": NO_TIME} for age in range(0, 90, 2)]
    undefined = {name for name, value in one(dated).items() if np.isnan(value)}
    assert undefined == {"crime_circular_variance"}


def test_a_customer_is_the_same_alone_and_in_company():
    people = [random_customer(seed, 20 + 30 * (seed % 5)) for seed in range(23)] + [[], [purchase(3)]]
    together = made(*people)
    for k in (0, 7, 22, 23, 24):
        for name, values in made(people[k]).items():
            np.testing.assert_array_equal(values[0], together[name][k], err_msg=name)


def test_columns_are_declared_in_order_and_routed_by_prefix():
    assert len(patterns.COLUMNS) == 24
    prefixes = [column.name.split("_")[0] for column in patterns.COLUMNS]
    assert [prefixes.count(p) for p in ("chem", "epi", "crime", "wave")] == [6, 5, 5, 8]
    assert set(made(random_customer(1))) == {column.name for column in patterns.COLUMNS}


def test_top_categories_are_learnt_from_90_days_ties_by_number():
    m = Rows(stream([purchase(1, 5), purchase(2, 5), purchase(3, 7), purchase(4, 2), *[purchase(200, 9)] * 9]))
    assert patterns._top(m, 2, CATEGORIES).tolist() == [5, 2]
    with pytest.raises(GroupUnavailable, match="no purchase"):
        patterns._top(Rows(stream([purchase(200)])), 2, CATEGORIES)


class Rows(SimpleNamespace):
    def __init__(self, events: Stream) -> None:
        super().__init__(stream=events)

    def __len__(self) -> int:
        return len(self.stream.cutoff)
