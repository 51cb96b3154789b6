"""Policy of the topology groups: windows, and the sizes that decide what they cost."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pipeline_lib.settings.base import Section


class Span(Section):
    days: int = Field(ge=14, le=360)
    """Window of events, ending at the cutoff [d]."""
    max_points: int = Field(ge=30, le=200)
    """Events of a cloud at most; the cost grows with about the third power. 30 events are needed to trust loops."""
    max_bars: int = Field(ge=1)
    """Bars per row at most in what the teacher reads. Source: features.md 4.2."""


class Topology(Section):
    short: Span
    """tda_short."""
    long: Span
    """tda_long; phase_transition splits its days."""
    half_points: int = Field(ge=5, le=100)
    """Events at most of each half whose diagrams phase_transition compares."""
    quarter_points: int = Field(ge=2, le=100)
    """Events at most of each quarter whose spanning tree it measures."""
    fit_rows: int = Field(ge=100, le=50_000)
    """Train rows at most that scales and cohorts are learnt from, evenly spread over the train rows."""
    cohort_min_rows: int = Field(ge=1)
    """Train rows below which a cohort takes its parent's median. Source: features.md 7.3."""

    def span(self, name: Literal["short", "long"]) -> Span:
        return self.short if name == "short" else self.long
