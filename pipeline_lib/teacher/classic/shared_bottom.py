"""Shared bottom: one trunk for all tasks, then a tower each. It has no gate, and nothing a gate could be made of.

Paper: Caruana, "Multitask Learning", Machine Learning 28, 1997.

    h = MLP(x);  logits_t = tower_t(h)          (B, D) -> (B, H) -> {task: (B,) or (B, K)}

Why it is here: a comparator named "shared bottom" that still mixes experts compares a network with itself (R34).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from pipeline_lib.teacher.classic.heads import Heads


class SharedBottom(nn.Module):
    def __init__(
        self, in_dim: int, tasks: Mapping[str, int], hidden: Sequence[int], tower: Sequence[int], dropout: float = 0.0
    ) -> None:
        super().__init__()
        parts: list[nn.Module] = []
        for width in hidden:
            parts += [nn.Linear(in_dim, width), nn.ReLU()]
            parts += [nn.Dropout(dropout)] if dropout else []
            in_dim = width
        self.trunk = nn.Sequential(*parts)
        self.heads = Heads(tasks, in_dim, tower, dropout)
        self._tasks = len(tasks)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        h = self.trunk(x)  # (B, H)
        logits: dict[str, Tensor] = self.heads(h[:, None].expand(-1, self._tasks, -1))
        return logits
