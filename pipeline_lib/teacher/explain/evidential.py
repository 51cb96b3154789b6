"""How much evidence a prediction rests on: side heads on the teacher's hidden states, for study. They replace nothing.

Classes (binary: two). Paper: Sensoy et al., "Evidential Deep Learning to Quantify Classification Uncertainty", 2018.

    alpha = softplus(o) + 1,  S = sum alpha,  p = alpha / S,  uncertainty u = K / S
    L = sum_k y_k (psi(S) - psi(alpha_k)) + lam * min(1, epoch / anneal) * KL( Dir(a~) || Dir(1) ),
    a~ = y + (1 - y) alpha: the true class's evidence is taken out, so that only wrong evidence is punished

Values. Paper: Amini et al., "Deep Evidential Regression", NeurIPS 2020. (m, v, a, b) of a normal-inverse-gamma:

    L = -log Student-t(y; 2a, m, b (1 + v) / (v a)) + lam * |y - m| (2v + a),   uncertainty u = b / (v (a - 1))

A row whose state is not finite gets the neutral answer with the largest uncertainty and no loss.
``B`` batch, ``T`` tasks, ``H`` width of a state, ``K`` classes. Source: teacher.md 14.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline_lib.teacher.contract import TaskSpec
from pipeline_lib.teacher.explain.view import chunks, evaluating
from pipeline_lib.teacher.frame import Frame
from pipeline_lib.teacher.layers import TaskLinear
from pipeline_lib.teacher.model import Teacher

_NIG = 4
_FLOOR = 1e-6


@dataclass(frozen=True)
class Evidence:
    """``value`` (B, K) probabilities, or (B,) in standardised label units; ``uncertainty`` (B,), in [0, 1] for classes,
    variance of the mean for values (infinite without evidence).
    """

    value: Tensor
    uncertainty: Tensor


class EvidentialHeads(nn.Module):
    """One head per task, batched. Hidden states (B, T, H) -> task -> parameters (B, K or 4)."""

    def __init__(self, tasks: Sequence[TaskSpec], width: int, hidden: int) -> None:
        super().__init__()
        self.kinds = {task.name: task.kind for task in tasks}
        self.widths = [{"binary": 2, "regression": _NIG}.get(task.kind, task.out) for task in tasks]
        self.inner = TaskLinear(width, hidden, range(len(tasks)))
        self.outer = TaskLinear(hidden, max(self.widths), range(len(tasks)))

    def forward(self, states: Tensor) -> dict[str, Tensor]:
        """Gradients stop at ``states``."""
        out = self.outer(F.silu(self.inner(states.detach().float())))  # (B, T, widest)
        return {name: out[:, k, : self.widths[k]] for k, name in enumerate(self.kinds)}

    @torch.no_grad()
    def evidence(self, states: Tensor) -> dict[str, Evidence]:
        """What each task's head concludes; see the note on rows that are not finite."""
        found = {}
        for k, (name, raw) in enumerate(self(states).items()):
            sound = states[:, k].isfinite().all(-1)
            found[name] = _of_value(raw, sound) if self.kinds[name] == "regression" else _of_classes(raw, sound)
        return found

    def loss(self, states: Tensor, targets: Mapping[str, Tensor], penalty: float, ramp: float) -> Tensor:
        """Mean over the known targets (NaN: unknown), summed over tasks. ``ramp`` in [0, 1] weighs the KL term."""
        total = torch.zeros((), device=states.device)
        clean = torch.where(states.isfinite(), states, torch.zeros_like(states))
        for k, (name, raw) in enumerate(self(clean).items()):
            known = ~targets[name].isnan() & states[:, k].isfinite().all(-1)
            if known.any():
                total = total + self._task_loss(name, raw[known], targets[name][known], penalty, ramp).mean()
        return total

    def _task_loss(self, name: str, raw: Tensor, target: Tensor, penalty: float, ramp: float) -> Tensor:
        if self.kinds[name] == "regression":
            m, v, a, b = normal_inverse_gamma(raw)
            y = target.to(m.dtype)
            return nig_loss(y, m, v, a, b) + penalty * (y - m).abs() * (2 * v + a)
        y = F.one_hot(target.long(), raw.shape[1]).to(raw.dtype)
        alpha = F.softplus(raw) + 1
        return dirichlet_loss(alpha, y) + penalty * ramp * wrong_evidence(alpha, y)


