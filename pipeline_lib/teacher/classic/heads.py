"""Towers and last layers of all tasks: tasks of one output width are one batched product.

    tower_t = relu(W_t h_t + b_t);  logits_t = V_t tower_t + c_t          logits only, no activation

Shapes: (B, T, H) -> {task: (B,) or (B, K)}. The loop is over distinct widths K, not over tasks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from pipeline_lib.teacher.classic.parallel import ParallelMLP
from pipeline_lib.teacher.layers import TaskLinear


class Heads(nn.Module):
    def __init__(self, tasks: Mapping[str, int], in_dim: int, hidden: Sequence[int], dropout: float = 0.0) -> None:
        super().__init__()
        self.towers = ParallelMLP(in_dim, hidden, len(tasks), dropout)
        top = hidden[-1] if hidden else in_dim
        self._names = tuple(tasks)
        self._groups = {
            width: [k for k, own in enumerate(tasks.values()) if own == width]
            for width in sorted(set(tasks.values()))
        }  # fmt: skip
        self.last = nn.ModuleDict(
            {str(width): TaskLinear(top, width, range(len(members))) for width, members in self._groups.items()}
        )

    def forward(self, h: Tensor) -> dict[str, Tensor]:
        top = self.towers(h)  # (B, T, hidden[-1])
        found: dict[str, Tensor] = {}
        for width, members in self._groups.items():
            rows = top if len(members) == len(self._names) else top[:, members]
            logits = self.last[str(width)](rows).float()  # (B, members, K)
            each = (logits[..., 0] if width == 1 else logits).unbind(1)
            found |= {self._names[k]: z for k, z in zip(members, each, strict=True)}
        return {name: found[name] for name in self._names}
