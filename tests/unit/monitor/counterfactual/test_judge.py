"""Verdicts: what each is given for, when an answer is refused, and that the refusal says why."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from benchmarks.bandit_world import World
from pipeline_lib.monitor.counterfactual import judge
from pipeline_lib.monitor.counterfactual.judge import Finding
from pipeline_lib.monitor.counterfactual.trials import Trials
from pipeline_lib.monitor.counterfactual.weights import clipped_mass, effective_size, importance, support
from tests.unit.monitor.counterfactual.simulated import LIMITS, WIDE, policy, trials_of

LOG = WIDE.log(3_000, 1)


def judged(trials: Trials, **changed: Any) -> Finding:
    return judge.judge(trials, policy(**changed), LIMITS)


def swapped(trials: Trials) -> Trials:
    """As if the better model had been the champion: rewards are redrawn for its own answers."""
    rng = np.random.default_rng(5)
    action = (LOG.pi.cumsum(axis=1) < rng.random(len(trials))[:, None]).sum(axis=1)
    reward = (rng.random(len(trials)) < LOG.truth[np.arange(len(trials)), action]).astype(np.float64)
    return replace(trials, mu=LOG.pi, champion=LOG.pi, challenger=LOG.mu, action=action, reward=reward)


@pytest.mark.parametrize("estimator", ["ips", "snips", "dr"])
def test_a_better_challenger_is_better_and_the_worse_one_worse(estimator: str) -> None:
    better, worse = judged(trials_of(LOG), estimator=estimator), judged(swapped(trials_of(LOG)), estimator=estimator)
    assert (better.verdict, worse.verdict) == ("BETTER", "WORSE")
    assert better.estimates[estimator]["low"] > 0 > worse.estimates[estimator]["high"]
    assert better.numbers["seed"] == LIMITS.counterfactual.seed


def test_the_same_model_is_inconclusive() -> None:
    found = judged(trials_of(LOG, challenger=LOG.mu))
    assert (found.verdict, found.estimates["snips"]["lift"]) == ("INCONCLUSIVE", 0)


def test_a_lift_below_the_policys_is_not_better() -> None:
    lift = judged(trials_of(LOG)).estimates["snips"]["lift"]
    assert judged(trials_of(LOG), min_lift=lift * 0.99).verdict == "BETTER"
    assert judged(trials_of(LOG), min_lift=lift * 1.01).verdict == "INCONCLUSIVE"


def test_the_finding_is_the_same_twice_and_says_what_it_rests_on() -> None:
    one, other = judged(trials_of(LOG)), judged(trials_of(LOG))
    assert one == other
    assert one.estimates.keys() == {"ips", "snips", "dr"}
    assert [row["clip"] for row in one.clipping] == [5, 10, 20, 50, 100]
    assert one.numbers["answers"] == 6_000
    assert one.numbers["customers"] == 3_000


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"min_ess": 10**6}, "effective sample size"),
        ({"min_ess_ratio": 0.9}, "effective share"),
    ],
)
def test_too_small_a_sample_is_refused(changed: dict[str, Any], why: str) -> None:
    found = judged(trials_of(LOG), **changed)
    assert (found.verdict, why in found.reason) == ("INSUFFICIENT_SUPPORT", True)


def test_a_challenger_that_shows_what_was_never_shown_is_refused() -> None:
    """Half of its probability is on a candidate that could not be drawn: the mean weight is a half."""
    n = len(LOG.reward)
    grown = {name: np.hstack([getattr(LOG, name), np.zeros((n, 1))]) for name in ("mu", "scores")}
    pi = np.hstack([LOG.mu / 2, np.full((n, 1), 0.5)])
    trials = trials_of(
        LOG, mu=grown["mu"], champion=grown["mu"], scores=grown["scores"], challenger=pi,
        items=np.tile(np.arange(7), (n, 1)), names=tuple("abcdefg"),
    )  # fmt: skip
    found = judged(trials)
    assert (found.verdict, found.support["challenger"].outside) == ("INSUFFICIENT_SUPPORT", pytest.approx(0.5))
    assert "mean weight 0.500" in found.reason


def test_one_answer_with_much_of_the_weight_is_refused() -> None:
    mu, champion = LOG.mu.copy(), LOG.mu.copy()
    mu[0, LOG.action[0]] = champion[0, LOG.action[0]] = 1e-6
    found = judged(trials_of(LOG, mu=mu, champion=champion), min_ess=1, min_ess_ratio=1e-6)
    assert (found.verdict, "one answer has" in found.reason) == ("INSUFFICIENT_SUPPORT", True)


def test_a_value_that_hangs_on_clipped_weights_is_unstable() -> None:
    narrow = World(epsilon=0.3).log(8_000, 1)
    found = judged(trials_of(narrow), min_ess_ratio=0.02)
    assert (found.verdict, found.support["challenger"].clipped_mass > 0.05) == ("UNSTABLE", True)
    assert found.clipping[0]["snips"] != found.clipping[-1]["snips"]


def test_answers_of_an_earlier_champion_are_weighted_for_both() -> None:
    """The log is an older model's; champion and challenger are the same, so the lift is 0 whatever the weights."""
    found = judged(trials_of(LOG, by_champion=np.zeros(len(LOG.reward), dtype=bool), champion=LOG.pi))
    assert found.support["champion"].ess == found.support["challenger"].ess < len(LOG.reward)
    assert found.estimates["snips"]["lift"] == 0


