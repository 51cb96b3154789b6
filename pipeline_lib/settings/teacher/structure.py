"""Between experts and logits: gates, states, baskets, transfer, towers. Source: teacher.md sections 6 to 10."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pipeline_lib.settings.base import Section
from pipeline_lib.settings.teacher import experts as e

HmmMode = Literal["journey", "lifecycle", "behavior"]


class Private(Section):
    hidden: int = Field(ge=2)
    block_dim: int = Field(ge=2)
    """Width of every block that stage 1 mixes."""
    core_groups: list[str]
    """Feature groups the task-private experts read; a source may lack some. Empty: all."""


class Hmm(Section):
    """Which of the three hidden Markov models a task listens to. Source: section 7."""

    dim: int = Field(ge=2)
    routing: Literal["default", "off"]
    """default: rows without a valid state read a learned default; off: nothing is read."""
    modes: dict[str, HmmMode]


class Clusters(Section):
    dim: int = Field(ge=2)
    routing: Literal["soft", "hard", "off"]
    """soft: posterior-weighted embedding; hard: that of the likeliest cluster; off: the learned default for all."""


class Basket(Section):
    hidden: list[int] = Field(min_length=1)
    out_dim: int = Field(ge=2)
    dropout: float = Field(ge=0, lt=1)
    encoder_key: Literal["group_type", "group", "task"]
    """Tasks that share an encoder: of one group and kind, of one group, or none. Source: section 8."""


class TransferEdge(Section):
    source: str
    target: str
    mode: Literal["output_concat", "hidden_concat", "residual"]
    detach: bool
    """Stop the target's gradient at the source: protects the source's calibration."""


class Transfer(Section):
    """Logit transfer between tasks, a directed graph without cycles. Source: section 9."""

    edges: list[TransferEdge]
    """An edge whose source or target is no active task is passed over."""
    alpha: float = Field(ge=0, le=1)
    """Share of a residual edge."""


class Tower(Section):
    hidden: list[int] = Field(min_length=1)
    dropout: float = Field(ge=0, lt=1)


class Architecture(Section):
    """Widths of the network. Stored with a checkpoint, which they rebuild."""

    deepfm: e.DeepFM
    lightgcn: e.LightGCN
    hgcn: e.HGCN
    temporal: e.Temporal
    perslay: e.PersLay
    causal: e.Causal
    optimal_transport: e.OptimalTransport
    twin: bool
    """Replace every expert by a plain MLP of about its size on the same columns: an ablation's question."""
    private: Private
    hmm: Hmm
    clusters: Clusters
    basket: Basket
    transfer: Transfer
    tower: Tower


class Gating(Section):
    gate_type: Literal["softmax", "sigmoid_norm", "sigmoid_raw"]
    """Both stages: weights that sum to 1, sigmoids divided by their sum, or plain sigmoids."""
    stage2: bool
    """Off: named attention is uniform and only stage 1 chooses."""
    dim_normalize: bool
    """Scale a wide expert's block down by sqrt(mean width / width)."""
    entropy_weight: float = Field(ge=0, le=0.1)
    """Weight of the entropy bonus of stage 2; 0 collapses, 0.1 flattens. Source: section 6."""
    entropy_mode: Literal["per_sample", "batch_mean"]
    """Entropy of each row's weights, or of the batch's mean weights: the latter lets rows specialise."""
    prior: Literal["domain", "literal", "none"]
    """Initial gate bias: by ``preferred``, by ``preferred`` with ``literal`` rows, or flat."""
    preferred_bias: float
    other_bias: float
    """Initial gate bias of a task's preferred experts and of the others [logits]; neutral ones start at 0."""
    neutral_experts: list[e.ExpertName]
    preferred: dict[str, list[e.ExpertName]]
    """Task -> experts its stage-2 gate starts from; experts that are not active are passed over."""
    literal: dict[str, list[e.ExpertName]]
    """Rows of ``preferred`` as published, kept for reproduction."""
