"""The two gate stages over named experts. Both feed the towers; what is exposed is what the prediction used.

Paper: Tang et al., "Progressive Layered Extraction (PLE)", RecSys 2020 (customised gate control, CGC).
``B`` batch, ``E`` experts, ``T`` tasks, ``D`` sum of the experts' widths d_i, ``S`` width of a stage-1 block.

    u     = [concat_i e_i, avail]
    stage 1: g_k = softmax(G1_k u + b1_k) over [private_k, experts];  h1_k = sum_i g_ki block_i           (B, S)
    stage 2: w_k = softmax(G2_k u + b2_k) over experts;  h2_k = concat_i(E * w_ki * s_i * e_i)            (B, D)
             s_i = sqrt(mean_dim / d_i)

How ours differs: stage 2 (attention over named experts, kept apart instead of summed) is ours, and the factor E
makes uniform attention the identity. Source: teacher.md section 6.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from pipeline_lib.errors import SettingsError
from pipeline_lib.settings.teacher import EXPERTS, Gating
from pipeline_lib.teacher.layers import TaskMLP

CLOSED = -1e4  # logit of an expert whose input is missing: finite, so that its gradient is 0 and not NaN


class Gate(nn.Module):
    """One linear map per task to ``ways`` shares. (B, U) and open (B, ways) -> (B, T, ways).

    Rows sum to 1, except under ``sigmoid_raw``. A row with nothing open weighs all ways alike.
    """

    def __init__(self, in_dim: int, ways: int, tasks: int, gate_type: str, bias: Tensor | None = None) -> None:
        super().__init__()
        self.linear = nn.Linear(in_dim, tasks * ways)
        self._shape, self._type = (tasks, ways), gate_type
        if bias is not None:  # (T, ways): start exactly at the prior
            nn.init.zeros_(self.linear.weight)
            self.linear.bias.data.copy_(bias.flatten())

    def forward(self, u: Tensor, open_ways: Tensor) -> Tensor:
        logits = self.linear(u).float().unflatten(1, self._shape)  # (B, T, ways)
        some = open_ways.any(dim=1, keepdim=True)
        logits = logits * some[:, None]
        closed = ~(open_ways | ~some)[:, None]  # (B, 1, ways)
        if self._type == "softmax":
            shares: Tensor = logits.masked_fill(closed, CLOSED).softmax(dim=-1)
            return shares
        weights: Tensor = torch.sigmoid(logits).masked_fill(closed, 0.0)
        if self._type == "sigmoid_raw":
            return weights
        return weights / weights.sum(-1, keepdim=True).clamp(min=1e-6)


class PrivateMixture(nn.Module):
    """Stage 1: each task mixes its private expert with the shared ones. -> (B, T, S)."""

    def __init__(self, core_dim: int, hidden: int, block_dim: int, expert_dims: Sequence[int], tasks: int) -> None:
        super().__init__()
        self.private = TaskMLP(core_dim, [hidden], block_dim, 0.0, range(tasks))
        self.adapters = nn.ModuleList(
            nn.Identity() if dim == block_dim else nn.Linear(dim, block_dim) for dim in expert_dims
        )

    def forward(self, core: Tensor, experts: Sequence[Tensor], weights: Tensor) -> Tensor:
        blocks = torch.stack([a(e) for a, e in zip(self.adapters, experts, strict=True)], dim=1)  # (B, E, S)
        shared = weights[:, :, 1:] @ blocks.to(weights.dtype)  # (B, T, E) @ (B, E, S) -> (B, T, S)
        mixed: Tensor = weights[:, :, :1] * self.private(core) + shared
        return mixed


def attend(experts: Sequence[Tensor], weights: Tensor, scales: Tensor) -> Tensor:
    """Stage 2: h2 = concat_i(E * w_i * s_i * e_i). experts E x (B, d_i), weights (B, T, E) -> (B, T, D)."""
    factor = weights * (scales * len(experts))  # (B, T, E)
    return torch.cat([factor[:, :, i, None] * e[:, None] for i, e in enumerate(experts)], dim=-1)


def width_scales(dims: Sequence[int]) -> Tensor:
    """s_i = sqrt(mean_dim / d_i): a wide expert is not louder for being wide. (E,)."""
    mean = sum(dims) / len(dims)
    return torch.tensor([math.sqrt(mean / dim) for dim in dims])


def prior_bias(tasks: Sequence[str], experts: Sequence[str], gating: Gating) -> Tensor:
    """Initial stage-2 bias: what the domain says before any data. (T, E).

    Raises:
        SettingsError: an active task has no row, so its prior would silently be flat; or an expert is unknown.
    """
    if unknown := sorted(set(experts) - set(EXPERTS)):
        raise SettingsError(f"teacher.yaml: experts {unknown} are not known; known: {', '.join(EXPERTS)}")
    if missing := [task for task in tasks if task not in gating.preferred]:
        raise SettingsError(f"teacher.yaml: gating.preferred has no row for tasks {missing}")
    preferred: Mapping[str, Sequence[str]] = gating.preferred
    if gating.prior == "literal":
        preferred = {**gating.preferred, **gating.literal}

    def bias(task: str, expert: str) -> float:
        if gating.prior == "none" or expert in gating.neutral_experts:
            return 0.0
        return gating.preferred_bias if expert in preferred[task] else gating.other_bias

    return torch.tensor([[bias(task, expert) for expert in experts] for task in tasks])


def entropy(weights: Tensor) -> Tensor:
    """-sum w ln w [nats] of weights brought to sum 1. (..., ways) -> (...)."""
    share = weights / weights.sum(-1, keepdim=True).clamp(min=1e-6)
    return -(share * share.clamp(min=1e-6).log()).sum(-1)


def entropy_bonus(weights: Tensor, mode: str) -> Tensor:
    """What is rewarded: mean entropy of a row's weights, or the entropy of the batch's mean weights. Scalar [nats]."""
    return entropy(weights.mean(0) if mode == "batch_mean" else weights).mean()
