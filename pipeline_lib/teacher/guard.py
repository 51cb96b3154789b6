"""What happens when a loss is not finite.

A task whose loss is not finite is dropped for the step; a step whose total is not finite is skipped; both make the
step a bad one. Too many bad steps in a row, or in an epoch, end the training with what is needed to find the cause.
Source: teacher.md section 15.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from pipeline_lib.errors import TrainingDiverged
from pipeline_lib.teacher.weighting import Weighting

log = logging.getLogger(__name__)


class Guard:
    """Counts bad steps. A fresh guard per epoch is the same as one for all: nothing has to survive a resume.

    A step is judged in parts (losses of its slices, totals, the gradients' norm) and closed once.
    """

    def __init__(self, max_steps: int, max_share: float) -> None:
        self._max_steps, self._max_share = max_steps, max_share
        self._bad_tasks: dict[str, int] = {}  # of the epoch
        self._dropped: set[str] = set()  # of the step
        self._usable, self._scene = True, dict[str, Any]()  # of the step
        self._step, self._dump = 0, ""
        self.bad_steps = self.in_a_row = 0

    def keep(self, losses: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The losses that are finite."""
        if not losses:
            return {}
        finite = torch.stack([loss.detach() for loss in losses.values()]).isfinite().tolist()  # one synchronisation
        self._dropped |= {name for name, is_finite in zip(losses, finite, strict=True) if not is_finite}
        return {name: loss for (name, loss), is_finite in zip(losses.items(), finite, strict=True) if is_finite}

    def accept(self, total: Tensor, scene: Callable[[], Mapping[str, Any]] = dict) -> bool:
        """Whether ``total`` (a loss, a gradient's norm, or several numbers) is finite, so that it may be used.

        ``scene`` (see ``describe``) is called on bad steps only.
        """
        usable = bool(total.detach().isfinite().all())
        if not usable or self._dropped:
            self._scene = {**self._scene, **scene()}
        self._usable &= usable
        return usable

    def end_step(self, step: int) -> None:
        """Close a step.

        Raises:
            TrainingDiverged: it is the ``max_steps``-th bad step in a row.
        """
        tasks, usable, scene = sorted(self._dropped), self._usable, self._scene
        self._dropped, self._usable, self._scene = set(), True, {}
        if usable and not tasks:
            self.in_a_row = 0
            return
        for name in tasks:
            self._bad_tasks[name] = self._bad_tasks.get(name, 0) + 1
        self.bad_steps, self.in_a_row, self._step = self.bad_steps + 1, self.in_a_row + 1, step
        found = {"tasks": tasks, "total_finite": usable, "bad_steps_by_task": self._bad_tasks, **scene}
        self._dump = json.dumps(found, sort_keys=True)
        log.warning(
            "step %d is not finite: tasks %s, total %s", step, tasks or "none", "taken" if usable else "skipped"
        )
        if self.in_a_row >= self._max_steps:
            raise TrainingDiverged(f"step {step}: {self.in_a_row} steps in a row were not finite; {self._dump}", step)

    def end_epoch(self, steps: int) -> None:
        """Close an epoch of so many steps. One bad step is let pass however short the epoch.

        Raises:
            TrainingDiverged: more than ``max_share`` of them were bad.
        """
        bad, dump = self.bad_steps, self._dump
        self._bad_tasks, self._dump = {}, ""
        self.bad_steps = self.in_a_row = 0
        if bad > max(1.0, self._max_share * steps):
            raise TrainingDiverged(f"{bad} of {steps} steps of an epoch were not finite; the last: {dump}", self._step)


def describe(blocks: Mapping[str, Tensor], weighting: Weighting, optimiser: torch.optim.Optimizer) -> dict[str, Any]:
    """Range of every expert's output (B, d), the state of the weighting, the learning rates."""
    return {
        "expert_ranges": {name: [float(h.detach().min()), float(h.detach().max())] for name, h in blocks.items()},
        "weighting": weighting.state(),
        "rates": sorted({float(group["lr"]) for group in optimiser.param_groups}),
    }
