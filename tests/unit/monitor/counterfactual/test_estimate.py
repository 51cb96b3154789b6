"""Estimators against the truth of simulated logs: bias, coverage, double robustness, and what each is immune to."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.bandit_world import ITEMS, Log, World
from pipeline_lib.monitor.counterfactual import rewards
from pipeline_lib.monitor.counterfactual.bootstrap import Bootstrap, interval
from pipeline_lib.monitor.counterfactual.estimate import Ratio, doubly_robust, ips, logged_mean, snips
from pipeline_lib.monitor.counterfactual.weights import Array, importance
from tests.unit.monitor.counterfactual.simulated import LIMITS, WIDE

SIMULATIONS, CUSTOMERS = 300, 700
NAMES = ("ips", "snips", "dr")
LAMBDA = LIMITS.counterfactual.ridge


def estimators(log: Log, mu: Array | None = None, q: Array | None = None) -> dict[str, Ratio]:
    """All three, with the log's propensities and a cross-fitted q unless given others."""
    at, items = np.arange(len(log.reward)), np.tile(np.arange(ITEMS), (len(log.reward), 1))
    w = importance(log.logged_pi, log.logged_mu if mu is None else mu)
    if q is None:
        folds = rewards.folds_of(log.customers, 5, 1)
        q = rewards.cross_fitted(log.x, log.scores, items, log.action, log.reward, folds, LAMBDA)
    dr = doubly_robust(log.pi, q, q[at, log.action], w, log.reward)
    return {"ips": ips(w, log.reward), "snips": snips(w, log.reward), "dr": dr}


@cache
def simulations() -> tuple[Array, Array, Array]:
    """(S, 3) lifts, lower and upper ends of SIMULATIONS simulated windows."""
    found = np.empty((SIMULATIONS, 3, 3))
    for s in range(SIMULATIONS):
        log = WIDE.log(CUSTOMERS, s)
        ratios, base = list(estimators(log).values()), logged_mean(log.reward)
        values = Bootstrap(log.customers, 200, s).values([*ratios, base])
        for i, ratio in enumerate(ratios):
            span = interval(values[:, i] - values[:, 3], 0.05)
            assert span
            assert ratio.value is not None
            assert base.value is not None
            found[s, i] = ratio.value - base.value, span.low, span.high
    return found[:, :, 0], found[:, :, 1], found[:, :, 2]


@cache
def true_lift() -> float:
    champion, challenger = WIDE.values()
    return challenger - champion


@pytest.mark.parametrize("name", NAMES)
def test_the_95_percent_interval_holds_the_truth_in_95_percent_of_windows(name: str) -> None:
    _, low, high = (values[:, NAMES.index(name)] for values in simulations())
    covered = float(np.mean((low <= true_lift()) & (true_lift() <= high)))
    assert 0.92 <= covered <= 0.98  # 95 % and 2.4 standard errors of a share of 300


@pytest.mark.parametrize("name", NAMES)
def test_the_estimate_is_right_on_average(name: str) -> None:
    lifts = simulations()[0][:, NAMES.index(name)]
    assert abs(lifts.mean() - true_lift()) < 3 * lifts.std() / np.sqrt(SIMULATIONS)


def test_doubly_robust_and_snips_are_narrower_than_ips() -> None:
    spread = simulations()[0].std(axis=0)
    assert max(spread[1:]) < spread[0]


def mean_dr(mu_wrong: bool, q_wrong: bool) -> tuple[float, float]:
    """Mean of the doubly robust value over 100 windows, and its standard error."""
    values = []
    for s in range(100):
        log = WIDE.log(CUSTOMERS, s)
        mu = np.sqrt(log.logged_mu) if mu_wrong else None
        q = np.full_like(log.truth, 0.9) if q_wrong else log.truth
        values.append(estimators(log, mu, q)["dr"].value)
    return float(np.mean(values)), float(np.std(values) / 10)


@pytest.mark.parametrize(("mu_wrong", "q_wrong"), [(False, False), (False, True), (True, False)])
def test_doubly_robust_is_right_when_propensities_or_rewards_are(mu_wrong: bool, q_wrong: bool) -> None:
    found, error = mean_dr(mu_wrong, q_wrong)
    assert abs(found - WIDE.values()[1]) < 3 * error


def test_doubly_robust_is_wrong_when_both_are() -> None:
    found, error = mean_dr(mu_wrong=True, q_wrong=True)
    assert abs(found - WIDE.values()[1]) > 10 * error


def test_the_baseline_averages_over_the_challengers_actions() -> None:
    """Two answers, shown item 0; the challenger would show item 1. At the logged action the baseline would be 0.2."""
    pi, q = np.array([[0.0, 1.0]] * 2), np.array([[0.2, 0.6]] * 2)
    found = doubly_robust(pi, q, q[:, 0], np.zeros(2), np.array([1.0, 0.0]))
    assert found.value == pytest.approx(0.6)


