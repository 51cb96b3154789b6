"""Policy of distillation: ``config/distillation.yaml``. Source: distillation.md section 17."""

from __future__ import annotations

import logging
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from pipeline_lib.settings.base import Section

log = logging.getLogger(__name__)


class SchemaColumn(Section):
    """A column of the feature schema and the group it belongs to."""

    group: str
    """Group of the schema; a source that lacks the group is excused from the column."""
    column: str


class Segment(SchemaColumn):
    edges: list[float] = Field(min_length=1)
    """Ascending inner edges of the raw column [its units]; n edges make n + 1 segments, NaN is in none."""

    @model_validator(mode="after")
    def _ascending(self) -> Segment:
        if sorted(set(self.edges)) != self.edges:
            raise ValueError(f"edges of {self.column} must ascend without repeats, found {self.edges}")
        return self


class Evidence(Section):
    """Labelled rows a task needs in each evaluation partition. Source: distillation.md 3."""

    full_rows: int = Field(ge=1)
    full_class_rows: int = Field(ge=1)
    """Rows of each class, binary only. Below one of these two a result is marked underpowered."""
    min_rows: int = Field(ge=1)
    min_class_rows: int = Field(ge=1)
    """Below one of these two there is no student at all (INSUFFICIENT_EVIDENCE). A small source may lower them."""
    bootstraps: int = Field(ge=20)
    """Customer-level resamples of a 95% interval."""

    @model_validator(mode="after")
    def _minimum_not_above_full(self) -> Evidence:
        if self.min_rows > self.full_rows or self.min_class_rows > self.full_class_rows:
            raise ValueError(
                f"min_rows {self.min_rows} / min_class_rows {self.min_class_rows} exceed "
                f"full_rows {self.full_rows} / full_class_rows {self.full_class_rows}"
            )
        return self


class TeacherThreshold(Section):
    """Which route a task takes, by the teacher's metric on validation. Source: distillation.md 7."""

    binary_min_auc: float = Field(ge=0.5, lt=1)
    """distil at or above this AUC."""
    binary_floor_auc: float = Field(ge=0.5, lt=1)
    """rules at or below this AUC; direct in between."""
    multiclass_ratio: float = Field(gt=1)
    """distil at or above ratio / K macro-F1, capped half-way between random and perfect."""
    multiclass_floor_ratio: float = Field(gt=0)
    """rules at or below ratio / K macro-F1."""
    regression_min_r2: float = Field(gt=0, lt=1)
    regression_floor_r2: float = Field(gt=0, lt=1)

    @model_validator(mode="after")
    def _ordered(self) -> TeacherThreshold:
        pairs = (
            ("binary", self.binary_floor_auc, self.binary_min_auc),
            ("multiclass", self.multiclass_floor_ratio, self.multiclass_ratio),
            ("regression", self.regression_floor_r2, self.regression_min_r2),
        )
        if bad := [f"{kind}: floor {floor} >= minimum {least}" for kind, floor, least in pairs if floor >= least]:
            raise ValueError("; ".join(bad))
        return self


class BinaryFidelity(Section):
    max_auc_gap: float = Field(gt=0)
    max_ece: float = Field(gt=0)
    """Upper end of the ECE limit min(max_ece, max(min_ece, base rate / 2))."""
    min_ece: float = Field(gt=0)
    max_segment_gap: float = Field(gt=0)
    collapse_ranking_corr: float
    """Tier 1 floor of Spearman's correlation; ``min_ranking_corr`` is the Tier 2 one."""
    min_ranking_corr: float
    min_agreement: float
    max_jsd: float
    min_topdecile_overlap: float
    amber_auc_gap: float
    amber_ranking_corr: float
    amber_ece: float
    """Amber: met is better, missed is only reported."""


class MulticlassFidelity(Section):
    max_f1_macro_gap: float = Field(gt=0)
    """Upper end of the limit min(max, max(min, share x teacher's macro-F1))."""
    min_f1_macro_gap: float = Field(gt=0)
    f1_gap_share: float = Field(gt=0)
    segment_gap_factor: float = Field(gt=0)
    """Limit of the worst segment's gap, in multiples of the limit above."""
    collapse_agreement: float
    collapse_agreement_ratio: float
    """Tier 1 floor of argmax agreement: min(collapse_agreement, ratio / K)."""
    min_agreement: float
    max_jsd: float


class RegressionFidelity(Section):
    max_nmae_gap: float = Field(gt=0)
    max_nrmse_gap: float = Field(gt=0)
    """Gaps of MAE and RMSE in standard deviations of the label."""
    max_segment_gap: float = Field(gt=0)
    collapse_ranking_corr: float
    min_ranking_corr: float
    min_quartile_agreement: float
    amber_ranking_corr: float


class Fidelity(Section):
    """Limits of how far a student may be from its teacher. Source: distillation.md 11.2."""

    mode: Literal["tiered", "strict"]
    """tiered: Tier 1 blocks and Tier 2 is reported; strict: both block. Both are always computed."""
    kl_rel_max: float = Field(gt=0, le=1)
    """Share of the teacher's information that may be lost; a constant student loses 1."""
    min_dispersion: float = Field(gt=0)
    max_dispersion: float = Field(gt=1)
    max_speed_ratio: float = Field(gt=0)
    """Student over teacher time. A clock has no place in an artefact: the benchmark measures it."""
    min_segment_rows: int = Field(ge=1)
    min_segment_positives: int = Field(ge=1)
    """Segments with fewer fidelity rows (positives, if binary) are not compared."""
    segments: dict[str, Segment]
    """Name -> cut of a raw feature; gaps are compared within each."""
    binary: BinaryFidelity
    multiclass: MulticlassFidelity
    regression: RegressionFidelity


