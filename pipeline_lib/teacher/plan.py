"""The numbers of a training run, free of settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline_lib.errors import ContractError
from pipeline_lib.teacher.loss import LossShape


@dataclass(frozen=True)
class Phase:
    """One stretch of training. ``rate_share`` scales the peak rates."""

    epochs: int
    min_steps: int
    warmup: float
    rate_share: float
    frozen: bool


@dataclass(frozen=True)
class Plan:
    """The numbers of one training run. ``entropy`` is the weight of the gates' entropy bonus."""

    seed: int
    phases: Sequence[Phase]
    patience_share: float
    batch_rows: int
    micro_rows: int
    predict_rows: int
    schedule: str
    restart_epochs: int
    final: float
    clip: float
    entropy: float
    entropy_mode: str
    gradient_method: str
    gradient_every: int
    loss: LossShape
    init_batches: int
    max_bad_steps: int
    max_bad_share: float
    min_expert_std: float
    ndcg_tasks: Sequence[str]
    ndcg_k: int

    def steps_per_epoch(self, rows: int) -> int:
        """Raises ContractError when there is nothing to train on."""
        if not rows:
            raise ContractError("teacher: no row is in part 'fit'")
        return -(-rows // self.batch_rows)

    def epochs(self, phase: Phase, rows: int) -> int:
        """Few rows mean more epochs."""
        return max(phase.epochs, -(-phase.min_steps // self.steps_per_epoch(rows)))
