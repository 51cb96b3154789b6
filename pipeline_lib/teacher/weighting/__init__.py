"""How the task losses become one: ``build_weighting`` and what it returns. Source: teacher.md section 11."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline_lib.settings.teacher import training as policies
from pipeline_lib.teacher.contract import TaskSpec
from pipeline_lib.teacher.weighting.base import FixedWeights, Weighted, Weighting
from pipeline_lib.teacher.weighting.dwa import DynamicAverage
from pipeline_lib.teacher.weighting.gradnorm import GradNorm
from pipeline_lib.teacher.weighting.uncertainty import UncertaintyWeights

__all__ = [
    "DynamicAverage",
    "FixedWeights",
    "GradNorm",
    "UncertaintyWeights",
    "Weighted",
    "Weighting",
    "build_weighting",
]


def build_weighting(tasks: Sequence[TaskSpec], policy: policies.Weighting) -> Weighting:
    """The configured method over the tasks, in their order. ``uniform`` alone passes over the fixed weights."""
    names, weights = [task.name for task in tasks], [task.weight for task in tasks]
    if policy.method == "uniform":
        return FixedWeights(names, [1.0] * len(names))
    if policy.method == "fixed":
        return FixedWeights(names, weights)
    if policy.method == "gradnorm":
        return GradNorm(names, weights, policy.gradnorm_alpha, policy.gradnorm_rate)
    if policy.method == "dwa":
        return DynamicAverage(names, weights, policy.dwa_temperature)
    low, high = policy.log_variance_range
    lower = [policy.focal_log_variance_floor if task.kind == "binary" else low for task in tasks]
    return UncertaintyWeights(names, weights, lower, high)
