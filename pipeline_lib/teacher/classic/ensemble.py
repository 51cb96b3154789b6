"""One network that is M networks: members share every weight matrix and differ by rank-one factors.

Papers: Wen et al., "BatchEnsemble", ICLR 2020; Gorishniy, Kotelnikov, Babenko, "TabM", ICLR 2025 (which factors, and
that each member is trained on its own loss while probabilities are averaged).

    layer: y_m = ((x_m * r_m) W) * s_m + b_m;  last: logits_mt = V_mt h_m + c_mt

Only the first r starts as random signs, all other factors as 1: members begin apart without beginning broken.
Shapes: (B, D) -> {task: (B, M) or (B, M, K)}. Cost: M times a shared bottom's products, at nearly its parameters.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from pipeline_lib.teacher.layers import TaskLinear


class MemberLinear(nn.Module):
    """(B, M, D_in), or (B, D_in) for all -> (B, M, D_out)."""

    def __init__(self, in_dim: int, out_dim: int, members: int, first: bool) -> None:
        super().__init__()
        self.shared = nn.Linear(in_dim, out_dim, bias=False)
        signs = torch.randint(0, 2, (members, in_dim)) * 2.0 - 1.0
        self.r = nn.Parameter(signs if first else torch.ones(members, in_dim))
        self.s = nn.Parameter(torch.ones(members, out_dim))
        self.bias = nn.Parameter(torch.empty(members, out_dim).uniform_(-1, 1) / math.sqrt(in_dim))

    def forward(self, x: Tensor) -> Tensor:
        rows = (x if x.dim() == 3 else x[:, None]) * self.r  # (B, M, D_in)
        return torch.addcmul(self.bias, self.shared(rows), self.s)


class BatchEnsemble(nn.Module):
    def __init__(
        self, in_dim: int, tasks: Mapping[str, int], hidden: Sequence[int], members: int, dropout: float = 0.0
    ) -> None:
        super().__init__()
        parts: list[nn.Module] = []
        for k, width in enumerate(hidden):
            parts += [MemberLinear(in_dim, width, members, first=k == 0), nn.ReLU()]
            parts += [nn.Dropout(dropout)] if dropout else []
            in_dim = width
        self.trunk = nn.Sequential(*parts)
        self.last = TaskLinear(in_dim, sum(tasks.values()), range(members))
        self._tasks = dict(tasks)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        logits = self.last(self.trunk(x)).float().split(list(self._tasks.values()), dim=-1)  # T x (B, M, K)
        return {t: z[..., 0] if z.shape[-1] == 1 else z for t, z in zip(self._tasks, logits, strict=True)}
