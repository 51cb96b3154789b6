"""Dynamic weight average: tasks whose loss falls slowly weigh more in the next epoch.

    v_k = K softmax_k(r_k / T),   r_k = L_k(t-1) / L_k(t-2),   L_k(t) the mean loss of epoch t

Epoch means, since a ratio of two batches is noise; the factor K keeps the sum of the weights, and with it the
effective learning rate. Paper: Liu et al., "End-to-end multi-task learning with attention", CVPR 2019.
Source: teacher.md section 11.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from pipeline_lib.teacher.weighting.base import FixedWeights

_TINY = 1e-12


class DynamicAverage(FixedWeights):
    """``history`` (2, T): mean losses of the last two epochs, NaN = not seen. v = 1 for the first two."""

    history: Tensor

    def __init__(self, names: Sequence[str], weights: Sequence[float], temperature: float) -> None:
        super().__init__(names, weights)
        self.temperature = temperature
        self.register_buffer("history", torch.full((2, len(names)), float("nan")))

    @torch.no_grad()
    def end_epoch(self, mean_losses: Mapping[str, float]) -> None:
        """A task without two epochs of losses counts as one that stands still (r = 1)."""
        self.history.copy_(torch.stack([self.history[1], self.in_order(mean_losses)]))
        before, last = self.history
        ratio = (last / before.clamp_min(_TINY)).nan_to_num(nan=1.0)
        self.scale.copy_(len(self.names) * torch.softmax(ratio / self.temperature, dim=0))