class FeatureSelection(Section):
    method: Literal["lgbm_gain"]
    cumulative: float = Field(gt=0, le=1)
    """Share of the probe's gain the kept columns reach."""
    min: int = Field(ge=1)
    max: int = Field(ge=1)
    """Columns kept at least and at most, before the mandatory ones."""
    mandatory: dict[str, SchemaColumn]
    """Concept -> column that stays in every student. Source: distillation.md 8, aliases features.md 9."""

    @model_validator(mode="after")
    def _range(self) -> FeatureSelection:
        if self.min > self.max:
            raise ValueError(f"min {self.min} > max {self.max}")
        return self


class Isotonic(Section):
    """When steps replace Platt's sigmoid. Source: distillation.md 10."""

    min_positives: int = Field(ge=1)
    """Positives of ``calib`` at least."""
    min_ece_gain: float = Field(ge=0)
    """Calibration error must fall by more than this on a third of ``calib`` kept aside."""
    max_knots: int = Field(ge=2)


class Calibration(Section):
    method: Literal["platt"]
    """Binary tasks."""
    isotonic: Isotonic
    tasks: list[str]
    """Binary tasks with Platt's sigmoid on the raw score."""
    ovr_tasks: list[str]
    """Multiclass tasks with one sigmoid per class, then renormalised."""
    linear_tasks: list[str]
    """Regression tasks with y = u + v x."""
    min_class_rows: int = Field(ge=1)
    """A class with fewer calibration rows passes through unchanged."""


class Lgbm(Section):
    """How trees are grown. Source: distillation.md 9."""

    learning_rate: float = Field(gt=0, le=1)
    num_leaves: int = Field(ge=2)
    rounds: int = Field(ge=1)
    """Boosting rounds at most; the leaf cap may lower it, early stopping ends it."""
    probe_rounds: int = Field(ge=1)
    """Rounds of the probe student that ranks the columns."""
    patience: int = Field(ge=1)
    """Rounds without a better loss on ``stop`` before training ends."""
    min_child_samples: int = Field(ge=1)
    bagging_fraction: float = Field(gt=0, le=1)
    bagging_freq: int = Field(ge=0)
    """0 would switch ``bagging_fraction`` off."""
    feature_fraction: float = Field(gt=0, le=1)
    lambda_l1: float = Field(ge=0)
    lambda_l2: float = Field(ge=0)
    path_smooth: float = Field(ge=0)
    """Rows that pull a leaf's value towards its parent's; nothing beside leaves of many thousands."""
    max_bin: int = Field(ge=15)

    @model_validator(mode="after")
    def _bagging_acts(self) -> Lgbm:
        if self.bagging_fraction < 1 and self.bagging_freq == 0:
            raise ValueError(f"bagging_fraction {self.bagging_fraction} has no effect with bagging_freq 0")
        return self


class Budget(Section):
    """Leaves are what a package weighs: about 110 bytes of model text each. Source: distillation.md 9."""

    max_bytes: int = Field(ge=1)
    """Uncompressed package [bytes]."""
    leaf_cap: int = Field(ge=1)
    """Leaves of one distilled student, unless ``leaf_caps`` names its task."""
    twin_leaf_cap: int = Field(ge=1)
    """Leaves of one hard-label model, unless ``twin_leaf_caps`` names its task."""
    leaf_caps: dict[str, int]
    twin_leaf_caps: dict[str, int]


class Distillation(Section):
    temperature: float = Field(ge=1)
    """T of the soft loss [unitless]; soft labels themselves are stored at T = 1."""
    hard_weight: float = Field(ge=0, le=1)
    """Weight of the HARD loss; the soft one has 1 - hard_weight. ``alpha`` is accepted as an alias."""
    hard_clip: dict[str, Annotated[float, Field(gt=0)]]
    """Regression task -> robust standard deviations of (label - teacher) that a hard residual counts at most."""
    seed: int = Field(ge=0)
    fidelity_floor: float = Field(gt=0)
    """Largest mean KL(teacher || student) of a task [nat], inclusive."""
    max_harm: float = Field(ge=0)
    """The hard-label twin may beat the student by so much before ``distillation_harm`` is reported."""
    evidence: Evidence
    teacher_threshold: TeacherThreshold
    fidelity: Fidelity
    feature_selection: FeatureSelection
    calibration: Calibration
    lgbm: Lgbm
    task_lgbm_overrides: dict[str, dict[str, int | float]]
    """Task -> fields of ``lgbm`` that differ for it."""
    budget: Budget

    @model_validator(mode="before")
    @classmethod
    def _alpha_is_the_hard_weight(cls, body: Any) -> Any:
        if not isinstance(body, dict) or "alpha" not in body:
            return body
        log.warning("distillation.alpha=%s is read as hard_weight, the weight of the HARD loss", body["alpha"])
        return {**{k: v for k, v in body.items() if k != "alpha"}, "hard_weight": body["alpha"]}

    @model_validator(mode="after")
    def _overrides_are_fields(self) -> Distillation:
        for task in self.task_lgbm_overrides:
            self.lgbm_of(task)
        return self

    def lgbm_of(self, task: str) -> Lgbm:
        """Tree settings of one task, its overrides applied."""
        return Lgbm.model_validate({**self.lgbm.model_dump(), **self.task_lgbm_overrides.get(task, {})})
