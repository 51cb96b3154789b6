"""One optimiser step: the batch in slices that fit into memory, forward, losses, weighting, backward.

Gradients of the slices add up, each scaled by its share of the batch, so the last short slice counts for its rows.
What looks at the tasks' gradients (affinity, GradNorm, gradient methods) does so at the experts' outputs.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline_lib.teacher.adatt import AdaTT
from pipeline_lib.teacher.contract import TaskSpec
from pipeline_lib.teacher.frame import Frame
from pipeline_lib.teacher.frozen import FrozenView
from pipeline_lib.teacher.gating import entropy_bonus
from pipeline_lib.teacher.gradients import reconciled
from pipeline_lib.teacher.guard import Guard, describe
from pipeline_lib.teacher.loss import LossShape, task_losses
from pipeline_lib.teacher.model import Perception, Teacher, TeacherOutput, expert_of
from pipeline_lib.teacher.plan import Plan
from pipeline_lib.teacher.precision import Precision
from pipeline_lib.teacher.weighting import Weighting

log = logging.getLogger(__name__)


@dataclass
class Trainee:
    """What is trained, and on what."""

    model: Teacher
    weighting: Weighting
    adatt: AdaTT
    frame: Frame
    tasks: Sequence[TaskSpec]
    precision: Precision

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    def modules(self) -> dict[str, torch.nn.Module]:
        return {"model": self.model, "weighting": self.weighting, "adatt": self.adatt}

    def losses(self, output: TeacherOutput, rows: Tensor, shape: LossShape) -> dict[str, Tensor]:
        targets = {name: label.to(self.device) for name, label in self.frame.targets(rows).items()}
        return task_losses(self.tasks, output.logits, targets, shape)


class Stepper:
    """Steps of one epoch. ``view`` stands in for the experts in phase 2."""

    def __init__(
        self,
        trainee: Trainee,
        plan: Plan,
        guard: Guard,
        optimiser: torch.optim.Optimizer,
        view: FrozenView | None,
    ) -> None:
        self._trainee, self._plan, self._guard, self._view = trainee, plan, guard, view
        self._optimiser, self._observed = optimiser, -1
        self._sums = Means()

    def means(self) -> dict[str, float]:
        return self._sums.means()

    def tell_experts(self, share: float) -> None:
        """How much of phase 1 is done."""
        if self._view is None:
            for name in self._trainee.model.expert_names:
                expert_of(self._trainee.model.experts, name).set_progress(share)

    def take(self, chunk: Tensor, step: int) -> bool:
        """``accumulate``; where the card's memory does not suffice once more, with half the rows at a time."""
        rows = min(self._plan.micro_rows, len(chunk))
        try:
            return self.accumulate(chunk, rows, step)
        except torch.cuda.OutOfMemoryError:
            log.warning("step %d: %d rows do not fit into the card's memory, trying half", step, rows)
        # Outside the handler: its traceback would keep the tensors of the failed attempt alive.
        self._optimiser.zero_grad(set_to_none=True)
        return self.accumulate(chunk, max(1, rows // 2), step)

    def accumulate(self, chunk: Tensor, micro_rows: int, step: int) -> bool:
        """Add the gradients of the batch, ``micro_rows`` rows at a time. False when no slice could be taken."""
        t, plan = self._trainee, self._plan
        cutting = plan.gradient_method != "none" and step % plan.gradient_every == 0 and self._view is None
        taken: list[tuple[dict[str, Tensor], int]] = []
        for rows in chunk.split(micro_rows):
            seen, read, output = self._look(rows, cutting)
            losses = self._guard.keep(t.losses(output, rows, plan.loss))
            if step != self._observed:  # once per step, on its first slice
                self._observe(losses, read, step)
                self._observed = step
            weighted = t.weighting(losses)
            own = self._own_losses(output, seen)
            total = t.adatt(weighted.parts, weighted.extra) + own
            blocks = dict(zip(t.model.expert_names, output.seen.blocks, strict=False))
            if not self._guard.accept(total, lambda: describe(blocks, t.weighting, self._optimiser)):  # noqa: B023
                continue
            share = len(rows) / len(chunk)
            if seen is not None and read is not None and read.leaf is not None:
                gradient = self._reconciled(weighted.parts, own, read.leaf, step)
                t.precision.scaled(total * share).backward()
                torch.cat(seen.blocks, dim=1).backward(t.precision.scaled(gradient * share))
            else:
                t.precision.scaled(total * share).backward()
            taken.append(({**losses, "total": total.detach()}, len(rows)))
        for found, count in taken:  # counted at the end: a batch that ran out of memory starts over
            self._sums.add(found, count)
        return bool(taken)

    def _look(self, rows: Tensor, cutting: bool) -> tuple[Perception | None, Perception | None, TeacherOutput]:
        """What the experts saw, what the rest reads of it (cut off where gradients are reconciled), and the answer."""
        t = self._trainee
        with t.precision.autocast():
            if self._view is not None:
                return None, None, self._view(rows, t.device)
            batch = t.frame.batch(rows).to(t.device)
            seen = t.model.perceive(batch)
            read = seen.cut() if cutting else seen
            return seen, read, t.model.conclude(batch.x, read)

    def _reconciled(self, parts: Mapping[str, Tensor], own: Tensor, leaf: Tensor, step: int) -> Tensor:
        """What goes back into the experts (B, D): the kinds' gradients reconciled, and that of the gates' entropy."""
        draw = torch.Generator().manual_seed(step)
        gradient = reconciled(by_kind(self._trainee.tasks, parts), leaf, self._plan.gradient_method, draw)
        rest = torch.autograd.grad(own, leaf, retain_graph=True, allow_unused=True)[0] if own.requires_grad else None
        return gradient if rest is None else gradient + rest

    def _own_losses(self, output: TeacherOutput, seen: Perception | None) -> Tensor:
        """Structure losses of the experts less the entropy bonus of the gates; nothing in phase 2."""
        zero = torch.zeros((), device=output.gate_stage2.device)
        if seen is None:
            return zero
        own = sum(seen.aux.values(), zero)
        if not self._plan.entropy or output.gate_stage2.shape[-1] < 2:
            return own
        return own - self._plan.entropy * entropy_bonus(output.gate_stage2, self._plan.entropy_mode)

    def _observe(self, losses: Mapping[str, Tensor], read: Perception | None, step: int) -> None:
        t = self._trainee
        if read is None or not losses:
            return
        if t.adatt.due(step):
            experts = [p for p in t.model.experts.parameters() if p.requires_grad]
            t.adatt.measure(losses, experts if t.adatt.space == "parameters" else read.blocks)
        if t.weighting.needs_gradients:
            t.weighting.observe(losses, {name: _norm(loss, read.blocks) for name, loss in losses.items()})


class Means:
    """Row-weighted means of losses."""

    def __init__(self) -> None:
        self._sums: dict[str, float] = {}
        self._rows: dict[str, int] = {}

    def add(self, losses: Mapping[str, Tensor], rows: int) -> None:
        for name, loss in losses.items():
            self._sums[name] = self._sums.get(name, 0.0) + float(loss.detach()) * rows
            self._rows[name] = self._rows.get(name, 0) + rows

    def means(self) -> dict[str, float]:
        return {name: value / self._rows[name] for name, value in self._sums.items()}


def by_kind(tasks: Sequence[TaskSpec], parts: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weighted losses summed over the tasks of a kind."""
    kinds = {task.name: task.kind for task in tasks}
    found: dict[str, Tensor] = {}
    for name, part in parts.items():
        found[kinds[name]] = found[kinds[name]] + part if kinds[name] in found else part
    return found


def _norm(loss: Tensor, blocks: Sequence[Tensor]) -> float:
    found = torch.autograd.grad(loss, list(blocks), retain_graph=True, allow_unused=True)
    return math.sqrt(sum(float(g.square().sum()) for g in found if g is not None))
