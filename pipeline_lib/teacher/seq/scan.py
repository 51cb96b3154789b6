"""Selective state space, read at the last event.

Paper: Gu and Dao, "Mamba: Linear-Time Sequence Modeling with Selective State Spaces", 2023.

    h_t = exp(dt_t A) h_{t-1} + dt_t B_t x_t,   y_t = C_t . h_t + D x_t,   A = -exp(A_log)

Shapes: x (B, L, in_dim), length (B,) -> (B, width). ``I`` inner channels, ``N`` states.

How ours differs: this block is the only one and only its last state is read, so the recurrence is unrolled into one
sum, h_T = sum_s exp(A r_s) dt_s B_s x_s with r_s the dt that follow s. Every exponent is <= 0 (it cannot overflow), no
step waits for another, and the sum splits into chunks of steps and into states, so that a (B, L, I, N) tensor never
exists, in the backward pass neither. Padding gets dt = 0: it neither decays nor adds.

Three backends give C . h_T: ``chunked``, ``reference`` (the plain loop, the oracle of the tests) and ``cuda_kernel``
(the authors' mamba-ssm, imported when it is asked for; never required).
"""

from __future__ import annotations

import math
from importlib import import_module
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline_lib.errors import SettingsError
from pipeline_lib.teacher.layers import in_float32

Backend = Literal["chunked", "reference", "cuda_kernel"]


class SelectiveScan(nn.Module):
    backend: ClassVar[Backend] = "chunked"

    def __init__(self, in_dim: int, width: int, expand: int, states: int, conv: int, rank: int, chunk: int) -> None:
        super().__init__()
        inner = width * expand
        self._states, self._rank, self._chunk = states, rank, chunk
        self.embed = nn.Sequential(nn.Linear(in_dim, width), nn.LayerNorm(width))
        self.values = nn.Linear(width, inner)
        self.gate = nn.Linear(width, inner)
        self.conv = CausalConv(inner, conv)
        self.select = nn.Linear(inner, rank + states, bias=False)
        self.read = nn.Linear(inner, states, bias=False)  # C, needed at the last step alone
        self.step = nn.Linear(rank, inner)
        self.log_decay = nn.Parameter(torch.arange(1, states + 1).float().log().repeat(inner, 1))  # A_log (I, N)
        self.direct = nn.Parameter(torch.ones(inner))  # D
        self.out = nn.Linear(inner, width)
        self._start_step_sizes(inner)

    def forward(self, x: Tensor, length: Tensor) -> Tensor:
        embedded = self.embed(x)  # (B, L, width)
        values = F.silu(self.conv(self.values(embedded)))  # (B, L, I)
        low, b = self.select(values).split([self._rank, self._states], dim=-1)
        here, latest = at_last(values, length), at_last(embedded, length)  # (B, I), (B, width)
        with in_float32(x.device):
            valid = torch.arange(x.shape[1], device=x.device) < length[:, None]  # (B, L)
            dt = F.softplus(self.step(low.float())) * valid[..., None]  # (B, L, I)
            here = here.float()
            parts = (dt, values.float(), b.float(), -self.log_decay.exp(), self.read(here))
            y = read_out(*parts, self._chunk, self.backend) + self.direct * here  # (B, I)
        out: Tensor = latest + self.out(y.to(latest.dtype) * F.silu(self.gate(latest)))  # (B, width)
        return out

    def _start_step_sizes(self, inner: int) -> None:
        """softplus(bias) log-uniform in [1e-3, 1e-1]. Source: the paper, section 3.6."""
        size = torch.empty(inner).uniform_(math.log(1e-3), math.log(1e-1)).exp()
        with torch.no_grad():
            self.step.bias.copy_(size + torch.log(-torch.expm1(-size)))


