"""Policy of the teacher: ``config/teacher.yaml``. Sections of teacher.md are the sources unless one is named."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from pipeline_lib.settings.base import Section

ExpertName = Literal["deepfm", "lightgcn", "hgcn", "temporal", "perslay", "causal", "optimal_transport"]
BuiltExpert = Literal["deepfm", "lightgcn", "temporal", "causal", "optimal_transport"]


class DeepFM(Section):
    field_dim: int = Field(ge=2)
    """Width k of a field's embedding, shared by the pairwise and the deep half."""
    hidden: list[int] = Field(min_length=1)
    """Widths of the deep half; the last one joins the pairwise half."""
    out_dim: int = Field(ge=2)
    dropout: float = Field(ge=0, lt=1)


class LightGCN(Section):
    item_dim: int = Field(ge=2)
    """Width of an item's embedding."""
    hops: int = Field(ge=1, le=4)
    """How many odd hops customer -> item (-> item)* are averaged: 1, 3, 5, ... edges away."""
    hidden: int = Field(ge=2)
    out_dim: int = Field(ge=2)
    dropout: float = Field(ge=0, lt=1)


class Scan(Section):
    width: int = Field(ge=2)
    """Width of the branch (d_model)."""
    expand: int = Field(ge=1)
    """Inner width as a multiple of ``width``."""
    states: int = Field(ge=1)
    """States per inner channel (d_state)."""
    conv: int = Field(ge=1)
    """Steps the causal depthwise convolution sees."""
    rank: int = Field(ge=1)
    """Rank of the step-size projection (dt_rank)."""
    chunk: int = Field(ge=1)
    """Steps materialised at once [steps]: bounds memory, changes no result beyond rounding."""


class Cell(Section):
    width: int = Field(ge=2)
    hidden: int = Field(ge=2)
    """Width of the backbone the three heads share."""
    max_gap_days: float = Field(gt=0)
    """Silence longer than this looks the same [d]."""


class Patch(Section):
    width: int = Field(ge=2)
    length: int = Field(ge=1)
    """Steps per patch."""
    heads: int = Field(ge=1)
    layers: int = Field(ge=1)
    hidden: int = Field(ge=2)

    @model_validator(mode="after")
    def _heads_divide(self) -> Patch:
        if self.width % self.heads:
            raise ValueError(f"patch width {self.width} is not a multiple of heads {self.heads}")
        return self


class Temporal(Section):
    max_steps: int = Field(ge=1)
    """The newest steps that are read, at most the schema's max_len [steps]: the cost of the expert is linear in it."""
    scan: Scan
    cell: Cell
    patch: Patch
    out_dim: int = Field(ge=2)
    dropout: float = Field(ge=0, lt=1)


class Causal(Section):
    latent: int = Field(ge=2)
    """Variables of the latent structural model."""
    hidden: int = Field(ge=2)
    out_dim: int = Field(ge=2)
    dropout: float = Field(ge=0, lt=1)
    edge_init: float = Field(gt=0)
    """Standard deviation of the initial edges; 0.01 let them collapse to zero. Source: section 5.6."""
    acyclicity: float = Field(ge=0)
    sparsity: float = Field(ge=0)
    reconstruction: float = Field(ge=0)
    """Weights of h(W), of ||W*W||_1 and of the reconstruction error in the expert's own loss."""


class OptimalTransport(Section):
    support: int = Field(ge=2)
    """Points the distributions live on."""
    support_dim: int = Field(ge=1)
    prototypes: int = Field(ge=2)
    hidden: int = Field(ge=2)
    out_dim: int = Field(ge=2)
    epsilon: float = Field(ge=0.01, le=1)
    """Entropic regularisation; below 0.01 diverges, above 1 blurs. Source: section 5.7."""
    iterations: int = Field(ge=5)
    dropout: float = Field(ge=0, lt=1)


class Private(Section):
    hidden: int = Field(ge=2)
    block_dim: int = Field(ge=2)
    """Width of every block that stage 1 mixes."""
    core_groups: list[str]
    """Feature groups the task-private experts read; empty: the groups the schema marks ``core``, else all."""


class Basket(Section):
    hidden: list[int] = Field(min_length=1)
    out_dim: int = Field(ge=2)
    dropout: float = Field(ge=0, lt=1)


class Tower(Section):
    hidden: list[int] = Field(min_length=1)
    dropout: float = Field(ge=0, lt=1)