def test_a_replay_that_does_not_give_the_log_back_is_no_replay() -> None:
    few, many = LOG.mu.copy(), LOG.mu.copy()
    few[:20], many[:100] = LOG.pi[:20], LOG.pi[:100]
    assert judged(trials_of(LOG, champion=few)).numbers["unreproduced"] == 20
    found = judged(trials_of(LOG, champion=many))
    assert (found.verdict, "100 of its 6000" in found.reason) == ("UNAVAILABLE", True)


@pytest.mark.parametrize("missing", ["everything", "drawn", "reward"])
def test_nothing_to_judge_is_said(missing: str) -> None:
    none = np.zeros(len(LOG.reward), dtype=bool)
    trials = {
        "everything": trials_of(LOG).where(none),
        "drawn": trials_of(LOG, drawn=none),
        "reward": trials_of(LOG, reward=np.full(len(LOG.reward), np.nan)),
    }[missing]
    found = judged(trials)
    assert (found.verdict, found.estimates) == ("UNAVAILABLE", {})
    assert "no answer has a propensity, a known outcome" in found.reason


def test_what_would_be_shown_is_known_without_outcomes() -> None:
    """An incident with a deterministic log: no verdict on outcomes, and still who would be shown what."""
    unknown = trials_of(LOG, reward=np.full(len(LOG.reward), np.nan))
    found = judge.judge(unknown, policy(), LIMITS, "no outcome feed")
    assert (found.verdict, found.reason) == ("UNAVAILABLE", "no outcome feed")
    assert {one.model for one in found.fairness} == {"champion", "challenger"}
    assert {one.about.split(":")[0] for one in found.fairness} == {"shown"}
    known = [one for one in judged(trials_of(LOG)).fairness if one.about.startswith("shown")]
    assert list(found.fairness) == known


def test_an_answer_without_a_known_outcome_is_left_out_and_is_no_zero() -> None:
    half = np.where(np.arange(len(LOG.reward)) < 3_000, LOG.reward, np.nan)
    found = judged(trials_of(LOG, reward=half))
    alone = judged(trials_of(LOG).where(np.isfinite(half)))
    assert found.estimates == alone.estimates
    assert found.numbers["answers"] == 3_000


def test_a_propensity_of_zero_is_an_error_and_never_a_weight() -> None:
    with pytest.raises(ValueError, match="propensities"):
        importance(np.array([0.5]), np.array([0.0]))
    with pytest.raises(ValueError, match="propensities"):
        importance(np.array([0.5]), np.array([np.nan]))


def test_the_golden_weights() -> None:
    """Weights 1, 1, 2: (4)^2 / 6 = 2.667; clipping at 1.5 cuts 0.5 of 4."""
    w = np.array([1.0, 1.0, 2.0])
    assert effective_size(w) == pytest.approx(16 / 6)
    assert clipped_mass(w, 1.5) == pytest.approx(0.125)
    assert clipped_mass(np.zeros(3), 1.5) is None
    found = support(w, np.full((3, 1), 0.5), np.ones((3, 1)), 1.5)
    assert (found.mean, found.max_share, found.silent) == pytest.approx((4 / 3, 0.5, 0.5))
    assert support(np.zeros(3), np.zeros((3, 1)), np.ones((3, 1)), 10).lacks(policy(), LIMITS.counterfactual)
