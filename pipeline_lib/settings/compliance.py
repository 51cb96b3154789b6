"""What each report is, for whom, and its constants: ``config/compliance.yaml``."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field, model_validator

from pipeline_lib.settings.base import Section

Kind = Literal["korean_fria", "eu_risk_record", "annex_iv", "pia", "public_disclosure"]


class Part(Section):
    """One part of a risk formula: its weight, and from which measured value on it counts in full."""

    weight: float = Field(gt=0, le=1)
    cap: float | None = Field(default=None, gt=0)
    """Measured value that counts as the worst; below it in proportion [in the unit of the value]."""
    above: float | None = Field(default=None, ge=0)
    """Counts in full above this value and not at all up to it [in the unit of the value]."""

    @model_validator(mode="after")
    def _one_scale(self) -> Part:
        if (self.cap is None) == (self.above is None):
            raise ValueError(f"a part has either cap or above, found cap {self.cap} and above {self.above}")
        return self


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
    formulas: dict[str, dict[str, Part]] = {}
    """Item id -> parts of its risk formula; their weights add up to 1."""
    limits: dict[str, int] = {}
    """Further constants of the law or guideline, each named with its unit."""

    @model_validator(mode="after")
    def _about_its_sections(self) -> ReportPolicy:
        if strangers := sorted({*self.mandatory, *self.formulas} - self.sections.keys()):
            raise ValueError(f"mandatory or formulas name {strangers}; the sections are {list(self.sections)}")
        for item, parts in self.formulas.items():
            total = math.fsum(part.weight for part in parts.values())
            if not math.isclose(total, 1):
                raise ValueError(f"the weights of {item} add up to {total}, not to 1")
        return self


class Levels(Section):
    names: list[str]
    """From best to worst."""
    cuts: list[float]
    """Risk score from which each name but the first holds [0..1]."""

    @model_validator(mode="after")
    def _rising(self) -> Levels:
        if len(self.names) != len(self.cuts) + 1 or sorted(set(self.cuts)) != self.cuts:
            raise ValueError(f"{len(self.names)} names need as many rising cuts but one, found {self.cuts}")
        return self


class Compliance(Section):
    reports: dict[Kind, ReportPolicy]
    levels: dict[str, Levels]
    """Named ladders of risk levels."""
    review_days: int = Field(ge=1)
    """Days a human has to review the quarter's reports [d]."""
    promotion_window_days: int = Field(ge=1)
    """What an assessment at promotion looks back on [d]."""
