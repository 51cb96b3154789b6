"""PLE: each task has experts of its own beside the shared ones, and levels stack.

Paper: Tang et al., "Progressive Layered Extraction (PLE)", RecSys 2020. ``T`` tasks, ``m`` experts of each task, ``s``
shared experts, ``S`` = T + 1 streams (one per task, then the shared one), ``H`` width of an expert.

    level l:  f_k = experts of stream k applied to h_k of level l-1 (x at level 1)
              h_t = softmax(G_t h_t) over [own m, shared s]            task streams
              h_s = softmax(G_s h_s) over [all T m, shared s]          shared stream, not at the last level

The shared gate reads the shared stream and sees every expert; at the last level nothing would read its output, so
neither the stream nor the gate exists there. All (T m + s) experts of a level are one batched product.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from pipeline_lib.teacher.classic.heads import Heads
from pipeline_lib.teacher.classic.parallel import ParallelMLP
from pipeline_lib.teacher.layers import TaskLinear


class Extraction(nn.Module):
    """One level. (B, D) or (B, S, D) -> (B, S, H), at the last level (B, T, H)."""

    streams: Tensor

    def __init__(
        self, in_dim: int, hidden: Sequence[int], tasks: int, own: int, shared: int, last: bool, dropout: float
    ) -> None:
        super().__init__()
        self._tasks, self._own, self._plain = tasks, own, own == shared == 1
        streams = [k for k in range(tasks) for _ in range(own)] + [tasks] * shared
        self.register_buffer("streams", torch.tensor(streams), persistent=False)
        self.experts = ParallelMLP(in_dim, hidden, len(streams), dropout)
        self.gates = TaskLinear(in_dim, own + shared, range(tasks))
        self.shared_gate = None if last else nn.Linear(in_dim, len(streams))

    def gate_weights(self, h: Tensor) -> Tensor:
        """Task gates. (B, D) or (B, S, D) -> (B, T, m + s), rows sum to 1; own experts come first."""
        weights: Tensor = self.gates(h if h.dim() == 2 else h[:, :-1]).softmax(-1)
        return weights

    def forward(self, h: Tensor) -> Tensor:
        rows = h if h.dim() == 2 or self._plain else h[:, self.streams]  # (B, T m + s, D)
        f = self.experts(rows)  # (B, T m + s, H)
        split = self._tasks * self._own
        own, shared = f[:, :split].unflatten(1, (self._tasks, self._own)), f[:, split:]
        g = self.gate_weights(h)
        mixed: Tensor = (g[:, :, : self._own, None] * own).sum(2) + _mix(g[:, :, self._own :], shared)  # (B, T, H)
        if self.shared_gate is None:
            return mixed
        everything = self.shared_gate(h if h.dim() == 2 else h[:, -1]).softmax(-1)  # (B, T m + s)
        return torch.cat([mixed, (everything[..., None] * f).sum(1, keepdim=True)], dim=1)  # (B, T + 1, H)


def _mix(weights: Tensor, experts: Tensor) -> Tensor:
    """(B, T, s) and (B, s, H) -> (B, T, H). B products of one row are slow: one expert is a plain product."""
    return weights * experts if experts.shape[1] == 1 else weights @ experts


class PLE(nn.Module):
    """(B, D) -> {task: (B,) or (B, K)}."""

    def __init__(
        self,
        in_dim: int,
        tasks: Mapping[str, int],
        hidden: Sequence[int],
        tower: Sequence[int],
        own: int = 1,
        shared: int = 1,
        levels: int = 2,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        widths = [in_dim] + [hidden[-1]] * (levels - 1)
        self.levels = nn.Sequential(
            *(
                Extraction(width, hidden, len(tasks), own, shared, last=level == levels - 1, dropout=dropout)
                for level, width in enumerate(widths)
            )
        )
        self.heads = Heads(tasks, hidden[-1], tower, dropout)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        logits: dict[str, Tensor] = self.heads(self.levels(x))
        return logits
