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

    @model_validator(mode="after")
    def _ordered(self) -> Drift:
        if self.warn_psi >= self.fail_psi:
            raise ValueError(f"warn_psi {self.warn_psi} is not below fail_psi {self.fail_psi}")
        return self


class Fairness(Section):
    di_low: float = Field(ge=0.7, le=0.9)
    """Disparate impact below this is a breach. Four fifths is a rule of US employment law, used as a default only."""
    di_high: float = Field(ge=1.1, le=1.3)
    spd: float = Field(ge=0.05, le=0.15)
    """Absolute difference of selection rates from which it is a breach."""
    margin_low: float
    margin_high: float
    """Inside the limits but outside these: MARGIN."""
    min_group: int = Field(ge=1)
    """Answers a group needs to be compared at all. Source: monitoring.md 2.4."""
    min_favourable: int = Field(ge=0)
    """Favourable outcomes the reference group needs."""
    reference: dict[str, str]
    """Protected attribute -> reference group, fixed by policy and never "whoever leads today"."""


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
    fairness: Fairness
    checklist: list[Rule]
