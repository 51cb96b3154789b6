"""Loss-level transfer between tasks by the cosine of their gradients; off by default, measured as a diagnostic.

    A <- 0.9 A + 0.1 C,   C_ij = cosine of grad L_i and grad L_j (raw losses, shared experts only)
    w = softmax_j( A (1 - r) + Q r ),   blocked pairs (A_ij < block_below) and the diagonal at -inf
    M_i = P_i + min( strength sum_j w_ij P_j, cap sg(P_i) )

P_i is the positive weighted part of task i (``Weighted.parts``), Q the prior of the task groups, r its share, which
falls from ``prior_start`` to ``prior_end`` between warm-up and freeze. w is detached: without the cap the total is
sum_j (1 + strength c_j) P_j with c_j the column sums of w, a re-weighting of tasks within
[1, 1 + strength (T - 1)], which is why its published effect is null. A free matrix added to A and trained by the main
loss would learn to point at the smallest losses, so there is none. Not the network of the same name (KDD 2023).
Source: teacher.md section 12.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pipeline_lib.settings.teacher import training as policies
from pipeline_lib.teacher.contract import TaskSpec
from pipeline_lib.teacher.layers import in_float32

_DECAY = 0.9
_LEAST_NORM = 1e-8  # a gradient below it has no direction


@dataclass(frozen=True)
class Rule:
    """When and where to measure, and how far to act on it. Epochs count finished ones; the rest as in the settings."""

    enabled: bool
    measure: bool
    space: str
    every_steps: int
    warmup_epochs: int
    freeze_epoch: int
    prior_start: float
    prior_end: float
    block_below: float
    strength: float
    cap: float


def build_adatt(tasks: Sequence[TaskSpec], policy: policies.AdaTT) -> AdaTT:
    """With the prior of the tasks' groups; tasks of a group without its own value count as strangers."""
    rule = Rule(**{name: getattr(policy, name) for name in Rule.__dataclass_fields__})
    groups = [task.group for task in tasks]
    return AdaTT([task.name for task in tasks], group_prior(groups, policy.inter_group, policy.intra_group), rule)


def group_prior(groups: Sequence[str], inter: float, intra: Mapping[str, float]) -> Tensor:
    """Q: ``intra`` within a group, ``inter`` across, zero diagonal, rows summing to 1 (or to 0). (T, T)."""
    prior = torch.tensor([[intra.get(a, inter) if a == b else inter for b in groups] for a in groups])
    prior.fill_diagonal_(0.0)
    return prior / prior.sum(dim=1, keepdim=True).clamp_min(_LEAST_NORM)


