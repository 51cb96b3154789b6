"""Selective state space, read at the last event.

Paper: Gu and Dao, "Mamba: Linear-Time Sequence Modeling with Selective State Spaces", 2023.

    h_t = exp(dt_t A) h_{t-1} + dt_t B_t x_t,   y_t = C_t . h_t + D x_t,   A = -exp(A_log)

Shapes: x (B, L, in_dim), length (B,) -> (B, width). ``I`` inner channels, ``N`` states.

How ours differs: this block is the only one and only its last state is read, so the recurrence is unrolled into one
sum, h_T = sum_s exp(A (S_T - S_s)) dt_s B_s x_s with S = cumsum(dt). Every exponent is <= 0 (it cannot overflow), no
step waits for another, and the sum splits into chunks of steps, so that one chunk at a time is in memory (and in
cache), in the backward pass too. ``recurrence`` is the plain loop, the oracle of the tests. Padding gets dt = 0: it
neither decays nor adds.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline_lib.teacher.layers import in_float32


class SelectiveScan(nn.Module):
    def __init__(self, in_dim: int, width: int, expand: int, states: int, conv: int, rank: int, chunk: int) -> None:
        super().__init__()
        inner = width * expand
        self._states, self._rank, self._chunk, self._conv = states, rank, chunk, conv
        self.embed = nn.Sequential(nn.Linear(in_dim, width), nn.LayerNorm(width))
        self.values = nn.Linear(width, inner)
        self.gate = nn.Linear(width, inner)
        self.conv = nn.Conv1d(inner, inner, conv, groups=inner)
        self.select = nn.Linear(inner, rank + states, bias=False)
        self.read = nn.Linear(inner, states, bias=False)  # C, needed at the last step alone
        self.step = nn.Linear(rank, inner)
        self.log_decay = nn.Parameter(torch.arange(1, states + 1).float().log().repeat(inner, 1))  # A_log (I, N)
        self.direct = nn.Parameter(torch.ones(inner))  # D
        self.out = nn.Linear(inner, width)
        self._start_step_sizes(inner)

    def forward(self, x: Tensor, length: Tensor) -> Tensor:
        embedded = self.embed(x)  # (B, L, width)
        values = F.pad(self.values(embedded).transpose(1, 2), (self._conv - 1, 0))  # left: no step sees its future
        values = F.silu(self.conv(values)).transpose(1, 2)  # (B, L, I)
        low, b = self.select(values).split([self._rank, self._states], dim=-1)
        here, latest = at_last(values, length), at_last(embedded, length)  # (B, I), (B, width)
        with in_float32(x.device):
            valid = torch.arange(x.shape[1], device=x.device) < length[:, None]  # (B, L)
            dt = F.softplus(self.step(low.float())) * valid[..., None]  # (B, L, I)
            state = last_state(dt, values.float(), b.float(), -self.log_decay.exp(), self._chunk)  # (B, I, N)
            y = (state * self.read(here.float())[:, None]).sum(-1) + self.direct * here  # (B, I)
        out: Tensor = latest + self.out(y.to(latest.dtype) * F.silu(self.gate(latest)))  # (B, width)
        return out

    def _start_step_sizes(self, inner: int) -> None:
        """softplus(bias) log-uniform in [1e-3, 1e-1]. Source: the paper, section 3.6."""
        size = torch.empty(inner).uniform_(math.log(1e-3), math.log(1e-1)).exp()
        with torch.no_grad():
            self.step.bias.copy_(size + torch.log(-torch.expm1(-size)))


def last_state(dt: Tensor, x: Tensor, b: Tensor, a: Tensor, chunk: int) -> Tensor:
    """The state after the last step. dt, x (B, L, I), b (B, L, N), a (I, N) -> (B, I, N)."""
    remaining = (dt.sum(1, keepdim=True) - dt.cumsum(1)).clamp(min=0)  # S_T - S_s, below 0 only by rounding
    state: Tensor = _DecayedSum.apply(remaining, dt * x, b, a, chunk)  # type: ignore[no-untyped-call]
    return state


class _DecayedSum(torch.autograd.Function):
    """h_in = sum_s exp(r_si a_in) w_si b_sn, one chunk of steps in memory at a time, forward and backward.

    Gradients for g = dL/dh, with q = exp(r a) g:
    dw = sum_n q b,  db = sum_i q w,  dr = w sum_n q b a,  da = sum_bs r w q b.
    """

    @staticmethod
    def forward(ctx: Any, r: Tensor, w: Tensor, b: Tensor, a: Tensor, chunk: int) -> Tensor:
        ctx.save_for_backward(r, w, b, a)
        ctx.chunk = chunk
        state = torch.zeros(len(r), *a.shape, dtype=r.dtype, device=r.device)  # (B, I, N)
        for at in _chunks(r.shape[1], chunk):
            decay = (r[:, at, :, None] * a).exp_()  # (B, l, I, N)
            state += decay.mul_(w[:, at, :, None]).mul_(b[:, at, None]).sum(1)
        return state

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, None]:
        r, w, b, a = ctx.saved_tensors
        dr, dw, db, da = (torch.zeros_like(t) for t in (r, w, b, a))
        for at in _chunks(r.shape[1], ctx.chunk):
            q = (r[:, at, :, None] * a).exp_().mul_(grad[:, None])  # (B, l, I, N)
            db[:, at] = (q * w[:, at, :, None]).sum(2)
            q.mul_(b[:, at, None])
            dw[:, at] = q.sum(3)
            da += (q * (r[:, at] * w[:, at])[..., None]).sum((0, 1))
            dr[:, at] = q.mul_(a).sum(3) * w[:, at]
        return dr, dw, db, da, None


def _chunks(steps: int, size: int) -> list[slice]:
    return [slice(start, start + size) for start in range(0, steps, size)]


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