def test_a_baseline_at_the_logged_action_would_always_say_no_change() -> None:
    """Why the line above matters: with a good q that formula returns the logging policy's value, whoever is judged."""
    log = WIDE.log(20_000, 1)
    q = log.truth[np.arange(len(log.reward)), log.action]
    defect = Ratio(q + importance(log.logged_pi, log.logged_mu) * (log.reward - q), np.ones_like(q)).value
    champion, challenger = WIDE.values()
    assert abs((defect or 0) - champion) < 0.01 < abs((defect or 0) - challenger)


@given(st.floats(-3, 3), st.integers(0, 50))
def test_a_shift_of_the_reward_shifts_snips_as_much_and_ips_by_another_amount(shift: float, seed: int) -> None:
    log = WIDE.log(50, seed)
    w = importance(log.logged_pi, log.logged_mu)
    before, after = snips(w, log.reward).value, snips(w, log.reward + shift).value
    assert after == pytest.approx((before or 0) + shift)
    moved = (ips(w, log.reward + shift).value or 0) - (ips(w, log.reward).value or 0)
    assert moved == pytest.approx(shift * w.mean())


def test_a_model_that_does_the_same_has_the_logged_mean() -> None:
    log = World(epsilon=0.3, skill=0.0).log(500, 1)
    assert np.allclose(log.pi, log.mu)
    mean = log.reward.mean()
    assert [estimators(log)[name].value for name in ("ips", "snips")] == pytest.approx([mean, mean])


def test_the_golden_values() -> None:
    """w = 2, 0.5, 0; r = 1, 1, 0: IPS 2.5 / 3, SNIPS 2.5 / 2.5."""
    w = importance(np.array([0.8, 0.2, 0.0]), np.array([0.4, 0.4, 0.2]))
    reward = np.array([1.0, 1.0, 0.0])
    assert w == pytest.approx([2, 0.5, 0])
    assert ips(w, reward).value == pytest.approx(2.5 / 3)
    assert snips(w, reward).value == pytest.approx(1)
    assert snips(np.zeros(3), reward).value is None


def test_the_order_of_answers_changes_nothing() -> None:
    log = WIDE.log(200, 3)
    at = np.random.default_rng(1).permutation(len(log.reward))
    w = importance(log.logged_pi, log.logged_mu)
    assert snips(w[at], log.reward[at]).value == pytest.approx(snips(w, log.reward).value)
    one, other = Bootstrap(log.customers, 50, 1), Bootstrap(log.customers[at], 50, 1)
    same = one.values([snips(w, log.reward)]), other.values([snips(w[at], log.reward[at])])
    assert np.allclose(*same)


def test_customers_are_drawn_whole_and_the_seed_decides() -> None:
    """Every customer's answers repeated: ten times the answers, and not a narrower interval."""
    log = WIDE.log(400, 1)
    ten = np.repeat(np.arange(len(log.reward)), 10)
    spans = [
        Bootstrap(who, 200, 5).difference(logged_mean(r), logged_mean(np.zeros_like(r)), 0.05)
        for who, r in ((log.customers, log.reward), (log.customers[ten], log.reward[ten]))
    ]
    assert spans[0] == spans[1]
    other = Bootstrap(log.customers, 200, 6).difference(logged_mean(log.reward), logged_mean(0 * log.reward), 0.05)
    assert other != spans[0]


def test_the_reward_of_a_customer_never_reaches_its_own_q() -> None:
    log = WIDE.log(300, 2)
    items, folds = np.tile(np.arange(ITEMS), (len(log.reward), 1)), rewards.folds_of(log.customers, 5, 1)
    mine = log.customers == 7
    changed = np.where(mine, 1 - log.reward, log.reward)
    q, other = (
        rewards.cross_fitted(log.x, log.scores, items, log.action, r, folds, LAMBDA) for r in (log.reward, changed)
    )
    assert np.array_equal(q[mine], other[mine])
    assert not np.array_equal(q[~mine], other[~mine])
    assert len({*folds[mine].tolist()}) == 1


def test_a_learnt_q_says_something_about_acceptance() -> None:
    log = WIDE.log(3_000, 2)
    items, folds = np.tile(np.arange(ITEMS), (len(log.reward), 1)), rewards.folds_of(log.customers, 5, 1)
    q = rewards.cross_fitted(log.x, log.scores, items, log.action, log.reward, folds, LAMBDA)
    assert np.corrcoef(q.ravel(), log.truth.ravel())[0, 1] > 0.5


def test_a_place_without_a_candidate_expects_nothing() -> None:
    log = WIDE.log(100, 2)
    items, folds = np.tile(np.arange(ITEMS), (len(log.reward), 1)), rewards.folds_of(log.customers, 5, 1)
    items[log.action != 2, 2] = -1
    q = rewards.cross_fitted(log.x, log.scores, items, log.action, log.reward, folds, LAMBDA)
    assert (q[items == -1] == 0).all()
