"""Uncertainty weighting of the task losses.

    L = sum_k w_k ( exp(-s_k) L_k + s_k ),   s_k = ln sigma_k^2,   stationary at s_k = ln L_k

w_k multiplies the whole bracket: inside the bracket it would cancel at the optimum. The minus sign matters: with
+s_k missing or flipped the objective has no minimum. s is bounded by projection after each step, because a clamp
inside the graph has no gradient outside its bounds and a parameter that leaves never comes back.
Paper: Kendall, Gal and Cipolla, "Multi-task learning using uncertainty", CVPR 2018. Source: teacher.md section 11.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from pipeline_lib.teacher.weighting.base import Weighted, Weighting


class UncertaintyWeights(Weighting):
    """One log-variance per task. ``lower`` and ``upper`` (T,) are its bounds, ``weights`` (T,) the fixed w_k."""

    lower: Tensor
    upper: Tensor

    def __init__(self, names: Sequence[str], weights: Sequence[float], lower: Sequence[float], upper: float) -> None:
        super().__init__(names, weights)
        self.log_variance = nn.Parameter(torch.zeros(len(names)))
        self.register_buffer("lower", torch.tensor(lower), persistent=False)
        self.register_buffer("upper", torch.full((len(names),), upper), persistent=False)

    def forward(self, losses: Mapping[str, Tensor]) -> Weighted:
        at = self.at(losses)
        s, w = self.log_variance[at], self.weights[at]
        factor = w * torch.exp(-s)  # (t,)
        return Weighted({name: factor[i] * loss for i, (name, loss) in enumerate(losses.items())}, (w * s).sum())

    @torch.no_grad()
    def start_at(self, mean_losses: Mapping[str, float]) -> None:
        """s_k = ln of the mean loss before training: Adam would need hundreds of steps to get there."""
        found = torch.tensor(list(mean_losses.values()), device=self.log_variance.device)
        self.log_variance[self.at(mean_losses)] = found.clamp_min(1e-12).log()
        self.end_step()

    @torch.no_grad()
    def end_step(self) -> None:
        """Back inside the bounds."""
        self.log_variance.copy_(torch.minimum(torch.maximum(self.log_variance, self.lower), self.upper))

    def state(self) -> dict[str, float]:
        return dict(zip(self.names, self.log_variance.tolist(), strict=True))

    def at_bound(self) -> list[str]:
        hit = (self.log_variance <= self.lower) | (self.log_variance >= self.upper)
        return [name for name, is_hit in zip(self.names, hit.tolist(), strict=True) if is_hit]
