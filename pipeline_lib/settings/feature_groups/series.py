"""Policy of the classical statistics of a customer's series (group ``model_derived``)."""

from __future__ import annotations

from pydantic import Field

from pipeline_lib.settings.base import Section


class Series(Section):
    days: int = Field(ge=30, le=360)
    """Daily spend looked at, ending at the cutoff [d]."""
    min_active_days: int = Field(ge=3)
    """Days with spend below which spectrum, change points, autocorrelations and permutation entropy are not defined."""
    min_values: int = Field(ge=5)
    """Amounts, or gaps, below which their moments and entropies are not defined."""
    max_amounts: int = Field(ge=50, le=1000)
    """Newest amounts that approximate and sample entropy compare pairwise; cost grows with the square."""
    tolerance_sd: float = Field(gt=0, lt=1)
    """Two amounts agree within this many standard deviations. Source: Pincus, 1991."""
    cusum_allowance: float = Field(ge=0)
    """Drift that CUSUM forgives a day [standard deviations]."""
    cusum_alarm: float = Field(gt=0)
    """Sum at which CUSUM alarms and starts again [standard deviations]."""
    bandit_days: int = Field(ge=7, le=360)
    """Purchases looked at by the bandit statistics [d]."""
    bandit_min_events: int = Field(ge=2)
    """Fewer purchases: not defined."""
