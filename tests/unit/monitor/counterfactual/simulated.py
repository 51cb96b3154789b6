"""Simulated logs as trials, and the shipped policy with smaller samples."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.bandit_world import ITEMS, Log, World
from pipeline_lib import settings
from pipeline_lib.monitor.counterfactual.trials import Trials
from pipeline_lib.settings import Place
from pipeline_lib.settings.monitoring import Monitoring
from pipeline_lib.settings.promotion import Counterfactual as Policy

SHIPPED = settings.load("synthetic", Place(dataset="synthetic"))
LIMITS: Monitoring = SHIPPED.monitoring
WIDE = World(epsilon=0.7)
"""A log that supports the challenger: no weight is clipped."""


def policy(**changed: Any) -> Policy:
    return SHIPPED.promotion.counterfactual.model_copy(update={"n_bootstrap": 200, **changed})


def trials_of(log: Log, **changed: Any) -> Trials:
    """The champion gave all answers itself, as in a week without a promotion."""
    n = len(log.reward)
    known: dict[str, Any] = {
        "customers": log.customers,
        "by_champion": np.ones(n, dtype=bool),
        "drawn": np.ones(n, dtype=bool),
        "items": np.tile(np.arange(ITEMS), (n, 1)),
        "names": tuple(f"item {a}" for a in range(ITEMS)),
        "scores": log.scores,
        "mu": log.mu,
        "champion": log.mu,
        "challenger": log.pi,
        "action": log.action,
        "reward": log.reward,
        "x": log.x,
        "groups": {"gender": np.where(log.customers % 2 == 0, "M", "F")},
    }
    return Trials(**{**known, **changed})
