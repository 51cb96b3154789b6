"""Policy of the checks on finished features. Source: features.md 13.3."""

from __future__ import annotations

import re

from pydantic import Field, field_validator

from pipeline_lib.settings.base import Section

Share = Field(ge=0, le=1)


class FeatureChecks(Section):
    sample_rows: int = Field(ge=100)
    """Train rows that statistics are computed on at most."""
    min_rows: int = Field(ge=2)
    """Fewer rows, of train or of the slice to score, cannot be judged."""
    duplicate_correlation: float = Share
    """FX1: |Pearson| or |Spearman| from which two columns are the same number."""
    min_off_mode: int = Field(ge=1)
    """FX1: rows off the most frequent value that a column needs to be compared."""
    fail_distinct: int = Field(ge=2)
    """FX1: distinct values from which two equal columns are a defect; flags and counts may coincide."""
    declared_duplicates: list[str]
    """FX1: regular expressions over ``a|b``, in either order, of pairs that are allowed to be the same number."""
    warn_undefined_share: float = Share
    """FX2: share of a group's values that is NaN, or of a mask that is 0."""
    fail_undefined_share: float = Share
    redundant_r2: float = Share
    """FX3: adjusted R2 of a group's first principal component on the columns of all other groups."""
    rows_per_column: int = Field(ge=2)
    """FX3: train rows per explaining column below which nothing is said."""
    drift_bins: int = Field(ge=2)
    """FX4: train quantiles a column is cut at."""
    warn_psi: float = Field(gt=0)
    """FX4: population stability index between train and the rows to score."""
    fail_psi: float = Field(gt=0)
    noise_z: float = Field(gt=0)
    """FX4: standard deviations above what chance gives two samples of these sizes."""
    clipped_share: float = Share
    """FX5: share of a column's train values that standardising cut off."""
    unseen_share: float = Share
    """FX6: share of values that train never saw among the rows to score."""
    vocabulary_columns: list[str]
    """FX6: columns that hold the log share of a value on train; unseen values lie below all seen ones."""

    @field_validator("declared_duplicates")
    @classmethod
    def _compiles(cls, patterns: list[str]) -> list[str]:
        for pattern in patterns:
            re.compile(pattern)
        return patterns
