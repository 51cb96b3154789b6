"""Bandit statistics by hand."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline_lib.features.bandit import BANDIT, bandit
from tests.unit.features.event_world import make_events, material, some_bank


def test_two_arms_by_hand():
    """Level-2 categories 0 (twice 9, once 99) and 1 (twice 999), a refund that is no pull, a purchase too old."""
    rows = [make_events([95, 9, 8, 7, 6, 5, 4], [1e6, 9, 9, 99, 999, 999, 5], [4, 0, 1, 0, 2, 3, 0],
                        ["spend"] * 6 + ["refund"])]  # fmt: skip
    made = {name: float(values[0]) for name, values in bandit(window(rows), 5).items()}
    means = [(2 * np.log(10) + np.log(100)) / 3, np.log(1000)]
    assert made["bandit_exploration_rate"] == pytest.approx(1 - (0.36 + 0.16))
    assert made["bandit_exploitation"] == pytest.approx(0.6)
    assert made["bandit_ucb"] == pytest.approx(means[1] + np.sqrt(2 * np.log(5) / 2))
    assert made["bandit_regret"] == pytest.approx(means[1] - 0.6 * means[0] - 0.4 * means[1])


def test_one_arm_has_nothing_to_regret():
    made = bandit(window([make_events([5, 4, 3, 2, 1])]), 5)
    assert made["bandit_exploration_rate"] == made["bandit_regret"] == 0
    assert made["bandit_exploitation"] == 1


def test_fewer_than_five_purchases_say_nothing():
    made = bandit(window([make_events([4, 3, 2, 1]), make_events([])]), 5)
    assert all(np.isnan(values).all() for values in made.values())


def test_no_two_statistics_are_one_number():
    """F11: on shares alone they would be."""
    made = bandit(some_bank(300).stream.window(90, ("spend",)), 5)
    known = ~np.isnan(made["bandit_ucb"])
    ranks = np.corrcoef([np.argsort(np.argsort(made[name][known])) for name in BANDIT])
    assert known.sum() > 100
    assert np.abs(ranks[~np.eye(len(BANDIT), dtype=bool)]).max() < 0.995


def window(rows):
    return material(rows).stream.window(90, ("spend",))
