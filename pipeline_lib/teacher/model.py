"""The teacher network: named experts -> two gate stages -> baskets -> towers -> logits.

Legend: ``B`` batch, ``E`` experts, ``T`` tasks, ``D`` sum of the experts' widths, ``S`` width of a stage-1 block,
``H`` basket width. The forward pass is pure: nothing is kept on the modules, everything returns in the output.
Source: teacher.md sections 4, 6, 8 and 10. HMM projections, cluster embeddings and logit transfer (sections 7-9)
wait for their inputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pipeline_lib.settings.teacher import Architecture, Gating
from pipeline_lib.teacher.contract import Inputs, TaskSpec
from pipeline_lib.teacher.experts import Expert, build_experts
from pipeline_lib.teacher.frame import Batch
from pipeline_lib.teacher.gating import Gate, PrivateMixture, attend, entropy, prior_bias, width_scales
from pipeline_lib.teacher.layers import TaskMLP
from pipeline_lib.teacher.towers import Towers


@dataclass(frozen=True)
class Perception:
    """What the experts saw. ``blocks`` E x (B, d_i), ``avail`` (B, E) bool, ``aux`` scalar losses."""

    blocks: list[Tensor]
    avail: Tensor
    aux: dict[str, Tensor]


@dataclass(frozen=True)
class TeacherOutput:
    """``logits`` are never activated: (B,) binary and standardised regression, (B, K) multiclass."""

    logits: dict[str, Tensor]
    gate_stage1: Tensor  # (B, T, 1 + E): the private expert, then the named ones
    gate_stage2: Tensor  # (B, T, E): the named experts, in the model's order
    seen: Perception


def build_model(
    inputs: Inputs, tasks: Sequence[TaskSpec], experts: Sequence[str], architecture: Architecture, gating: Gating
) -> Teacher:
    """The network with fresh weights (from torch's current seed).

    Raises:
        SettingsError: the gate prior has no row for a task.
    """
    modules = build_experts(experts, inputs, architecture)
    names = [task.name for task in tasks]
    prior = prior_bias(
        names, experts, gating.preferred, gating.neutral_experts, gating.preferred_bias, gating.other_bias
    )
    private, basket, tower = architecture.private, architecture.basket, architecture.tower
    widths = [expert_of(modules, name).out_dim for name in experts]
    mixture = PrivateMixture(len(inputs.core), private.hidden, private.block_dim, widths, len(tasks))
    owner = shared_encoders(tasks)
    encoder = TaskMLP(sum(widths) + private.block_dim, basket.hidden, basket.out_dim, basket.dropout, owner)
    towers = Towers(names, [task.out for task in tasks], basket.out_dim, tower.hidden, tower.dropout)
    return Teacher(modules, widths, mixture, encoder, towers, prior, inputs.core)


def expert_of(experts: nn.ModuleDict, name: str) -> Expert:
    """The expert under a name, typed."""
    expert = experts[name]
    if not isinstance(expert, Expert):
        raise TypeError(f"{name} is a {type(expert).__name__}, expected an Expert")
    return expert


def shared_encoders(tasks: Sequence[TaskSpec]) -> list[int]:
    """Which basket encodes each task: one per (group, kind), so that loss kinds do not fight in one encoder."""
    keys = sorted({(task.group, task.kind) for task in tasks})
    return [keys.index((task.group, task.kind)) for task in tasks]


class Teacher(nn.Module):
    scales: Tensor
    core: Tensor

    def __init__(
        self,
        experts: nn.ModuleDict,
        widths: Sequence[int],
        mixture: PrivateMixture,
        baskets: TaskMLP,
        towers: Towers,
        prior: Tensor,
        core: Sequence[int],
    ) -> None:
        super().__init__()
        self.expert_names = tuple(experts)
        self.task_names = towers.names
        self.experts, self.mixture, self.baskets, self.towers = experts, mixture, baskets, towers
        self.defaults = nn.ParameterDict({n: torch.zeros(w) for n, w in zip(experts, widths, strict=True)})
        seen = sum(widths) + len(widths)
        self.gate1 = Gate(seen, 1 + len(widths), len(self.task_names))
        self.gate2 = Gate(seen, len(widths), len(self.task_names), prior)
        self.register_buffer("scales", width_scales(widths), persistent=False)
        self.register_buffer("core", torch.tensor(core), persistent=False)

    def forward(self, batch: Batch) -> TeacherOutput:
        seen = self.perceive(batch)
        gate1, gate2 = self.gates(seen)
        return TeacherOutput(self.answer(batch, seen, gate1, gate2), gate1, gate2, seen)

    def perceive(self, batch: Batch) -> Perception:
        """Run the experts; a row without an expert's input gets that expert's learned default."""
        blocks, avail, aux = [], [], {}
        for name in self.expert_names:
            expert = expert_of(self.experts, name)
            out, has = expert(batch), expert.available(batch)
            blocks.append(torch.where(has[:, None], out.h.float(), self.defaults[name]))  # (B, d_i)
            avail.append(has)
            aux.update({f"{name}.{key}": value for key, value in out.aux.items()})
        return Perception(blocks, torch.stack(avail, dim=1), aux)

    def gates(self, seen: Perception) -> tuple[Tensor, Tensor]:
        u = torch.cat([*seen.blocks, seen.avail.float()], dim=1)  # (B, D + E)
        private = torch.ones_like(seen.avail[:, :1])
        return self.gate1(u, torch.cat([private, seen.avail], dim=1)), self.gate2(u, seen.avail)

    def answer(self, batch: Batch, seen: Perception, gate1: Tensor, gate2: Tensor) -> dict[str, Tensor]:
        """Logits as a function of the gate weights: whoever explains by them can also change them."""
        h1 = self.mixture(batch.x[:, self.core], seen.blocks, gate1)  # (B, T, S)
        h2 = attend(seen.blocks, gate2, self.scales)  # (B, T, D)
        h = self.baskets(torch.cat([h2, h1], dim=-1))  # (B, T, D + S) -> (B, T, H)
        logits: dict[str, Tensor] = self.towers(h)
        return logits


def gate_entropy(output: TeacherOutput) -> Tensor:
    """Mean entropy of stage 2 over rows and tasks [nats]. Scalar."""
    return entropy(output.gate_stage2).mean()