class Architecture(Section):
    """Widths of the network. Stored with a checkpoint, which they rebuild."""

    deepfm: DeepFM
    lightgcn: LightGCN
    temporal: Temporal
    causal: Causal
    optimal_transport: OptimalTransport
    private: Private
    basket: Basket
    """Encoders shared by the tasks of one group and kind. Source: section 8."""
    tower: Tower


class Gating(Section):
    entropy_weight: float = Field(ge=0, le=0.1)
    """Weight of the entropy bonus of stage 2; 0 collapses, 0.1 flattens. Source: section 6."""
    preferred_bias: float
    other_bias: float
    """Initial gate bias of a task's preferred experts and of the others [logits]; neutral ones start at 0."""
    neutral_experts: list[ExpertName]
    preferred: dict[str, list[ExpertName]]
    """Task -> experts its stage-2 gate starts from; experts that are not active are passed over."""


class Loss(Section):
    focal_gamma: float = Field(ge=0)
    huber_delta: float = Field(gt=0)
    """In standard deviations of the label."""
    label_smoothing: float = Field(ge=0, le=0.05)
    class_weight_power: float = Field(ge=0, le=1)
    """Class weight = (n / (C n_c)) ** power: 1 balances the classes, 0 leaves the natural shares."""
    class_weight_range: tuple[float, float] = Field(strict=False)
    log_variance_range: tuple[float, float] = Field(strict=False)
    """Bounds of s = log sigma^2, held by projection. Source: section 11."""
    focal_log_variance_floor: float
    """Lower bound of s for focal tasks, whose losses are near 0.01."""
    log_variance_init_batches: int = Field(ge=1)
    """s starts at ln of the mean loss over so many batches."""

    @model_validator(mode="after")
    def _ordered(self) -> Loss:
        for name in ("class_weight_range", "log_variance_range"):
            low, high = getattr(self, name)
            if low >= high:
                raise ValueError(f"{name}: {low} is not below {high}")
        return self


class Training(Section):
    epochs: int = Field(ge=1)
    """Passes over the train rows; the rate anneals over all of them."""
    min_steps: int = Field(ge=1)
    """Optimiser steps of a run at least: few train rows mean more epochs [steps]."""
    batch_rows: int = Field(ge=1)
    patience_share: float = Field(gt=0, le=1)
    """Share of the run without a better composite after which training stops [0..1]; 1 never stops early."""
    warmup_share: float = Field(ge=0, lt=1)
    """Share of all steps in which the rate rises linearly [0..1]."""
    final_rate_share: float = Field(ge=0, le=1)
    """Rate at the last step as a share of the peak; cosine in between."""
    weight_decay: float = Field(ge=0)
    clip_norm: float = Field(gt=0)
    base_rate: float = Field(gt=0)
    """Peak learning rate of everything without its own."""
    expert_rates: dict[ExpertName, float]
    """Peak learning rate of single experts."""
    log_variance_rate: float = Field(gt=0)
    min_expert_std: float = Field(ge=0)
    """An expert whose output varies less over the rows that have its input is not wired: training fails."""


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
    multiclass_bias: bool
    """Fit a bias per class beside the temperature; needed when class weights moved the shares."""


class Teacher(Section):
    seed: int = Field(ge=0)
    device: Literal["auto", "cpu", "cuda"]
    threads: int = Field(ge=1)
    """Threads of torch on the CPU; part of the result, hence not a fact of the place."""
    predict_batch: int = Field(ge=1)
    """Rows per forward pass of the soft labels. Source: distillation.md 4."""
    experts: list[BuiltExpert] = Field(min_length=1)
    """Active experts; their order is the order of every gate tensor."""
    architecture: Architecture
    gating: Gating
    loss: Loss
    training: Training
    selection: Selection
    calibration: Calibration
    degenerate_std: float = Field(ge=0)
    """A task whose soft labels vary less is reported as degenerate. Source: distillation.md 4."""

    @model_validator(mode="after")
    def _distinct(self) -> Teacher:
        if len(set(self.experts)) != len(self.experts):
            raise ValueError(f"experts: a name is written twice in {self.experts}")
        if both := sorted(self.training.expert_rates.keys() - set(self.experts)):
            raise ValueError(f"training.expert_rates names {both}, which are not among experts {self.experts}")
        return self
