"""Cutoffs, splits and the synthetic generator's size: ``config/data.yaml``."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from pipeline_lib.settings.base import Section

MIN_GAP_DAYS = 7


class Splits(Section):
    gap_days: int = Field(ge=MIN_GAP_DAYS)
    """Days between the last label date of a split and the first cutoff of the next [d]. Source: data.md R12."""
    step_months: int = Field(ge=1)
    """Snapshots from one split's cutoff to the next split's."""
    train_cutoffs: int = Field(ge=1)
    """Train cutoffs, counted back from the newest train cutoff; more than one is panel mode."""
    min_history_months: int = Field(ge=1)
    """A train cutoff needs at least so many snapshots up to it."""
    bucket_salt: str
    order_salt: str
    part_salt: str
    """Salts of the customer hashes; changing one moves customers between splits."""
    train_buckets: int = Field(gt=0, lt=10000)
    val_buckets: int = Field(gt=0, lt=10000)
    """Buckets [0, train) are train, [train, train + val) val, the rest test, of 10,000."""
    gate_share: float = Field(gt=0, lt=1)
    """Share of test customers reserved for the gate; the others are for fidelity. Source: distillation.md 3."""

    @model_validator(mode="after")
    def _some_test(self) -> Splits:
        if self.train_buckets + self.val_buckets >= 10000:
            raise ValueError(f"train_buckets {self.train_buckets} + val_buckets {self.val_buckets} leave no test")
        return self


class Labels(Section):
    """How labels are derived from the panel and the events. Source: data.md 6.2."""

    churn_ratio: float = Field(gt=0, lt=1)
    """Churn when holdings at the label month fall below this share of their mean [0..1]."""
    churn_months: int = Field(ge=1)
    """Observed months up to the cutoff in that mean [months]."""
    stability_clip: float = Field(gt=0, le=1)
    """Largest product_stability [0..1]: an unchanged portfolio would otherwise be a spike at 1."""
    clip_quantile: float = Field(gt=0.5, lt=1)
    """Counts and trends are clipped at this quantile of the train rows (trends at 1 - it too) [0..1]."""
    recent_days: int = Field(ge=30, multiple_of=30)
    """Days up to the cutoff that make the customer's recent behaviour [d]."""
    trend_min_events: int = Field(ge=1)
    """Purchases needed in the label window and in the recent days for mcc_diversity_trend."""
    shift_min_events: int = Field(ge=1)
    """Purchases needed in the label window and in the recent days for top_mcc_shift."""


class Expectation(Section):
    """One Great Expectations rule of a suite."""

    expect: str
    """Class name without the ``Expect`` prefix, e.g. ``ColumnValuesToBeBetween``."""
    args: dict[str, Any]
    severity: Literal["critical", "warning"]
    """critical stops the load; warning is recorded in dq_report.json."""


class Data(Section):
    splits: Splits
    labels: Labels
    suites: dict[str, dict[str, Expectation]]
    """Suite -> rule name -> rule. ``<table>`` judges the rows of its newest partition, ``<table>.profile`` one row
    per partition computed over all of them. A rule set to severity and arguments of its own by a source's overrides
    replaces only that rule. Source: data.md 11."""
    max_quarantine_share: float = Field(ge=0, le=1)
    """Share of a month's rows that may go to quarantine before the load fails [0..1]. Source: data.md 2."""
