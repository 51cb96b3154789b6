"""Policy of the group ``economics``. Source: features.md 9."""

from __future__ import annotations

from pydantic import Field

from pipeline_lib.settings.base import Section


class Economics(Section):
    min_months: int = Field(ge=2, le=12)
    """Months with spend, or with income, below which a column is not defined."""
    max_log_ratio: float = Field(gt=0)
    """Clip of the older over the newer half of spend [ln]."""
    min_income_change: float = Field(gt=0, lt=1)
    """A month whose income changed by less [share of the month before] says nothing about elasticity."""
    max_elasticity: float = Field(gt=0)
    """Clip of one month's elasticity."""
    min_elasticity_terms: int = Field(ge=1, le=11)
    """Months an elasticity is averaged over at least."""
    income_window: int = Field(ge=2, le=12)
    """Months of the trailing mean that stands for permanent income."""
    max_growth: float = Field(gt=0)
    """Clip of the growth of permanent income."""
    bonus_share: float = Field(gt=0)
    """Income above permanent income by more than this share of it is a bonus."""
