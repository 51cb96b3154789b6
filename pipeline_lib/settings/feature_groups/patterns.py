"""Policy of the group ``multidisciplinary``. Source: features.md 10."""

from __future__ import annotations

from pydantic import Field

from pipeline_lib.settings.base import Section


class Patterns(Section):
    top_categories: int = Field(ge=1)
    """Categories most used on train that a customer could still take up."""
    min_purchases: int = Field(ge=2)
    """Purchases in 90 days below which no pattern is measured."""
    min_gaps: int = Field(ge=2)
    """The same for what is read off the days between purchases."""
    min_active_days: int = Field(ge=3)
    """Days with a purchase below which there is no spectrum."""
