"""The customer as a gambler among categories: how widely he tries, how firmly he stays.

Arms are level-2 categories; a pull is a purchase, its reward ln1p of the amount. Source: features.md 11.1; the upper
confidence bound is UCB1 of Auer, Cesa-Bianchi and Fischer, 2002.
"""

from __future__ import annotations

import numpy as np

from pipeline_lib.features.columns import Floats, Values, nan_where, ratio
from pipeline_lib.features.series.blocks import per_row
from pipeline_lib.features.stream import Window

BANDIT = ("bandit_exploration_rate", "bandit_exploitation", "bandit_ucb", "bandit_regret")
ARMS = 64
"""The daily table holds level-2 ids up to 62; a fixed width keeps sums the same in any batch."""


def bandit(purchases: Window, min_events: int) -> Values:
    """Four columns [R]; fewer than ``min_events`` purchases: NaN."""
    rows = len(purchases)
    arm = purchases.row * ARMS + purchases.events.l2
    pulls = per_row(arm, rows * ARMS).reshape(rows, ARMS)
    reward = per_row(arm, rows * ARMS, np.log1p(purchases.events.amount)).reshape(rows, ARMS)
    total = purchases.counts.astype(np.float64)
    share, mean = ratio(pulls, np.broadcast_to(total[:, None], pulls.shape)), ratio(reward, pulls)
    bound = mean + np.sqrt(2.0 * ratio(np.broadcast_to(np.log(np.maximum(total, 1))[:, None], pulls.shape), pulls))
    made = {
        "bandit_exploration_rate": 1.0 - (share**2).sum(axis=1),
        "bandit_exploitation": share.max(axis=1),
        "bandit_ucb": _largest(bound),
        "bandit_regret": _largest(mean) - ratio(reward.sum(axis=1), total),
    }
    return {name: nan_where(total < min_events, values) for name, values in made.items()}


def _largest(values: Floats) -> Floats:
    """Largest over the arms that were pulled; -inf without any."""
    largest: Floats = np.where(np.isnan(values), -np.inf, values).max(axis=1)
    return largest
