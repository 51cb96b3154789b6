"""E equal MLPs side by side: one batched product per layer, however many experts there are.

    h_e = drop(relu(W_e h_e + b_e)) per layer, e = 1..E

``B`` batch, ``E`` experts, ``D`` widths. The loop is over layers, never over experts.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from pipeline_lib.teacher.layers import TaskLinear


class ParallelMLP(nn.Module):
    """(B, D_in) for all or (B, E, D_in) one input each -> (B, E, hidden[-1])."""

    def __init__(self, in_dim: int, hidden: Sequence[int], experts: int, dropout: float = 0.0) -> None:
        super().__init__()
        parts: list[nn.Module] = []
        for width in hidden:
            parts += [TaskLinear(in_dim, width, range(experts)), nn.ReLU()]
            parts += [nn.Dropout(dropout)] if dropout else []
            in_dim = width
        self.stack = nn.Sequential(*parts)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.stack(x)
        return out
