"""Widths and rules of the seven experts. Source: teacher.md section 5."""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import Field, model_validator

from pipeline_lib.settings.base import Section

ExpertName = Literal["deepfm", "lightgcn", "hgcn", "temporal", "perslay", "causal", "optimal_transport"]
EXPERTS: tuple[ExpertName, ...] = get_args(ExpertName)
"""In the order of every gate tensor. Source: teacher.md section 3, ``avail``."""


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


class HGCN(Section):
    refine: int = Field(ge=2)
    """Width of the residual refinement of the tangent vector."""
    out_dim: int = Field(ge=2)
    dropout: float = Field(ge=0, lt=1)
    in_graph: bool
    """Learn the category tree inside the teacher instead of reading the feature stage's coordinates of it."""
    node_dim: int = Field(ge=2)
    layers: int = Field(ge=1)
    """Coordinates and graph layers of the in-graph tree."""


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


class PersLay(Section):
    point_dim: int = Field(ge=2)
    """Width of a point's embedding and of a block's summary."""
    phi: Literal["rational_hat", "gaussian"]
    weight: Literal["persistence", "linear", "learned"]
    """How much a point counts: its persistence, all alike, or learned."""
    pool: Literal["sum", "mean", "max", "attention"]
    hidden: int = Field(ge=2)
    out_dim: int = Field(ge=2)
    dropout: float = Field(ge=0, lt=1)


class Causal(Section):
    latent: int = Field(ge=2)
    """Variables of the latent structural model."""
    hidden: int = Field(ge=2)
    out_dim: int = Field(ge=2)
    dropout: float = Field(ge=0, lt=1)
    edge_sign: Literal["signed", "nonneg"]
    """signed: edges are W; nonneg: W*W, the published form."""
    edge_init: float = Field(gt=0)
    """Standard deviation of the initial edges; 0.01 let them collapse to zero. Source: section 5.6."""
    acyclicity: float = Field(ge=0)
    sparsity: float = Field(ge=0)
    reconstruction: float = Field(ge=0)
    """Weights of h(W), of ||W*W||_1 and of the reconstruction error in the expert's own loss."""
    acyclicity_end: float = Field(ge=0)
    """Weight of h(W) from half of phase 1 on; it rises geometrically until then, so that h < 1e-3 at the end."""


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
