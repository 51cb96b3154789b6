"""Cutoffs, splits and the synthetic generator's size: ``config/data.yaml``."""

from __future__ import annotations

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


class Data(Section):
    splits: Splits
    max_quarantine_share: float = Field(ge=0, le=1)
    """Share of a month's rows that may go to quarantine before the load fails [0..1]. Source: data.md 2."""
