"""What each report is, for whom, and its constants: ``config/compliance.yaml``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pipeline_lib.settings.base import Section


class ReportPolicy(Section):
    title: str
    reader: str
    """Who it is written for."""
    legal_basis: list[str]
    """Articles as verified; an unverified one says "to be confirmed by counsel"."""
    spec_version: str = Field(pattern=r"^\d+\.\d+\.\d+$")
    """Version of formulas and sections; a change is a new version."""
    retention_days: int = Field(ge=1)
    """Days a filed report is kept [d]."""
    mandatory: list[str]
    """Items that must be known before the report may be filed."""
    sections: dict[str, str]
    """Item id -> title, in print order."""
    caps: dict[str, float] = {}
    """Values at which a component counts as the worst [each in its own unit]."""


class Levels(Section):
    names: list[str]
    """From best to worst."""
    cuts: list[float]
    """Risk score from which each name but the first holds [0..1]."""


class Compliance(Section):
    reports: dict[Literal["korean_fria", "eu_risk_record", "annex_iv", "pia", "public_disclosure"], ReportPolicy]
    levels: dict[str, Levels]
    """Named ladders of risk levels."""
    review_days: int = Field(ge=1)
    """Days a human has to review the quarter's reports [d]."""
