"""Limits of drift, fairness and the nightly checklist: ``config/monitoring.yaml``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from pipeline_lib.settings.base import Section


class Drift(Section):
    bins: int = Field(ge=2)
    """Baseline quantile bins of the population stability index. Source: monitoring.md 3."""
    floor: float = Field(gt=0, lt=0.01)
    """Proportions are floored here and renormalised."""
    warn_psi: float = Field(gt=0)
    fail_psi: float = Field(gt=0)
    min_rows: int = Field(ge=1)
    """Rows needed on each side; with fewer the reading is UNKNOWN."""
    feature_psi_warn: float = Field(gt=0)
    feature_psi_critical: float = Field(gt=0)
    """Of one feature: rows that are served now against those the champion was made for. Source: distillation.md 12."""
    retrain_features: int = Field(ge=1)
    """A day with at least so many critical features is a critical day. Source: monitoring.md 3."""
    retrain_days: int = Field(ge=1)
    """So many critical days on end, and retraining is recommended; a human starts it."""

    @model_validator(mode="after")
    def _ordered(self) -> Drift:
        if self.warn_psi >= self.fail_psi:
            raise ValueError(f"warn_psi {self.warn_psi} is not below fail_psi {self.fail_psi}")
        if self.feature_psi_warn >= self.feature_psi_critical:
            raise ValueError(
                f"feature_psi_warn {self.feature_psi_warn} is not below critical {self.feature_psi_critical}"
            )
        return self


class Successive(Section):
    """A challenger beside its predecessors on the same rows. Alerts go to the verdict and never block.

    Bins and their floor are those of ``drift``. Source: distillation.md 12 and 17.
    """

    anchor_days: int = Field(ge=1)
    """The anchor is the version that served so long before the run [d]: slow creep shows against it."""
    max_psi: float = Field(gt=0)
    max_jsd: float = Field(gt=0, le=1)
    """Jensen-Shannon divergence of the score's distribution [bit]."""
    max_auc_shift: float = Field(gt=0, le=1)
    max_prediction_shift: float = Field(gt=0)
    """Shift of the mean score [probability; standard deviations of the predecessor's score if a regression]."""
    min_rank_correlation: float = Field(gt=0, le=1)
    """Spearman's correlation of the two scores of a row."""


class Fairness(Section):
    di_low: float = Field(ge=0.7, le=0.9)
    """Disparate impact below this is a breach. Four fifths is a rule of US employment law, used as a default only."""
    di_high: float = Field(ge=1.1, le=1.3)
    spd: float = Field(ge=0.05, le=0.15)
    """Absolute difference of selection rates from which it is a breach."""
    margin_low: float
    margin_high: float
    """Disparate impact inside its limits but not between these: MARGIN."""
    spd_margin: float
    """Absolute difference of selection rates from which it is MARGIN."""
    min_group: int = Field(ge=1)
    """Answers a group needs to be compared at all. Source: monitoring.md 2.4."""
    min_favourable: int = Field(ge=0)
    """Favourable outcomes the reference group needs."""
    min_expected: int = Field(ge=0)
    """Favourable outcomes a group would have at the reference group's rate."""
    reference: dict[str, str]
    """Protected attribute -> reference group, fixed by policy and never "whoever leads today". Groups are named as
    served answers record them."""

    @model_validator(mode="after")
    def _nested(self) -> Fairness:
        if not self.di_low <= self.margin_low < 1 < self.margin_high <= self.di_high:
            raise ValueError(
                f"margins {self.margin_low}..{self.margin_high} are not inside {self.di_low}..{self.di_high} around 1"
            )
        if not self.spd_margin < self.spd:
            raise ValueError(f"spd_margin {self.spd_margin} is not below spd {self.spd}")
        return self


class Counterfactual(Section):
    """On which logged answers another model is judged, and when that is refused. The estimator, its clip and what the
    gate does with the finding are ``promotion.counterfactual``. Source: promotion.md 10.
    """

    window_days: int = Field(ge=1)
    """Served answers looked at [d]; they end ``reward_days`` before the run, so that every reward is known."""
    reward_days: int = Field(ge=1)
    """An item accepted within so long counts as accepted [d]."""
    max_answers: int = Field(ge=1)
    """Answers replayed at most; with more a sample by the hash of their ids [answers]."""
    clips: list[float] = Field(min_length=1)
    """Largest importance weights that the report shows beside the primary one [unitless]."""
    max_clipped: float = Field(gt=0, lt=1)
    """Share of the weights' sum that clipping may cut off before the finding is UNSTABLE [0..1]."""
    mean_low: float = Field(gt=0, lt=1)
    mean_high: float = Field(gt=1)
    """Mean weight of a log that supports the model: 1 in expectation."""
    max_share: float = Field(gt=0, lt=1)
    """Share of the weights' sum that one answer may have [0..1]."""
    min_group_ess: int = Field(ge=1)
    """Effective sample size a protected group needs to be compared [answers]."""
    eod: float = Field(gt=0, lt=1)
    """Absolute difference of opportunity from which a group's comparison is a breach [0..1]."""
    folds: int = Field(ge=2)
    """Customer folds of the reward model behind the doubly robust estimate."""
    ridge: float = Field(gt=0)
    """Penalty of the reward model's squared coefficients."""
    seed: int
    """Of the bootstrap and of the folds; recorded with every finding."""
    replay_tolerance: float = Field(gt=0)
    """Largest difference between a logged propensity and the same model's replayed one [0..1]."""
    max_unreproduced: float = Field(ge=0, lt=1)
    """Share of the champion's own answers that its replay may fail to reproduce [0..1]."""


class Rule(Section):
    """One line of the checklist: a reading that matches becomes a finding."""

    monitor: str
    state: Literal["WARN", "FAIL", "UNKNOWN"]
    light: Literal["YELLOW", "RED"]
    likely_cause: str
    suggested_action: str


class Monitoring(Section):
    window_days: int = Field(ge=1)
    """Served answers a nightly reading looks at [d]."""
    drift: Drift
    successive: Successive
    fairness: Fairness
    counterfactual: Counterfactual
    checklist: list[Rule]
    """One rule for each state but OK of each monitor."""

    @model_validator(mode="after")
    def _every_state_has_one_rule(self) -> Monitoring:
        ruled = sorted((rule.monitor, rule.state) for rule in self.checklist)
        expected = sorted(
            (m, s) for m in {rule.monitor for rule in self.checklist} for s in ("FAIL", "UNKNOWN", "WARN")
        )
        if ruled != expected:
            raise ValueError(f"checklist: rules for {ruled}, expected one for each of {expected}")
        return self
