"""What is optimised at which rate.

Groups partition the trainable parameters: one per (rate, decayed or not), log-variances apart. Weights of linear and
convolution layers decay; biases, norms, embeddings, gate priors, scan and graph parameters do not. Source: teacher.md
section 15.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from pipeline_lib.teacher.layers import TaskLinear
from pipeline_lib.teacher.model import Teacher
from pipeline_lib.teacher.weighting import UncertaintyWeights


@dataclass(frozen=True)
class Rates:
    """Peak learning rates. ``experts`` holds exceptions from ``base``."""

    base: float
    experts: Mapping[str, float]
    log_variance: float
    decay: float


def build_optimiser(model: Teacher, weighting: UncertaintyWeights, rates: Rates) -> torch.optim.AdamW:
    """AdamW; every group remembers its ``peak`` rate for the schedule."""
    layers = (m for m in model.modules() if isinstance(m, (nn.Linear, nn.Conv1d, TaskLinear)))
    decayed = {id(layer.weight) for layer in layers}
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        parts = name.split(".")
        rate = rates.experts.get(parts[1], rates.base) if parts[0] == "experts" else rates.base
        groups.setdefault((rate, rates.decay if id(parameter) in decayed else 0.0), []).append(parameter)
    described = [{"params": ps, "lr": rate, "peak": rate, "weight_decay": d} for (rate, d), ps in groups.items()]
    own = {
        "params": [weighting.log_variance],
        "lr": rates.log_variance,
        "peak": rates.log_variance,
        "weight_decay": 0.0,
    }
    return torch.optim.AdamW([*described, own], betas=(0.9, 0.999))


def rate_share(step: int, steps: int, warmup: float, final: float) -> float:
    """Share of the peak rate at a step: linear from 0.1 to 1 in the warm-up, then one cosine down to ``final``."""
    rising = max(1, round(steps * warmup))
    if step < rising:
        return 0.1 + 0.9 * step / rising
    at = min(1.0, (step - rising) / max(1, steps - rising))
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * at))


def set_rates(optimiser: torch.optim.Optimizer, share: float) -> None:
    for group in optimiser.param_groups:
        group["lr"] = group["peak"] * share
