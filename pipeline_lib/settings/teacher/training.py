"""Losses, their weighting and the training loop. Source: teacher.md sections 10 to 15."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field, model_validator

from pipeline_lib.settings.base import Section
from pipeline_lib.settings.teacher.experts import ExpertName


class Loss(Section):
    imbalance: Literal["focal", "pos_weight_bce", "bce_logit_adjust"]
    """One remedy for rare positives, never two."""
    focal_gamma: float = Field(ge=0)
    pos_weight_range: tuple[float, float] = Field(strict=False)
    """Bounds of the weight of positives, negatives / positives of the train labels, under pos_weight_bce."""
    huber_delta: float = Field(gt=0)
    """In standard deviations of the label."""
    label_smoothing: float = Field(ge=0, le=0.05)
    class_weight_power: float = Field(ge=0, le=1)
    """Class weight = (n / (C n_c)) ** power: 1 balances the classes, 0 leaves the natural shares."""
    class_weight_range: tuple[float, float] = Field(strict=False)

    @model_validator(mode="after")
    def _ordered(self) -> Loss:
        for name in ("class_weight_range", "pos_weight_range"):
            _require_ordered(name, getattr(self, name))
        return self


class Weighting(Section):
    """How the task losses become one. Source: section 11."""

    method: Literal["uncertainty", "fixed", "uniform", "gradnorm", "dwa"]
    log_variance_range: tuple[float, float] = Field(strict=False)
    """Bounds of s = log sigma^2, held by projection; precisions exp(-s) stay within 1e-3 and 100."""
    focal_log_variance_floor: float
    """Lower bound of s for binary tasks, whose focal losses are near 0.01."""
    log_variance_init_batches: int = Field(ge=1)
    """s starts at ln of the mean loss over so many batches."""
    log_variance_rate: float = Field(gt=0)
    """Learning rate of s, which has no weight decay: at the model's rate it would not arrive within a run."""
    gradnorm_alpha: float = Field(ge=0)
    """Strength of the pull towards slow tasks."""
    gradnorm_rate: float = Field(gt=0)
    """Learning rate of GradNorm's weights, in their own optimiser."""
    dwa_temperature: float = Field(gt=0)
    """The larger, the more alike the weights of the dynamic average."""

    @model_validator(mode="after")
    def _ordered(self) -> Weighting:
        low, high = self.log_variance_range
        _require_ordered("log_variance_range", (low, high))
        _require_ordered("focal_log_variance_floor", (self.focal_log_variance_floor, high))
        least, most = -math.log(100), math.log(1000)
        if min(low, self.focal_log_variance_floor) < least or high > most:
            raise ValueError(f"log-variances must stay within {least:.3f} and {most:.3f}: precisions 100 and 1e-3")
        return self


class AdaTT(Section):
    """Loss-level transfer by gradient cosines; a null result kept as a diagnostic. Source: section 12."""

    enabled: bool
    measure: bool
    """Measure the affinity of tasks without acting on it: for the report."""
    space: Literal["parameters", "features"]
    """Gradients with respect to the shared experts' parameters, or to their outputs (cheap)."""
    every_steps: int = Field(ge=1)
    warmup_epochs: int = Field(ge=0)
    freeze_epoch: int = Field(ge=1)
    prior_start: float = Field(ge=0, le=1)
    prior_end: float = Field(ge=0, le=1)
    block_below: float = Field(ge=-1, le=0)
    """Pairs with a lower cosine transfer nothing."""
    strength: float = Field(ge=0)
    cap: float = Field(ge=0)
    """Largest transfer as a share of a task's own loss."""
    inter_group: float = Field(ge=0, le=1)
    """Prior affinity of tasks of different groups."""
    intra_group: dict[str, float]
    """Task group -> prior affinity of its tasks; in a group without one they count as strangers."""

    @model_validator(mode="after")
    def _dynamic_window(self) -> AdaTT:
        if self.freeze_epoch <= self.warmup_epochs:
            raise ValueError(f"freeze_epoch {self.freeze_epoch} must come after warmup_epochs {self.warmup_epochs}")
        return self


