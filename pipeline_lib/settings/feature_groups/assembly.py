"""How the feature stage is cut into work, and what is decided when the groups are put together."""

from __future__ import annotations

from pydantic import Field

from pipeline_lib.settings.base import Section


class Work(Section):
    fit_customers: int = Field(ge=1)
    """Train customers that anything is fitted on, those with the smallest shuffle keys. Source: features.md 3."""
    range_customers: int = Field(ge=1)
    """Customers whose rows are made at once: memory of a worker grows with it. Source: features.md 15."""
    recheck_rows: int = Field(ge=1)
    """Rows that are made again, alone and in another order, before the tables are published (L21 to L23)."""


class HeavyTails(Section):
    """A column that meets all of these on train gets a log copy. Source: features.md 12.1."""

    min_values: int = Field(ge=4)
    """Defined values."""
    min_distinct: int = Field(ge=1)
    """More distinct values than this."""
    skew: float = Field(gt=0)
    """Larger absolute skewness than this (sample-corrected)."""
    excess_kurtosis: float
    """Larger than this (sample-corrected)."""
    rank_fit: float = Field(gt=0, lt=1)
    """R2 of ln(rank) against ln(value) on the upper half of the positive values, at least."""


class Availability(Section):
    min_events: int = Field(ge=1)
    """Purchases in ``recent_days`` from which a row counts as active. Source: features.md 12.4."""
    confidence: list[int] = Field(min_length=1)
    """Purchases from which a diagram's confidence is 1, 2, 3. Source: features.md 12.4."""