class AdaTT(nn.Module):
    """``affinity`` A and ``count`` of observations (T, T), finished ``epoch``s, ``frozen``: buffers, so they resume."""

    prior: Tensor
    affinity: Tensor
    count: Tensor
    epoch: Tensor
    frozen: Tensor

    def __init__(self, names: Sequence[str], prior: Tensor, rule: Rule) -> None:
        super().__init__()
        self.names, self.rule, self._paused = tuple(names), rule, False
        self._place = {name: i for i, name in enumerate(self.names)}
        self.register_buffer("prior", prior, persistent=False)
        self.register_buffer("affinity", torch.eye(len(names)))
        self.register_buffer("count", torch.zeros(len(names), len(names), dtype=torch.long))
        self.register_buffer("epoch", torch.zeros((), dtype=torch.long))
        self.register_buffer("frozen", torch.zeros((), dtype=torch.bool))

    @property
    def space(self) -> str:
        """What ``measure`` should be given: the shared experts' ``parameters``, or their outputs, ``features``."""
        return self.rule.space

    def due(self, step: int) -> bool:
        """Whether to ``measure`` at this step: in warm-up too, or the first transfer would act on an empty A."""
        wanted = (self.rule.enabled or self.rule.measure) and not self._paused
        return wanted and step % self.rule.every_steps == 0 and not bool(self.frozen)

    def measure(self, losses: Mapping[str, Tensor], shared: Sequence[Tensor]) -> None:
        """Observe the raw losses' gradients with respect to shared experts' parameters or outputs; keeps graphs.

        Pairs with a task that is absent, or whose gradient vanishes or is not finite, keep what they had.
        """
        rows = [_gradient(loss, shared) for loss in losses.values()]
        if rows:
            self._observe(torch.tensor([self._place[name] for name in losses]), torch.stack(rows))

    def forward(self, parts: Mapping[str, Tensor], extra: Tensor) -> Tensor:
        """The total of the weighted losses, with transfer where it is due. Scalars -> scalar."""
        if not parts:
            return extra
        values = torch.stack(list(parts.values()))  # P (t,)
        if self._acts():
            at = torch.tensor([self._place[name] for name in parts], device=values.device)
            with in_float32(values.device):
                moved = self.rule.strength * (self.transfer_matrix()[at][:, at] @ values)
            values = values + torch.minimum(moved, self.rule.cap * values.detach())
        return values.sum() + extra

    @torch.no_grad()
    def end_epoch(self) -> None:
        """Count the epoch; A is fixed from ``freeze_epoch`` on where it acts, and measured on where it does not."""
        if not self._paused:
            self.epoch += 1
            self.frozen.fill_(self.rule.enabled and int(self.epoch) >= self.rule.freeze_epoch)

    def negative_transfer(self) -> dict[str, list[str]]:
        """Task -> tasks whose gradients oppose its own: those below ``block_below``."""
        opposed = (self.affinity < self.rule.block_below).tolist()
        return {name: [self.names[j] for j, hit in enumerate(opposed[i]) if hit] for i, name in enumerate(self.names)}

    @torch.no_grad()
    def transfer_matrix(self) -> Tensor:
        """Weights w at the current epoch: rows sum to 1, or are zero where nothing is open. (T, T)."""
        share = self.prior_share()
        logits = self.affinity * (1 - share) + self.prior * share
        closed = (self.affinity < self.rule.block_below) | torch.eye(len(self.names), dtype=torch.bool).to(
            logits.device
        )
        # 0 in place of -inf would leave a blocked pair exp(0), nearly as much as an open one.
        weights = logits.masked_fill(closed, float("-inf")).softmax(dim=1)
        return weights.masked_fill(closed.all(dim=1, keepdim=True), 0.0)

    def prior_share(self) -> float:
        """r: ``prior_start`` up to the end of warm-up, ``prior_end`` from the freeze on."""
        rule = self.rule
        way = (int(self.epoch) - rule.warmup_epochs) / (rule.freeze_epoch - rule.warmup_epochs)
        return rule.prior_start - (rule.prior_start - rule.prior_end) * min(max(way, 0.0), 1.0)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Neither measures, acts nor counts inside; puts itself back whatever happens there."""
        before, self._paused = self._paused, True
        try:
            yield
        finally:
            self._paused = before

    def _acts(self) -> bool:
        return self.rule.enabled and not self._paused and int(self.epoch) >= self.rule.warmup_epochs

    @torch.no_grad()
    def _observe(self, at: Tensor, rows: Tensor) -> None:
        """Places (t,) and gradients (t, N) of the tasks present."""
        norms = rows.norm(dim=1)
        usable = norms.isfinite() & (norms > _LEAST_NORM)
        unit = rows[usable] / norms[usable, None]
        at = at.to(rows.device)[usable]
        with in_float32(rows.device):
            product = unit @ unit.T
            cosine = ((product + product.T) / 2).clamp(-1, 1).fill_diagonal_(1.0)  # a product rounds asymmetrically
        pair = (at[:, None], at[None, :])
        old, first = self.affinity[pair], self.count[pair] == 0
        self.affinity[pair] = torch.where(first, cosine, _DECAY * old + (1 - _DECAY) * cosine).clamp(-1, 1)
        self.count[pair] += 1


def _gradient(loss: Tensor, shared: Sequence[Tensor]) -> Tensor:
    """One task's gradient on everything shared, zeros where it does not reach. (N,) float32."""
    found = torch.autograd.grad(loss, list(shared), retain_graph=True, allow_unused=True, materialize_grads=True)
    with in_float32(found[0].device):
        return torch.cat([g.detach().float().flatten() for g in found])
