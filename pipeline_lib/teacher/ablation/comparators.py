"""Classical multi-task networks behind the face that the teacher's loop knows, so that only the structure differs.

They have no named experts: ``expert_names`` is empty, their gates are exposed under no name, and what the loop sees as
the single shared block is the tensor all tasks read (trunk of the shared bottom, experts of MMoE), where affinities
and gradient methods look. They have no second phase, since nothing named can be frozen: those epochs go to the first.
Source: teacher.md sections 4 (unnamed gates) and 19 (family B; "true shared bottom").
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn

from pipeline_lib.errors import SettingsError
from pipeline_lib.settings.ablation import ModelName, Trunk
from pipeline_lib.teacher.classic import PLE, MMoE, SharedBottom
from pipeline_lib.teacher.classic.heads import Heads
from pipeline_lib.teacher.contract import TaskSpec
from pipeline_lib.teacher.frame import Batch
from pipeline_lib.teacher.model import Perception, Teacher, TeacherOutput
from pipeline_lib.teacher.plan import Plan


class Raw(nn.Module):
    """Every task's tower reads the inputs themselves; nothing is shared. (B, D) -> {task: logits}."""

    def __init__(self, in_dim: int, tasks: dict[str, int], tower: Sequence[int], dropout: float) -> None:
        super().__init__()
        self.heads = Heads(tasks, in_dim, tower, dropout)
        self._tasks = len(tasks)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        logits: dict[str, Tensor] = self.heads(x[:, None].expand(-1, self._tasks, -1))
        return logits


class Comparator(nn.Module):
    """One of the classical networks over x and the edges side by side."""

    def __init__(self, net: nn.Module, tasks: Sequence[str]) -> None:
        super().__init__()
        self.net = net
        self.expert_names: tuple[str, ...] = ()
        self.task_names = tuple(tasks)
        self.experts = nn.ModuleDict()

    def forward(self, batch: Batch) -> TeacherOutput:
        return self.conclude(batch.x, self.perceive(batch))

    def perceive(self, batch: Batch) -> Perception:
        """The block that all tasks read, and for the gates beside it the inputs."""
        x = torch.cat([batch.x, batch.edges], dim=1)
        none = torch.zeros(len(x), 0, dtype=torch.bool, device=x.device)
        return Perception([shared_block(self.net, x)], none, {}, {"x": x})

    def conclude(self, _: Tensor, seen: Perception) -> TeacherOutput:
        logits = answer(self.net, seen.blocks[0], seen.diag["x"])
        rows, tasks = len(seen.avail), len(self.task_names)
        nothing = seen.blocks[0].new_zeros(rows, tasks, 0)
        return TeacherOutput(logits, nothing.new_ones(rows, tasks, 1), nothing, nothing, seen)


def shared_block(net: nn.Module, x: Tensor) -> Tensor:
    """(B, D) -> (B, W): what the tasks have in common."""
    if isinstance(net, SharedBottom):
        block: Tensor = net.trunk(x)
        return block
    if isinstance(net, MMoE):
        block = net.experts(x).flatten(1)
        return block
    return x


def answer(net: nn.Module, block: Tensor, x: Tensor) -> dict[str, Tensor]:
    """The rest of the network, from its shared block."""
    if isinstance(net, SharedBottom):
        found: dict[str, Tensor] = net.heads(block[:, None].expand(-1, net._tasks, -1))
        return found
    if isinstance(net, MMoE):
        gates = net.gate_weights(x)  # (B, T, E)
        found = net.heads(gates @ block.unflatten(1, (gates.shape[-1], -1)).float())
        return found
    found = net(block)
    return found


def build_comparator(model: ModelName, in_dim: int, tasks: Sequence[TaskSpec], trunk: Trunk) -> Teacher:
    """A network with fresh weights, for the teacher's loop, which only uses what ``Comparator`` has.

    Raises:
        SettingsError: no such model.
    """
    outs = {task.name: task.out for task in tasks}
    hidden, tower, drop = trunk.hidden, trunk.tower, trunk.dropout
    builders: dict[str, Callable[[], nn.Module]] = {
        "shared_bottom": lambda: SharedBottom(in_dim, outs, hidden, tower, drop),
        "mmoe": lambda: MMoE(in_dim, outs, hidden, tower, trunk.experts, drop),
        "ple_classic": lambda: PLE(in_dim, outs, hidden, tower, 1, trunk.experts, 1, drop),
        "raw": lambda: Raw(in_dim, outs, tower, drop),
    }
    if model not in builders:
        raise SettingsError(f"no network named {model}; known: teacher, {', '.join(builders)}")
    return cast(Teacher, Comparator(builders[model](), list(outs)))


def without_second_phase(plan: Plan, rows: int) -> Plan:
    """The epochs of phase 2 go to phase 1: equal optimiser steps, in the same order of rows."""
    epochs = sum(plan.epochs(phase, rows) for phase in plan.phases if phase.epochs)
    return replace(plan, phases=(replace(plan.phases[0], epochs=epochs, min_steps=1),))
