"""Selective state space, read at the last event.

Paper: Gu and Dao, "Mamba: Linear-Time Sequence Modeling with Selective State Spaces", 2023.

    h_t = exp(dt_t A) h_{t-1} + dt_t B_t x_t,   y_t = C_t . h_t + D x_t,   A = -exp(A_log)

Shapes: x (B, L, in_dim), length (B,) -> (B, width). ``I`` inner channels, ``N`` states.

How ours differs: this block is the only one and only its last state is read, so the recurrence is unrolled into one
sum, h_T = sum_s exp(A (S_T - S_s)) dt_s B_s x_s with S = cumsum(dt). Every exponent is <= 0 (it cannot overflow),
there is no sequential loop, and the sum splits into chunks of steps that are recomputed in the backward pass, so
that one chunk at a time is in memory. ``recurrence`` is the plain loop, the oracle of the tests. Padding gets
dt = 0: it neither decays nor adds.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from pipeline_lib.teacher.layers import in_float32


class SelectiveScan(nn.Module):
    def __init__(self, in_dim: int, width: int, expand: int, states: int, conv: int, rank: int, chunk: int) -> None:
        super().__init__()
        inner = width * expand
        self._states, self._rank, self._chunk, self._conv = states, rank, chunk, conv
        self.embed = nn.Sequential(nn.Linear(in_dim, width), nn.LayerNorm(width))
        self.split = nn.Linear(width, 2 * inner)
        self.conv = nn.Conv1d(inner, inner, conv, groups=inner)
        self.select = nn.Linear(inner, rank + 2 * states, bias=False)
        self.step = nn.Linear(rank, inner)
        self.log_decay = nn.Parameter(torch.arange(1, states + 1).float().log().repeat(inner, 1))  # A_log (I, N)
        self.direct = nn.Parameter(torch.ones(inner))  # D
        self.out = nn.Linear(inner, width)
        self._start_step_sizes(inner)

    def forward(self, x: Tensor, length: Tensor) -> Tensor:
        embedded = self.embed(x)  # (B, L, width)
        values, gate = self.split(embedded).chunk(2, dim=-1)  # (B, L, I) each
        values = F.pad(values.transpose(1, 2), (self._conv - 1, 0))  # left only: no step sees its future
        values = F.silu(self.conv(values)).transpose(1, 2)  # (B, L, I)
        low, b, c = self.select(values).split([self._rank, self._states, self._states], dim=-1)
        with in_float32(x.device):
            valid = torch.arange(x.shape[1], device=x.device) < length[:, None]  # (B, L)
            dt = F.softplus(self.step(low.float())) * valid[..., None]  # (B, L, I)
            state = last_state(dt, values.float(), b.float(), -self.log_decay.exp(), self._chunk)  # (B, I, N)
            here = at_last(values.float(), length)  # (B, I)
            y = (state * at_last(c.float(), length)[:, None]).sum(-1) + self.direct * here  # (B, I)
        y = self.out(y.to(gate.dtype) * F.silu(at_last(gate, length)))  # (B, width)
        out: Tensor = y + at_last(embedded, length)
        return out

    def _start_step_sizes(self, inner: int) -> None:
        """softplus(bias) log-uniform in [1e-3, 1e-1]. Source: the paper, section 3.6."""
        size = torch.empty(inner).uniform_(math.log(1e-3), math.log(1e-1)).exp()
        with torch.no_grad():
            self.step.bias.copy_(size + torch.log(-torch.expm1(-size)))


def last_state(dt: Tensor, x: Tensor, b: Tensor, a: Tensor, chunk: int) -> Tensor:
    """The state after the last step. dt, x (B, L, I), b (B, L, N), a (I, N) -> (B, I, N)."""
    remaining = dt.sum(1, keepdim=True) - dt.cumsum(1)  # S_T - S_s >= 0, (B, L, I)
    remaining = remaining.clamp(min=0)  # rounding only
    pieces = [t.split(chunk, dim=1) for t in (remaining, dt * x, b)]
    total = torch.zeros((), device=dt.device)
    for left, weighted, b_part in zip(*pieces, strict=True):
        if torch.is_grad_enabled() and len(pieces[0]) > 1:
            total = total + checkpoint(_chunk_sum, left, weighted, b_part, a, use_reentrant=False)
        else:
            total = total + _chunk_sum(left, weighted, b_part, a)
    return total


def _chunk_sum(remaining: Tensor, weighted: Tensor, b: Tensor, a: Tensor) -> Tensor:
    decay = torch.exp(remaining[..., None] * a)  # (B, l, I, N)
    return torch.einsum("blin,bli,bln->bin", decay, weighted, b)


def recurrence(dt: Tensor, x: Tensor, b: Tensor, a: Tensor) -> Tensor:
    """The same state by the plain loop over steps. Shapes as ``last_state``."""
    h = torch.zeros(dt.shape[0], *a.shape, dtype=dt.dtype, device=dt.device)
    for t in range(dt.shape[1]):
        h = torch.exp(dt[:, t, :, None] * a) * h + (dt[:, t] * x[:, t])[..., None] * b[:, t, None]
    return h


def at_last(x: Tensor, length: Tensor) -> Tensor:
    """The step at ``length - 1``, never at index -1. (B, L, D) -> (B, D)."""
    index = (length - 1)[:, None, None].expand(-1, 1, x.shape[-1])
    return x.gather(1, index).squeeze(1)
