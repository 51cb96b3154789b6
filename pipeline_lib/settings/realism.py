"""Policy of the generator's fidelity report: ``config/realism.yaml``. Source: data.md 8.6 and 9."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from pipeline_lib.settings.base import Section


class Limit(Section):
    """Where a measure passes and where it fails; between the two it is weak."""

    low: float | None = None
    """Passes at or above it."""
    high: float | None = None
    """Passes at or below it."""
    fail_below: float | None = None
    """Fails below it."""
    fail_above: float | None = None
    """Fails above it."""

    def verdict(self, value: float) -> Literal["PASS", "WEAK", "FAIL"]:
        if (self.fail_below is not None and value < self.fail_below) or (
            self.fail_above is not None and value > self.fail_above
        ):
            return "FAIL"
        inside = (self.low is None or value >= self.low) and (self.high is None or value <= self.high)
        return "PASS" if inside else "WEAK"

    @property
    def text(self) -> str:
        """For people: ``pass <= 0.05, fail > 0.20``."""
        good = [
            f">= {self.low:g}" if self.low is not None else "",
            f"<= {self.high:g}" if self.high is not None else "",
        ]
        bad = [f"< {self.fail_below:g}" if self.fail_below is not None else ""]
        bad.append(f"> {self.fail_above:g}" if self.fail_above is not None else "")
        passes, fails = " and ".join(filter(None, good)), " or ".join(filter(None, bad))
        return ", ".join(filter(None, [f"pass {passes}" if passes else "", f"fail {fails}" if fails else ""]))


class Band(Section):
    """What a LightGBM on raw observables may reach on a task."""

    metric: Literal["auc", "macro_f1", "r2"]
    low: float | None = None
    high: float | None = None
    observed: float | None = None
    """Stated best score from the observed part alone; the band is then [observed - slack, oracle]."""
    oracle: float | None = None
    """Stated best score from observed and latent part together; no model may exceed it by more than ``over``."""

    @model_validator(mode="after")
    def _either(self) -> Band:
        if (self.observed is None) != (self.oracle is None):
            raise ValueError("observed and oracle are stated together")
        if self.observed is None and self.low is None and self.high is None:
            raise ValueError("state a band: low and high, or observed and oracle")
        return self


class Realism(Section):
    sample_customers: int = Field(ge=500)
    """Customers measured per bank, those with the smallest shuffle_key."""
    neighbours: int = Field(ge=100)
    """Customers in nearest-neighbour and classifier measures."""
    bootstraps: int = Field(ge=10)
    """Resamples of customers behind every interval."""
    seed: int
    """Of folds and resamples."""
    min_events: int = Field(ge=1)
    """Product moves below which a rate is not compared."""
    limits: dict[str, Limit]
    """Metric -> limit."""
    slack: float = Field(ge=0)
    """How far below the stated observed ceiling a raw-observables model may lie."""
    over: float = Field(ge=0)
    """How far above the measured oracle a model may lie before its row fails."""
    bands: dict[str, dict[str, Band]]
    """Preset -> task -> band."""
    published: dict[str, Limit]
    """Published figures of the real bank -> band in which the synthetic one must lie."""
