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


class UncertaintyWeights(nn.Module):
    """One log-variance per task. ``lower`` and ``upper`` (T,) are its bounds, ``weights`` (T,) the fixed w_k."""

    weights: Tensor
    lower: Tensor
    upper: Tensor

    def __init__(self, names: Sequence[str], weights: Sequence[float], lower: Sequence[float], upper: float) -> None:
        super().__init__()
        self.names = tuple(names)
        self.log_variance = nn.Parameter(torch.zeros(len(names)))
        self.register_buffer("weights", torch.tensor(weights), persistent=False)
        self.register_buffer("lower", torch.tensor(lower), persistent=False)
        self.register_buffer("upper", torch.full((len(names),), upper), persistent=False)

    def forward(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Scalar over the tasks present; an absent task contributes neither its loss nor its s."""
        at = torch.tensor([self.names.index(name) for name in losses], device=self.log_variance.device)
        s, w = self.log_variance[at], self.weights[at]
        return (w * (torch.exp(-s) * torch.stack(list(losses.values())) + s)).sum()

    @torch.no_grad()
    def start_at(self, mean_losses: Mapping[str, float]) -> None:
        """s_k = ln of the mean loss before training: Adam would need hundreds of steps to get there."""
        for name, loss in mean_losses.items():
            self.log_variance[self.names.index(name)] = float(torch.tensor(max(loss, 1e-12)).log())
        self.project()

    @torch.no_grad()
    def project(self) -> None:
        """Back inside the bounds, after each optimiser step."""
        self.log_variance.copy_(torch.minimum(torch.maximum(self.log_variance, self.lower), self.upper))

    def at_bound(self) -> list[str]:
        """Tasks whose s lies on a bound."""
        hit = (self.log_variance <= self.lower) | (self.log_variance >= self.upper)
        return [name for name, is_hit in zip(self.names, hit.tolist(), strict=True) if is_hit]
