"""GradNorm: tasks that learn slowly get larger gradients on what all tasks share.

    G_k = ||grad(v_k L_k)||,   r_k = L_k / L_k(0),   target_k = mean(G) (r_k / mean(r))^alpha,
    minimise sum_k |G_k - target_k| over v alone,   then rescale to sum v = K

How ours differs: no graph of the gradients is kept. v_k > 0 is a factor of its own loss only, so
G_k = v_k ||grad L_k|| and the derivative the paper takes through ``create_graph`` is known in closed form:
sign(G_k - target_k) ||grad L_k||. The fixed w_k stays outside G_k: inside, v_k would learn 1 / w_k and cancel it.
Paper: Chen et al., "GradNorm", ICML 2018. Source: teacher.md section 11.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from pipeline_lib.teacher.weighting.base import FixedWeights

_FIRST, _SECOND, _EPSILON = 0.9, 0.999, 1e-8  # Adam's own constants
_FLOOR = 1e-3  # of v: a task never loses its gradient, which would be the end of its norm too
_TINY = 1e-12


class GradNorm(FixedWeights):
    """v (T,) with its own Adam, whose moments are buffers: nothing of it is in the model's optimiser."""

    needs_gradients = True
    initial: Tensor
    first: Tensor
    second: Tensor
    updates: Tensor

    def __init__(self, names: Sequence[str], weights: Sequence[float], alpha: float, rate: float) -> None:
        super().__init__(names, weights)
        self.alpha, self.rate = alpha, rate
        self.register_buffer("initial", torch.full((len(names),), float("nan")))  # L_k(0)
        for buffer in ("first", "second", "updates"):
            self.register_buffer(buffer, torch.zeros(len(names)))

    @torch.no_grad()
    def start_at(self, mean_losses: Mapping[str, float]) -> None:
        found = self.in_order(mean_losses)
        self.initial.copy_(torch.where(found.isnan(), self.initial, found))

    @torch.no_grad()
    def observe(self, losses: Mapping[str, Tensor], norms: Mapping[str, float]) -> None:
        """One step of v. Tasks without a loss or a finite norm keep theirs, up to the common rescaling."""
        loss = self.in_order({name: float(value.detach()) for name, value in losses.items()})
        norm = self.in_order(norms)
        seen = loss.isfinite() & norm.isfinite()
        if not seen.any():
            return
        self.initial.copy_(torch.where(self.initial.isnan() & seen, loss, self.initial))
        slope = gradnorm_slope(self.scale[seen], norm[seen], (loss / self.initial.clamp_min(_TINY))[seen], self.alpha)
        self.scale[seen] = (self.scale[seen] - self._adam(slope, seen)).clamp_min(_FLOOR)
        self.scale.mul_(len(self.names) / self.scale.sum())

    def at_bound(self) -> list[str]:
        return [name for name, v in self.state().items() if v <= 2 * _FLOOR]  # the rescaling lifts it a little

    def _adam(self, slope: Tensor, seen: Tensor) -> Tensor:
        """Step of the tasks seen. (t,) -> (t,). Source: Kingma and Ba, "Adam", ICLR 2015."""
        self.updates[seen] += 1
        self.first[seen] = _FIRST * self.first[seen] + (1 - _FIRST) * slope
        self.second[seen] = _SECOND * self.second[seen] + (1 - _SECOND) * slope.square()
        mean = self.first[seen] / (1 - _FIRST ** self.updates[seen])
        spread = (self.second[seen] / (1 - _SECOND ** self.updates[seen])).sqrt()
        return self.rate * mean / (spread + _EPSILON)


def gradnorm_slope(scale: Tensor, norm: Tensor, ratio: Tensor, alpha: float) -> Tensor:
    """Derivative of sum |G - target| with respect to v, the target held constant. All (t,) -> (t,)."""
    size = scale * norm  # G
    target = size.mean() * (ratio / ratio.mean().clamp_min(_TINY)).pow(alpha)
    return (size - target).sign() * norm
