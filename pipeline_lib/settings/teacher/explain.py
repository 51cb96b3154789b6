"""What the teacher says about its own predictions, and heads off the main path. Source: teacher.md 14 and 17."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from pipeline_lib.settings.base import Section


class Faithfulness(Section):
    """Do the gate weights tell which blocks the prediction used?"""

    rows: int = Field(ge=10)
    """Rows of part fidelity that are measured, newest keys first."""
    min_correlation: float = Field(ge=0, le=1)
    min_tasks: int = Field(ge=1)
    """Tasks that must reach it; all of them where fewer are active."""


class Attribution(Section):
    """CEH: a head that attributes the causal expert's output to its input columns."""

    enabled: bool
    hidden: int = Field(ge=2)
    epochs: int = Field(ge=1)
    """Passes over part fit, after the teacher is trained: the teacher cannot be touched."""
    rate: float = Field(gt=0)
    mean_decay: float = Field(gt=0, lt=1)
    """Decay of the running mean that is taken off the target, per batch."""
    gate_rows: int = Field(ge=100)
    min_variance_ratio: float = Field(ge=0)
    """Between-rows over within-row variance."""
    max_top10_overlap: float = Field(ge=0, le=1)
    noise_sigma: float = Field(gt=0)
    min_noise_spearman: float = Field(ge=0, le=1)
    min_target_spearman: float = Field(ge=0, le=1)
    top: int = Field(ge=5, le=10)
    """Columns written per row, those with the largest magnitude. Source: audit.md 5.6, ``top_features``."""


class OutOfDistribution(Section):
    """Mahalanobis distance of the causal latent, with a conformal threshold."""

    false_positive_rate: float = Field(gt=0, lt=1)
    tolerance: float = Field(gt=0, lt=1)
    """How far the rate on held-out rows may be from it, beyond what the number of rows explains."""
    override_rate: float = Field(gt=0, lt=1)
    """Rate of the second, farther threshold, beyond which serving leaves the model. Source: serving.md 4."""
    covariance: Literal["full", "diagonal"]
    space: Literal["latent_and_inputs", "latent"]
    """Whether the distance of the expert's columns counts beside its latent. Source: explain/ood.py."""
    reference_rows: int = Field(ge=100)
    """Rows of part fit that give centre and covariance, at most."""
    probe_rows: int = Field(ge=20)
    """Rows of part fidelity from which the synthetic probes are made."""
    min_probe_rate: float = Field(ge=0, le=1)
    """Share of the impossible probes that must be flagged."""

    @model_validator(mode="after")
    def _farther(self) -> OutOfDistribution:
        if self.override_rate > self.false_positive_rate:
            raise ValueError(f"override_rate {self.override_rate} exceeds the rate {self.false_positive_rate}")
        return self


class SparseCodes(Section):
    """Sparse autoencoder over the shared blocks, trained after the teacher on its outputs."""

    enabled: bool
    width: int = Field(ge=2)
    sparsity: float = Field(ge=0)
    epochs: int = Field(ge=1)
    rate: float = Field(gt=0)


class Evidential(Section):
    """Side heads that say how much evidence a prediction rests on."""

    enabled: bool
    hidden: int = Field(ge=2)
    penalty: float = Field(ge=0)
    anneal_epochs: int = Field(ge=1)
    epochs: int = Field(ge=1)
    rate: float = Field(gt=0)


class Explain(Section):
    multi_factor_ratio: float = Field(gt=0, le=1)
    """Share of the largest entropy above which no single expert is named."""
    faithfulness: Faithfulness
    attribution: Attribution
    out_of_distribution: OutOfDistribution
    sparse_codes: SparseCodes
    evidential: Evidential