def dirichlet_loss(alpha: Tensor, y: Tensor) -> Tensor:
    """Expected cross entropy under Dir(alpha). alpha, one-hot y (B, K) -> (B,)."""
    return (y * (torch.digamma(alpha.sum(-1, keepdim=True)) - torch.digamma(alpha))).sum(-1)


def wrong_evidence(alpha: Tensor, y: Tensor) -> Tensor:
    """KL( Dir(y + (1 - y) alpha) || Dir(1) ) >= 0, zero iff no wrong class has evidence. (B, K) -> (B,)."""
    a = y + (1 - y) * alpha
    total = a.sum(-1, keepdim=True)
    inner = ((a - 1) * (torch.digamma(a) - torch.digamma(total))).sum(-1)
    return torch.lgamma(total)[..., 0] - torch.lgamma(a).sum(-1) - math.lgamma(a.shape[-1]) + inner


def normal_inverse_gamma(raw: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(B, 4) -> m, v > 0, a > 1, b > 0, each (B,)."""
    m, v, a, b = raw.unbind(-1)
    return m, F.softplus(v) + _FLOOR, F.softplus(a) + 1 + _FLOOR, F.softplus(b) + _FLOOR


def nig_loss(y: Tensor, m: Tensor, v: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Negative log density of y when its mean and variance are drawn from NIG(m, v, a, b): a Student-t's. (B,)."""
    omega = 2 * b * (1 + v)
    gap = (a + 0.5) * (v * (y - m).square() + omega).log() - a * omega.log()
    return 0.5 * (math.pi / v).log() + gap + torch.lgamma(a) - torch.lgamma(a + 0.5)


def _of_classes(raw: Tensor, sound: Tensor) -> Evidence:
    alpha = torch.where(sound[:, None], F.softplus(raw), torch.zeros_like(raw)) + 1
    total = alpha.sum(-1, keepdim=True)
    return Evidence(alpha / total, alpha.shape[1] / total[:, 0])


def _of_value(raw: Tensor, sound: Tensor) -> Evidence:
    m, v, a, b = normal_inverse_gamma(raw)
    nothing = torch.full_like(m, math.inf)
    return Evidence(torch.where(sound, m, torch.zeros_like(m)), torch.where(sound, b / (v * (a - 1)), nothing))


def standardised(tasks: Sequence[TaskSpec], labels: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Targets as the heads see them: regression in units of its standard deviation."""
    return {t.name: (labels[t.name] - t.mean) / t.std if t.kind == "regression" else labels[t.name] for t in tasks}


def fit_heads(
    model: Teacher,
    frame: Frame,
    tasks: Sequence[TaskSpec],
    rows: Tensor,
    *,
    hidden: int,
    penalty: float,
    anneal_epochs: int,
    epochs: int,
    rate: float,
    batch_rows: int,
    seed: int,
    device: torch.device,
) -> EvidentialHeads:
    """Train the heads on part fit with an optimiser of their own; the teacher is only read."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        heads = EvidentialHeads(tasks, hidden_states(model, frame, rows[:1], device).shape[-1], hidden).to(device)
    optimiser, shuffle = torch.optim.Adam(heads.parameters(), rate), torch.Generator().manual_seed(seed)
    for epoch in range(epochs):
        for chunk in chunks(rows[torch.randperm(len(rows), generator=shuffle)], batch_rows):
            labels = {name: label.to(device) for name, label in frame.targets(chunk).items()}
            states = hidden_states(model, frame, chunk, device)
            optimiser.zero_grad()
            heads.loss(states, standardised(tasks, labels), penalty, min(1.0, epoch / anneal_epochs)).backward()
            optimiser.step()
    return heads


@torch.no_grad()
def hidden_states(model: Teacher, frame: Frame, rows: Tensor, device: torch.device) -> Tensor:
    """The states that the towers read. (B, T, H)."""
    with evaluating(model):
        hidden: Tensor = model(frame.batch(rows).to(device)).hidden
    return hidden
