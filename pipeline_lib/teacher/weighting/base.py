"""What every weighting of the task losses does, and the one that leaves them alone.

    total = sum_k P_k + extra,   P_k = w_k e^{-s_k} L_k   or   v_k w_k L_k

L_k raw loss, w_k fixed weight of the task (applied here and nowhere else), s_k or v_k what the method adds. P_k is
positive: transfer between tasks is built from it, and a bound on a share of P_k would flip with its sign. Whatever
does not scale a loss (the sum of w_k s_k) is ``extra``. Source: teacher.md sections 11 and 12.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Weighted:
    """``parts``: task -> P_k, a scalar with gradient. ``extra``: what belongs to no task's loss, a scalar."""

    parts: dict[str, Tensor]
    extra: Tensor

    def total(self) -> Tensor:
        """The objective without transfer. Scalar."""
        return torch.stack([*self.parts.values(), self.extra]).sum()


class Weighting(nn.Module, ABC):
    """``names`` (T,) and the fixed ``weights`` (T,). What a resume needs is a parameter or a buffer."""

    needs_gradients = False
    """Whether ``observe`` wants the norm of every task's gradient each step."""
    weights: Tensor

    def __init__(self, names: Sequence[str], weights: Sequence[float]) -> None:
        super().__init__()
        self.names = tuple(names)
        self._place = {name: i for i, name in enumerate(self.names)}
        self.register_buffer("weights", torch.tensor(weights), persistent=False)

    @abstractmethod
    def forward(self, losses: Mapping[str, Tensor]) -> Weighted:
        """Over the tasks present (scalars): an absent one contributes nothing and its state gets no gradient."""

    @abstractmethod
    def state(self) -> dict[str, float]:
        """What the curve logs per task: s_k or v_k."""

    def start_at(self, mean_losses: Mapping[str, float]) -> None:  # noqa: B027  most methods start anywhere
        """Mean losses at the initial weights, before the first step."""

    def observe(self, losses: Mapping[str, Tensor], norms: Mapping[str, float]) -> None:  # noqa: B027
        """Once per step: the raw losses and ||d L_k / d shared|| of each. Leaves model gradients alone."""

    def end_step(self) -> None:  # noqa: B027
        """After each optimiser step: projections."""

    def end_epoch(self, mean_losses: Mapping[str, float]) -> None:  # noqa: B027
        """Raw losses averaged over the epoch."""

    def at_bound(self) -> list[str]:
        """Tasks whose state lies on a bound."""
        return []

    def at(self, names: Iterable[str]) -> Tensor:
        """Places of tasks. (n,) int64."""
        return torch.tensor([self._place[name] for name in names], dtype=torch.long, device=self.weights.device)

    def in_order(self, values: Mapping[str, float]) -> Tensor:
        """Values by task, NaN where a task has none. (T,)"""
        found = [values.get(name, float("nan")) for name in self.names]
        return torch.tensor(found, device=self.weights.device)


class FixedWeights(Weighting):
    """P_k = v_k w_k L_k with v_k = 1 unless a subclass moves it: ``fixed``, and with w_k = 1 ``uniform``."""

    scale: Tensor

    def __init__(self, names: Sequence[str], weights: Sequence[float]) -> None:
        super().__init__(names, weights)
        self.register_buffer("scale", torch.ones(len(names)))  # v (T,)

    def forward(self, losses: Mapping[str, Tensor]) -> Weighted:
        at = self.at(losses)
        factor = (self.scale * self.weights)[at]
        return Weighted(
            {name: factor[i] * loss for i, (name, loss) in enumerate(losses.items())}, self.weights.new_zeros(())
        )

    def state(self) -> dict[str, float]:
        return dict(zip(self.names, self.scale.tolist(), strict=True))
