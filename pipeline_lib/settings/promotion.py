"""Policy of promotion: ``config/promotion.yaml``. Source of the values: promotion.md."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from pipeline_lib.settings.base import Section


class Force(Section):
    reason_min_chars: int = Field(ge=1)
    reason_max_chars: int = Field(ge=1)
    """Length of a force-promote's reason [characters]."""
    boilerplate: list[str]
    """Words that are no reason; a reason made of these alone is refused."""
    known_good_hours: int = Field(ge=1)
    """A version that served at least so long is known-good [h]."""
    known_good_days: int = Field(ge=1)
    """... if that was within so many days [d]. Rollback lists known-good versions when it cannot go back."""
    confirm_hours: int = Field(ge=1)
    """A second person confirms a single operator's force-promote within so long [h]."""
    many_per_day: int = Field(ge=1)
    """More force-promotes than this in 24 h also page the risk owner; they are never blocked."""
    swap_attempts: int = Field(ge=1, le=10)
    """Tries of the pointer swap: the last explicit human wins."""

    @model_validator(mode="after")
    def _lengths(self) -> Force:
        if self.reason_min_chars > self.reason_max_chars:
            raise ValueError(f"reason_min_chars {self.reason_min_chars} > reason_max_chars {self.reason_max_chars}")
        return self


class Counterfactual(Section):
    """Challenger against champion on logged traffic. Source: promotion.md section 10."""

    mode: Literal["off", "advisory", "veto"]
    """What the gate does with the finding: nothing, show it to the human, or reject a challenger that is WORSE."""
    estimator: Literal["ips", "snips", "dr"]
    """Inverse propensity, self-normalised, or doubly robust."""
    clip: float = Field(ge=1)
    """Largest importance weight [unitless]."""
    n_bootstrap: int = Field(ge=100)
    """Resamples of customers behind an interval."""
    alpha: float = Field(gt=0, lt=0.5)
    """One minus the two-sided coverage of the interval [unitless]."""
    min_lift: float = Field(ge=0)
    """Lift a BETTER needs, besides an interval above 0 [reward per recommendation]."""
    min_ess: int = Field(ge=1)
    """Effective sample size an answer needs [recommendations]."""
    min_ess_ratio: float = Field(gt=0, le=1)
    """... and its share of the logged recommendations [unitless]."""


class Stage(Section):
    """How a promoted version is tried on a share of the traffic first; what on-call forces never is."""

    share: float = Field(ge=0, lt=1)
    """Of the requests [0..1); 0: all traffic at once."""
    looks: int = Field(ge=1)
    """How often the version must answer before it gets the rest."""
    every_s: float = Field(gt=0, le=60)
    """Between two looks [s]; shorter than ``lock_ttl_s``."""


class Promotion(Section):
    auto_promote: bool
    """Whether a passing challenger becomes champion without a human. Shipped false; true is refused in prod."""
    primary_metric: Literal["avg_auc"]
    """The metric that must improve: unweighted mean AUC over the compared binary tasks."""
    min_improvement: float = Field(ge=0)
    """Relative gain of the primary metric a challenger needs [unitless]. Source: promotion.md 6.2."""
    max_degradation: float = Field(ge=0)
    """Relative loss of any secondary metric that is still tolerated [unitless]. Source: promotion.md 6.3."""
    abs_tolerance: float = Field(ge=0)
    """Absolute worsening below which a relative loss does not count [metric units]. Source: promotion.md 6.3."""
    significance_level: float = Field(gt=0, lt=0.5)
    """Alpha of the one-sided primary test and of the adjusted harm tests. Source: promotion.md 6.4."""
    power: float = Field(gt=0.5, lt=1)
    """Probability with which the primary test finds the difference that a verdict calls detectable [unitless]."""
    harm_test: bool
    harm_loss: float = Field(ge=0)
    """Relative loss of one task above which significant harm rejects [unitless]. Source: promotion.md 6.4."""
    max_kl: float = Field(gt=0)
    """Largest KL divergence of a distilled task from its teacher [nat]. Source: promotion.md 4, step 3."""
    min_gate_rows: int = Field(ge=1)
    """Rows an evaluation bundle needs. Source: promotion.md 3."""
    powered_gate_rows: int = Field(ge=1)
    """Rows below which a verdict is marked underpowered; prod refuses a smaller min_gate_rows."""
    min_positives: int = Field(ge=2)
    """A binary task with fewer positives (or negatives), or another task with fewer labelled rows, is left out
    for both models."""
    min_powered_tasks: int = Field(ge=1)
    """Powered binary tasks a comparison needs. Source: promotion.md 3."""
    bundle_max_age_days: int = Field(ge=1)
    """Age at which an evaluation bundle is stale [d]."""
    bootstrap_requires_signoff: bool
    four_eyes: bool
    """The approver is not the person who started the run."""
    statement_min_chars: int = Field(ge=1)
    """Length of an approver's statement [characters]."""
    effect_window_minutes: int = Field(ge=1)
    """A recorded decision without effect is completed within this time and voided after it [min]."""
    verdict_alarm_s: float = Field(gt=0)
    """Judging that takes longer than this is logged as slow [s]."""
    verdict_timeout_s: float = Field(gt=0)
    """Judging that takes longer than this is an error, no verdict [s]."""
    lock_ttl_s: int = Field(ge=10)
    """Life of the promotion lock unless its holder renews it [s]. Source: promotion.md 12."""
    keep_published: int = Field(ge=2)
    """Last champions that stay published, the one that serves included, so that going back is a shift of the alias.

    Source: promotion.md 2.
    """
    orphan_hours: int = Field(ge=1)
    """Age at which something published that nothing refers to is withdrawn [h]. Source: promotion.md 12."""
    hook_timeout_s: float = Field(gt=0)
    """Time a veto has to answer [s]; one that does not escalates to the human."""
    counterfactual: Counterfactual
    stage: Stage
    force: Force

    @model_validator(mode="after")
    def _consistent(self) -> Promotion:
        if self.min_gate_rows > self.powered_gate_rows:
            raise ValueError(f"min_gate_rows {self.min_gate_rows} > powered_gate_rows {self.powered_gate_rows}")
        return self
