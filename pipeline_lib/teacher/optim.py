"""What is optimised at which rate.

Groups partition the trainable parameters: one per (rate, decayed or not), log-variances apart. Weights of linear and
convolution layers decay; biases, norms, embeddings, gate priors, scan and graph parameters do not. Frozen parameters
and modules with their own optimiser are in no group. Source: teacher.md section 15.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import nn

from pipeline_lib.errors import SettingsError
from pipeline_lib.settings.teacher import EXPERTS
from pipeline_lib.teacher.layers import TaskLinear
from pipeline_lib.teacher.seq.scan import CausalConv
from pipeline_lib.teacher.weighting import Weighting

STRUCTURE: dict[str, tuple[str, ...]] = {
    "causal_edges": ("experts.causal.edges_raw",),
    "ot_points": ("experts.optimal_transport.support", "experts.optimal_transport.prototypes"),
}
"""Structure -> its parameters, which keep a rate of their own inside their expert."""


@dataclass(frozen=True)
class Rates:
    """Peak learning rates. ``experts`` and ``structure`` hold exceptions from ``base``, ``decay`` is AdamW's."""

    base: float
    experts: Mapping[str, float]
    structure: Mapping[str, float]
    log_variance: float
    decay: float

    def scaled(self, share: float) -> Rates:
        """All but the log-variances' times ``share``: a later phase starts lower."""
        return replace(
            self,
            base=self.base * share,
            experts={name: rate * share for name, rate in self.experts.items()},
            structure={name: rate * share for name, rate in self.structure.items()},
        )


def build_optimiser(
    model: nn.Module, weighting: Weighting, rates: Rates, apart: Collection[str] = ()
) -> torch.optim.AdamW:
    """AdamW; every group remembers its ``peak`` rate for the schedule.

    ``apart`` names the model's direct children that have an optimiser of their own: heads off the main path.

    Raises:
        SettingsError: a rate names an expert or a structure that does not exist, or ``apart`` no child.
    """
    _require_known(model, rates, apart)
    layers = (m for m in model.modules() if isinstance(m, (nn.Linear, nn.Conv1d, CausalConv, TaskLinear)))
    decayed = {id(layer.weight) for layer in layers}
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in _trainable(model):
        if name.split(".")[0] not in apart:
            decay = rates.decay if id(parameter) in decayed else 0.0
            groups.setdefault((rate_of(name, rates), decay), []).append(parameter)
    described = [_group(ps, rate, decay) for (rate, decay), ps in groups.items()]
    own = [parameter for _, parameter in _trainable(weighting)]
    return torch.optim.AdamW([*described, *([_group(own, rates.log_variance, 0.0)] if own else [])], betas=(0.9, 0.999))


def rate_of(name: str, rates: Rates) -> float:
    """Peak rate of a parameter of the model by its name: structure, else expert, else base."""
    for structure, members in STRUCTURE.items():
        if name in members and structure in rates.structure:
            return rates.structure[structure]
    parts = name.split(".")
    return rates.experts.get(parts[1], rates.base) if parts[0] == "experts" else rates.base


def rate_share(
    step: int, steps: int, warmup: float, final: float, schedule: str = "cosine", restart_steps: int = 1
) -> float:
    """Share of the peak rate at a step: linear from 0.1 to 1 in the warm-up, then a cosine down to ``final``.

    ``cosine``: one over the rest of the run. ``restarts``: over ``restart_steps``, twice that, four times that ...
    steps, each from the peak again. Paper: Loshchilov and Hutter, "SGDR", ICLR 2017.
    """
    rising = max(1, round(steps * warmup))
    if step < rising:
        return 0.1 + 0.9 * step / rising
    since, period = step - rising, max(1, steps - rising)
    if schedule == "restarts":
        period = restart_steps
        while since >= period:
            since, period = since - period, period * 2
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * min(1.0, since / period)))


def set_rates(optimiser: torch.optim.Optimizer, share: float) -> None:
    for group in optimiser.param_groups:
        group["lr"] = group["peak"] * share


def _trainable(module: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    return ((name, p) for name, p in module.named_parameters() if p.requires_grad)


def _group(parameters: list[nn.Parameter], rate: float, decay: float) -> dict[str, object]:
    return {"params": parameters, "lr": rate, "peak": rate, "weight_decay": decay}


def _require_known(model: nn.Module, rates: Rates, apart: Collection[str]) -> None:
    """A misnamed rate would silently be the base rate."""
    for what, named, known in (
        ("expert_rates", rates.experts, EXPERTS),
        ("structure_rates", rates.structure, STRUCTURE),
        ("modules with their own optimiser", apart, dict(model.named_children())),
    ):
        if unknown := sorted(set(named) - set(known)):
            raise SettingsError(f"{what}: {unknown} do not exist, expected some of {sorted(known)}")