class GradientMethod(Section):
    """Reconciling the gradients of binary, multiclass and regression tasks; off in production. Source: section 13."""

    method: Literal["none", "pcgrad", "upgrad", "cagrad", "nash_mtl"]
    every_steps: int = Field(ge=1)


class PhaseTwo(Section):
    """Shared experts, private experts and gates frozen in evaluation mode; the rest goes on. Source: section 15."""

    epochs: int = Field(ge=0)
    """0: no second phase."""
    warmup_share: float = Field(ge=0, lt=1)
    rate_share: float = Field(gt=0, le=1)
    """Peak rates as a share of those of phase 1."""


class Training(Section):
    epochs: int = Field(ge=1)
    """Passes over the train rows in phase 1; the rate anneals over all of them."""
    min_steps: int = Field(ge=1)
    """Optimiser steps of a run at least: few train rows mean more epochs [steps]."""
    batch_rows: int = Field(ge=1)
    micro_rows: int = Field(ge=1)
    """Rows per forward pass; gradients of a batch are accumulated over them."""
    precision: Literal["auto", "fp32", "bf16", "fp16"]
    """auto: fp32 on the CPU; on CUDA bf16 where the card has it, else fp16 with a scaler."""
    patience_share: float = Field(gt=0, le=1)
    """Share of the run without a better composite after which training stops [0..1]; 1 never stops early."""
    schedule: Literal["cosine", "restarts"]
    warmup_share: float = Field(ge=0, lt=1)
    """Share of all steps in which the rate rises linearly [0..1]."""
    final_rate_share: float = Field(ge=0, le=1)
    """Rate at the last step as a share of the peak; cosine in between."""
    restart_epochs: int = Field(ge=1)
    """First period of ``restarts``; each is twice as long as the one before [epochs]."""
    weight_decay: float = Field(ge=0)
    clip_norm: float = Field(gt=0)
    base_rate: float = Field(gt=0)
    """Peak learning rate of everything without its own."""
    expert_rates: dict[ExpertName, float]
    """Peak learning rate of single experts."""
    structure_rates: dict[Literal["causal_edges", "ot_points"], float]
    """Peak learning rate of the causal edges W and of the transport prototypes and supports."""
    max_bad_steps: int = Field(ge=1)
    """Steps in a row with a loss that is not finite at which training aborts."""
    max_bad_share: float = Field(ge=0, le=1)
    """Share of an epoch's steps above which they abort it; one is let pass in any epoch, however short."""
    min_expert_std: float = Field(ge=0)
    """An expert whose output varies less over the rows that have its input is not wired: training fails."""
    phase2: PhaseTwo


class Selection(Section):
    ndcg_tasks: list[str]
    """Multiclass tasks whose classes are ranked for a customer: only these enter avg_ndcg. Source: section 18."""
    ndcg_k: int = Field(ge=1)


class Calibration(Section):
    min_rows: int = Field(ge=1)
    min_class_rows: int = Field(ge=1)
    """Below these a task stays uncalibrated, and its sidecar says so."""
    bias_penalty: float = Field(ge=0)
    """L2 on the class biases and the log-scale, over all rows [nats per squared logit]: holds classes without rows."""
    class_bias: list[str]
    """Multiclass tasks whose class probabilities are used: a bias per class puts back the shares that class weights
    moved. The others get a temperature alone, which keeps the most likely class."""
    linear: list[str]
    """Regressions whose values a line u + v x, v > 0, puts back to the label's mean. Source: distillation.md 10."""


def _require_ordered(name: str, bounds: tuple[float, float]) -> None:
    if bounds[0] >= bounds[1]:
        raise ValueError(f"{name}: {bounds[0]} is not below {bounds[1]}")
