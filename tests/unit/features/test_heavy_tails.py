"""Heavy tails as features.md 12.1 measured them, against scipy's moments."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from pipeline_lib.features.columns import Column
from pipeline_lib.features.generator import GroupUnavailable
from pipeline_lib.features.heavy_tails import generator, heavy_tailed, rank_fit, sample_moments
from pipeline_lib.settings.feature_groups.assembly import HeavyTails

LIMITS = HeavyTails(min_values=50, min_distinct=20, skew=2.0, excess_kurtosis=6.0, rank_fit=0.90)
N = 20_000


def rng() -> np.random.Generator:
    return np.random.default_rng(11)


def drawn(name: str) -> np.ndarray:
    r = rng()
    return {
        "pareto 1.5": lambda: r.pareto(1.5, N) + 1,
        "pareto 3": lambda: r.pareto(3.0, N) + 1,
        "lognormal 1": lambda: r.lognormal(0, 1.0, N),
        "zipf": lambda: r.zipf(2.0, N).astype(float),
        "weibull .6": lambda: r.weibull(0.6, N),
        "zero-inflated lognormal": lambda: r.lognormal(0, 1.0, N) * (r.random(N) < 0.4),
        "lognormal .5": lambda: r.lognormal(0, 0.5, N),
        "gamma .5": lambda: r.gamma(0.5, 1.0, N),
        "normal": lambda: r.normal(10, 1, N),
        "uniform": lambda: r.random(N),
    }[name]()


@pytest.mark.parametrize(
    "name", ["pareto 1.5", "pareto 3", "lognormal 1", "zipf", "weibull .6", "zero-inflated lognormal"]
)
def test_a_heavy_tail_passes(name: str):
    assert heavy_tailed(drawn(name), LIMITS)


@pytest.mark.parametrize("name", ["lognormal .5", "gamma .5", "normal", "uniform"])
def test_a_light_tail_fails(name: str):
    assert not heavy_tailed(drawn(name), LIMITS)


def test_the_moments_are_the_corrected_ones():
    x = drawn("lognormal 1")[:500]
    skew, excess = sample_moments(x)
    assert skew == pytest.approx(stats.skew(x, bias=False))
    assert excess == pytest.approx(stats.kurtosis(x, bias=False))


def test_undefined_values_and_their_number_do_not_decide():
    x = drawn("pareto 1.5")
    assert heavy_tailed(np.concatenate([x, np.full(N, np.nan)]), LIMITS)


@pytest.mark.parametrize(
    "values",
    [
        np.full(100, np.nan),
        np.zeros(100),
        -drawn("pareto 1.5"),
        drawn("pareto 1.5")[:49],
        np.repeat([1.0, 1e6], [990, 10]),
    ],
    ids=["undefined", "constant", "negative", "too few", "two values"],
)
def test_what_cannot_have_a_tail(values: np.ndarray):
    assert not heavy_tailed(values, LIMITS)


def test_a_power_law_is_a_line():
    ascending = np.arange(1000, 0, -1.0) ** -0.7
    assert rank_fit(ascending) == pytest.approx(1.0)


def test_copies_are_ln1p_of_num_columns_only():
    columns = {
        "spend": Column("spend", "num", ("t.amount",)),
        "age": Column("age", "num", ("t.age",)),
        "p": Column("p", "prob", ("t.amount",)),
    }
    made = {"spend": drawn("pareto 1.5"), "age": drawn("normal"), "p": drawn("pareto 1.5")}
    group = generator({"own": columns}, LIMITS)
    learnt = group.fit(None, made)
    assert [column.name for column in group.columns_of(learnt, columns)] == ["spend__log"]
    copies = group.make(None, learnt, made)
    assert list(copies) == ["spend__log"]
    assert np.array_equal(copies["spend__log"], np.log1p(made["spend"]))


def test_no_tail_no_group():
    group = generator({"own": {"age": Column("age", "num", ("t.age",))}}, LIMITS)
    with pytest.raises(GroupUnavailable, match="no column has a heavy tail"):
        group.fit(None, {"age": drawn("normal")})
