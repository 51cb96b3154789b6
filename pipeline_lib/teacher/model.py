"""The teacher network: named experts -> two gate stages -> states and baskets -> transfer -> towers -> logits.

Legend: ``B`` batch, ``E`` experts, ``T`` tasks, ``D`` sum of the experts' widths, ``S`` width of a stage-1 block,
``H`` basket width. The forward pass is pure: nothing is kept on the modules, everything returns in the output. It has
four steps, so that whoever explains a prediction can change one step's input and run the rest:

    perceive   batch            -> what the experts saw
    gates      perception       -> stage 1 (B, T, 1 + E), stage 2 (B, T, E)
    combine    blocks, gates    -> h1 (B, T, S), h2 (B, T, D)
    decide     h1, h2           -> logits, hidden (B, T, H)

Source: teacher.md sections 4 and 6 to 10.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from pipeline_lib.settings.teacher import Architecture, Gating
from pipeline_lib.teacher.contract import Inputs, TaskSpec
from pipeline_lib.teacher.experts import Expert, build_experts
from pipeline_lib.teacher.frame import Batch
from pipeline_lib.teacher.gating import Gate, PrivateMixture, attend, prior_bias, width_scales
from pipeline_lib.teacher.layers import TaskMLP
from pipeline_lib.teacher.states import ClusterEmbedding, HiddenStates
from pipeline_lib.teacher.towers import Towers
from pipeline_lib.teacher.transfer import Transfer


@dataclass(frozen=True)
class Perception:
    """What the experts saw: ``blocks`` E x (B, d_i), ``avail`` (B, E) bool, scalar losses, tensors to explain by."""

    blocks: list[Tensor]
    avail: Tensor
    aux: dict[str, Tensor]
    diag: dict[str, Tensor]
    leaf: Tensor | None = None  # (B, D), the blocks side by side, where gradients with respect to them stop

    def cut(self) -> Perception:
        """The same values, but no gradient reaches the experts through them: it stops at ``leaf``."""
        leaf = torch.cat(self.blocks, dim=1).detach().requires_grad_()
        return replace(self, blocks=list(leaf.split([b.shape[1] for b in self.blocks], dim=1)), leaf=leaf)


@dataclass(frozen=True)
class TeacherOutput:
    """``logits`` are never activated: (B,) binary and standardised regression, (B, K) multiclass."""

    logits: dict[str, Tensor]
    gate_stage1: Tensor  # (B, T, 1 + E): the private expert, then the named ones
    gate_stage2: Tensor  # (B, T, E): the named experts, in the model's order
    hidden: Tensor  # (B, T, H)
    seen: Perception


def build_model(
    inputs: Inputs, tasks: Sequence[TaskSpec], experts: Sequence[str], architecture: Architecture, gating: Gating
) -> Teacher:
    """The network with fresh weights (from torch's current seed).

    Raises:
        SettingsError: the gate prior or the state routing has no row for a task, or the transfer has a cycle.
    """
    return Teacher(inputs, tasks, build_experts(experts, inputs, architecture), architecture, gating)


def expert_of(experts: nn.ModuleDict, name: str) -> Expert:
    """The expert under a name, typed."""
    expert = experts[name]
    if not isinstance(expert, Expert):
        raise TypeError(f"{name} is a {type(expert).__name__}, expected an Expert")
    return expert


def shared_encoders(tasks: Sequence[TaskSpec], key: str) -> list[int]:
    """Which basket encodes each task. By (group, kind) loss kinds do not fight in one encoder."""
    parts = {"group_type": ("group", "kind"), "group": ("group",), "task": ("name",)}[key]
    keys = [tuple(getattr(task, part) for part in parts) for task in tasks]
    return [sorted(set(keys)).index(own) for own in keys]


class Teacher(nn.Module):
    scales: Tensor
    core: Tensor
    frozen: Tensor

    def __init__(
        self,
        inputs: Inputs,
        tasks: Sequence[TaskSpec],
        experts: nn.ModuleDict,
        architecture: Architecture,
        gating: Gating,
    ) -> None:
        super().__init__()
        a, names = architecture, [task.name for task in tasks]
        self.expert_names, self.task_names = tuple(experts), tuple(names)
        widths = [expert_of(experts, name).out_dim for name in self.expert_names]
        seen, ways = sum(widths) + len(widths), len(widths)
        self.experts = experts
        self.defaults = nn.ParameterDict({n: torch.zeros(w) for n, w in zip(experts, widths, strict=True)})
        self.gate1 = Gate(seen, 1 + ways, len(names), gating.gate_type)
        self.gate2 = Gate(seen, ways, len(names), gating.gate_type, prior_bias(names, self.expert_names, gating))
        self.mixture = PrivateMixture(len(inputs.core), a.private.hidden, a.private.block_dim, widths, len(names))
        modes = inputs.modes if a.hmm.routing == "default" else ()
        self.states = HiddenStates(modes, names, a.hmm.modes, a.hmm.dim)
        self.clusters = ClusterEmbedding(inputs.clusters, a.clusters.dim, a.clusters.routing)
        width = sum(widths) + a.private.block_dim + a.hmm.dim + a.clusters.dim
        owner = shared_encoders(tasks, a.basket.encoder_key)
        self.baskets = TaskMLP(width, a.basket.hidden, a.basket.out_dim, a.basket.dropout, owner)
        known = list(a.hmm.modes)
        self.transfer = Transfer(a.transfer.edges, tasks, known, a.basket.out_dim, a.transfer.alpha)
        self.towers = Towers(names, [task.out for task in tasks], a.basket.out_dim, a.tower.hidden, a.tower.dropout)
        self._attends = gating.stage2
        if not gating.stage2:
            self.gate2.requires_grad_(False)
        scales = width_scales(widths) if gating.dim_normalize else torch.ones(ways)
        self.register_buffer("scales", scales, persistent=False)
        self.register_buffer("core", torch.tensor(inputs.core), persistent=False)
        self.register_buffer("frozen", torch.zeros((), dtype=torch.bool))
        self.register_load_state_dict_post_hook(_refreeze)  # type: ignore[no-untyped-call]

    def forward(self, batch: Batch) -> TeacherOutput:
        return self.conclude(batch.x, self.perceive(batch))

    def conclude(self, x: Tensor, seen: Perception) -> TeacherOutput:
        """Everything after the experts."""
        gate1, gate2 = self.gates(seen)
        logits, hidden = self.decide(x, *self.combine(x, seen.blocks, gate1, gate2))
        return TeacherOutput(logits, gate1, gate2, hidden, seen)

    def perceive(self, batch: Batch) -> Perception:
        """Run the experts; a row without an expert's input gets that expert's learned default."""
        blocks, avail, aux, diag = [], [], {}, {}
        for name in self.expert_names:
            expert = expert_of(self.experts, name)
            out, has = expert(batch), expert.available(batch)
            blocks.append(torch.where(has[:, None], out.h.float(), self.defaults[name]))  # (B, d_i)
            avail.append(has)
            aux.update({f"{name}.{key}": value for key, value in out.aux.items()})
            diag.update({f"{name}.{key}": value for key, value in out.diag.items()})
        return Perception(blocks, torch.stack(avail, dim=1), aux, diag)

    def gates(self, seen: Perception) -> tuple[Tensor, Tensor]:
        """Weights of both stages; stage 2 is uniform where attention is switched off."""
        u = torch.cat([*seen.blocks, seen.avail.float()], dim=1)  # (B, D + E)
        private = torch.ones_like(seen.avail[:, :1])
        stage1 = self.gate1(u, torch.cat([private, seen.avail], dim=1))
        if not self._attends:
            return stage1, torch.full((len(u), *self.gate2._shape), 1 / len(seen.blocks), device=u.device)
        return stage1, self.gate2(u, seen.avail)

    def combine(self, x: Tensor, blocks: Sequence[Tensor], gate1: Tensor, gate2: Tensor) -> tuple[Tensor, Tensor]:
        """What the gates let through: the mixed block h1 (B, T, S) and the attended experts h2 (B, T, D)."""
        return self.mixture(x[:, self.core], blocks, gate1), attend(blocks, gate2, self.scales)

    def decide(self, x: Tensor, h1: Tensor, h2: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Logits and the state (B, T, H) each was read from, with the slow states of x beside h1 and h2."""
        cluster = self.clusters(x)[:, None].expand(-1, len(self.task_names), -1)
        h = self.baskets(torch.cat([h2, h1, self.states(x), cluster], dim=-1))  # (B, T, D + S + 64) -> (B, T, H)
        hidden: dict[int, Tensor] = {}
        logits: dict[int, Tensor] = {}
        for level in self.transfer.levels:
            for task in level:
                hidden[task] = self.transfer.receive(task, h[:, task], hidden, logits)
            found = self.towers(torch.stack([hidden[task] for task in level], dim=1), level)
            logits.update(zip(level, found, strict=True))
        named = {name: logits[task] for task, name in enumerate(self.task_names)}
        return named, torch.stack([hidden[task] for task in range(len(hidden))], dim=1)

    def freeze_perception(self) -> None:
        """Phase 2: experts, private experts, adapters and gates stay as they are, in evaluation mode, also reloaded."""
        self.frozen.fill_(True)
        for part in self._perceiving():
            part.requires_grad_(False).zero_grad()  # a gradient left behind would still count when norms are clipped
        self.train(self.training)

    def train(self, mode: bool = True) -> Teacher:
        super().train(mode)
        if self.frozen:
            for part in self._perceiving():
                part.eval()
        return self

    def _perceiving(self) -> Iterator[nn.Module]:
        yield from (self.experts, self.defaults, self.gate1, self.gate2, self.mixture)


def _refreeze(model: nn.Module, keys: Any) -> None:
    """A checkpoint of phase 2 comes back frozen."""
    if isinstance(model, Teacher) and model.frozen:
        model.freeze_perception()
