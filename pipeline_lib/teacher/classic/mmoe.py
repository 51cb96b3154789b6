"""MMoE: every task mixes the same experts with a gate of its own.

Paper: Ma et al., "Modeling Task Relationships in Multi-task Learning with Multi-gate Mixture-of-Experts", KDD 2018.

    f_e = MLP_e(x), e = 1..E;  g_t = softmax(G_t x);  h_t = sum_e g_te f_e          (B, D) -> (B, T, H)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from pipeline_lib.teacher.classic.heads import Heads
from pipeline_lib.teacher.classic.parallel import ParallelMLP
from pipeline_lib.teacher.layers import TaskLinear


class MMoE(nn.Module):
    def __init__(
        self,
        in_dim: int,
        tasks: Mapping[str, int],
        hidden: Sequence[int],
        tower: Sequence[int],
        experts: int,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.experts = ParallelMLP(in_dim, hidden, experts, dropout)
        self.gates = TaskLinear(in_dim, experts, range(len(tasks)))
        self.heads = Heads(tasks, hidden[-1], tower, dropout)

    def gate_weights(self, x: Tensor) -> Tensor:
        """(B, D) -> (B, T, E), rows sum to 1."""
        weights: Tensor = self.gates(x).softmax(-1)
        return weights

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        mixed = self.gate_weights(x) @ self.experts(x)  # (B, T, E) @ (B, E, H) -> (B, T, H)
        logits: dict[str, Tensor] = self.heads(mixed)
        return logits