class CausalConv(nn.Module):
    """Depthwise convolution over steps that sees no future. (B, L, I) -> (B, L, I). Initialised like the library's."""

    def __init__(self, width: int, reach: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(reach)
        self.weight = nn.Parameter(torch.empty(reach, width).uniform_(-bound, bound))  # row k: k steps ago
        self.bias = nn.Parameter(torch.empty(width).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = _Lagged.apply(x, self.weight.to(x.dtype), self.bias.to(x.dtype))  # type: ignore[no-untyped-call]
        return out


class _Lagged(torch.autograd.Function):
    """y_t = b + sum_k w_k * x_(t-k), in place: on the CPU a third of the library's time, without its transposes."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        out = torch.addcmul(bias, x, weight[0])
        for k in range(1, min(len(weight), x.shape[1])):
            out[:, k:].addcmul_(x[:, :-k], weight[k])
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        dx, dw = grad * weight[0], torch.zeros_like(weight)
        dw[0] = (grad * x).sum((0, 1))
        for k in range(1, min(len(weight), x.shape[1])):
            dx[:, :-k].addcmul_(grad[:, k:], weight[k])
            dw[k] = (grad[:, k:] * x[:, :-k]).sum((0, 1))
        return dx, dw, grad.sum((0, 1))


def read_out(dt: Tensor, x: Tensor, b: Tensor, a: Tensor, c: Tensor, chunk: int, backend: Backend) -> Tensor:
    """C . h_T. dt, x (B, L, I), b (B, L, N), a (I, N), c (B, N) -> (B, I).

    Raises:
        SettingsError: the backend is cuda_kernel and mamba-ssm is not installed.
    """
    if backend == "cuda_kernel":
        return _kernel(dt, x, b, a, c)
    state = last_state(dt, x, b, a, chunk) if backend == "chunked" else recurrence(dt, x, b, a)
    return (state * c[:, None]).sum(-1)


def last_state(dt: Tensor, x: Tensor, b: Tensor, a: Tensor, chunk: int) -> Tensor:
    """The state after the last step. dt, x (B, L, I), b (B, L, N), a (I, N) -> (B, I, N)."""
    later = torch.ones(dt.shape[1], dt.shape[1], dtype=dt.dtype, device=dt.device).triu(1)
    state: Tensor = _DecayedSum.apply(later @ dt, dt * x, b, a, chunk)  # type: ignore[no-untyped-call]
    return state


class _DecayedSum(torch.autograd.Function):
    """h_in = sum_s exp(r_si a_in) w_si b_sn, one chunk of steps and one state n at a time, forward and backward.

    Gradients for g = dL/dh, with q = exp(r a) g and t = q b:
    dw = sum_n t,  db = sum_i q w,  dr = w sum_n a t,  da = sum_bs r w t.
    """

    @staticmethod
    def forward(ctx: Any, r: Tensor, w: Tensor, b: Tensor, a: Tensor, chunk: int) -> Tensor:
        ctx.save_for_backward(r, w, b, a)
        ctx.chunk = chunk
        state = r.new_zeros(a.shape[1], len(r), 1, a.shape[0])  # (N, B, 1, I)
        for at in _chunks(r.shape[1], chunk):
            r_now, w_now = r[:, at].contiguous(), w[:, at].contiguous()  # (B, l, I)
            b_now = b[:, at].permute(2, 0, 1)[:, :, None].contiguous()  # (N, B, 1, l)
            decay = torch.empty_like(r_now)
            for n in range(len(state)):
                torch.mul(r_now, a[:, n], out=decay)
                state[n].baddbmm_(b_now[n], decay.exp_().mul_(w_now))
        return state[:, :, 0].permute(1, 2, 0)  # (B, I, N)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, None]:
        r, w, b, a = ctx.saved_tensors
        g = grad.permute(2, 0, 1)[:, :, None].contiguous()  # (N, B, 1, I)
        dr, dw, db, da = (torch.zeros_like(t) for t in (r, w, b, a))
        for at in _chunks(r.shape[1], ctx.chunk):
            r_now, w_now = r[:, at].contiguous(), w[:, at].contiguous()  # (B, l, I)
            mass, q, t = r_now * w_now, torch.empty_like(r_now), torch.empty_like(r_now)
            for n in range(len(g)):
                torch.mul(r_now, a[:, n], out=q)
                torch.mul(q.exp_().mul_(g[n]), b[:, at, n, None], out=t)
                db[:, at, n] = q.mul_(w_now).sum(-1)
                dw[:, at] += t
                dr[:, at].addcmul_(t, a[:, n])
                da[:, n] += t.mul_(mass).sum((0, 1))
        return dr.mul_(w), dw, db, da, None


def _chunks(steps: int, size: int) -> list[slice]:
    return [slice(start, start + size) for start in range(0, steps, size)]


def recurrence(dt: Tensor, x: Tensor, b: Tensor, a: Tensor) -> Tensor:
    """The same state by the plain loop over steps. Shapes as ``last_state``."""
    h = torch.zeros(dt.shape[0], *a.shape, dtype=dt.dtype, device=dt.device)
    for t in range(dt.shape[1]):
        h = torch.exp(dt[:, t, :, None] * a) * h + (dt[:, t] * x[:, t])[..., None] * b[:, t, None]
    return h


def _kernel(dt: Tensor, x: Tensor, b: Tensor, a: Tensor, c: Tensor) -> Tensor:
    """The authors' fused scan, whose state has no gradient: so C is the last step's everywhere, and y is read there.

    Its tensors are (B, I, L) and (B, N, L).
    """
    try:
        library = import_module("mamba_ssm.ops.selective_scan_interface")
    except ModuleNotFoundError as error:
        raise SettingsError("the scan's backend is cuda_kernel: it needs the package mamba-ssm, found none") from error
    everywhere = c[:, :, None].expand(-1, -1, dt.shape[1]).contiguous()
    values, sizes, selected = (part.mT.contiguous() for part in (x, dt, b))
    y: Tensor = library.selective_scan_fn(values, sizes, a, selected, everywhere)  # (B, I, L)
    return y[..., -1]


def at_last(x: Tensor, length: Tensor) -> Tensor:
    """The step at ``length - 1``, never at index -1. (B, L, D) -> (B, D)."""
    index = (length - 1)[:, None, None].expand(-1, 1, x.shape[-1])
    return x.gather(1, index).squeeze(1)
