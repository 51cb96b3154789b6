"""The bank of the gate's tests, with a policy that asks for fewer answers."""

import pytest

from pipeline_lib.settings import Settings
from tests.unit.gate.conftest import policy, world
from tests.unit.gate.promotion_world import World

__all__ = ["policy", "world"]
ENOUGH = 100
"""Answers that a reading needs here."""


@pytest.fixture
def small(policy: Settings, world: World) -> World:
    """Readings on a hundred answers instead of a thousand; every limit as shipped."""
    limits = policy.monitoring
    drift = limits.drift.model_copy(update={"min_rows": ENOUGH})
    fairness = limits.fairness.model_copy(update={"min_group": ENOUGH})
    monitoring = limits.model_copy(update={"drift": drift, "fairness": fairness})
    return World(world.settings.model_copy(update={"monitoring": monitoring}))
