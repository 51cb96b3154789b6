"""Policy of the leakage checks: ``config/leakage.yaml``. Source: data.md section 10."""

from __future__ import annotations

import re

from pydantic import Field, field_validator

from pipeline_lib.settings.base import Section

Share = Field(ge=0, le=1)


class Names(Section):
    """Regular expressions over lower-case column names."""

    labels: str
    """Names that only a label has."""
    ground_truth: str
    """Columns of the generator's ground truth: never an input."""
    identifiers: str
    """Names of identifiers."""

    @field_validator("labels", "ground_truth", "identifiers")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        re.compile(pattern)
        return pattern


class Lineage(Section):
    known_tables: list[str] = Field(min_length=1)
    """Tables a feature may come from; another table is refused."""
    forbidden_tables: list[str]
    """Tables no feature may come from, directly or through another column."""
    forbidden_columns: list[str]
    """Columns written after the fact, or the label itself."""
    identifier_columns: list[str]
    """Columns that are keys and never values."""


class Copies(Section):
    same_value: float = Share
    """Share of equal values among the rows where feature or label differs from the label's usual value."""
    fail_correlation: float = Share
    """|Pearson|, |Spearman| or correlation ratio."""
    warn_correlation: float = Share
    fail_auc: float = Share
    """ROC-AUC of one feature alone, the better direction; for a multiclass label the mean over its classes."""
    warn_auc: float = Share
    fail_class_auc: float = Share
    """The same for one class of a multiclass label."""


class Derived(Section):
    tree_rows: int = Field(ge=100)
    """Train rows the tree is grown on at most."""
    tree_depth: int = Field(ge=1, le=8)
    tree_bins: int = Field(ge=2, le=255)
    tree_classes: int = Field(ge=2)
    """Classes judged apart; the rarer ones are one class."""
    folds: int = Field(ge=2)
    """Cross-validation folds, by customer."""
    fail_auc: float = Share
    fail_f1: float = Share
    """Macro F1."""
    fail_r2: float = Share
    fail_information: float = Share
    """Share of the label's entropy that one column explains."""
    max_bins: int = Field(ge=2)
    rows_per_bin: int = Field(ge=1)
    segment_task: str
    """The imputation task whose source must not reach a feature (L29)."""
    fail_segment_information: float = Share


class Order(Section):
    max_rank_correlation: float = Share
    """|Spearman| of row number and label within one cutoff."""
    min_p_value: float = Share
    """Two-sided p of the difference in label rate between train and test customers at one cutoff."""
    warn_auc: float = Share
    """AUC of telling train customers from test customers by their features at one cutoff."""
    fail_auc: float = Share


class FittedLimits(Section):
    tolerance: float = Field(gt=0)
    """Relative difference of stored and recomputed train statistics."""
    transform_tolerance: float = Field(gt=0)
    """Difference of x_norm and the stored scaling applied again [standard deviations]."""
    top_share: float = Share
    """A column whose most frequent value has this share is dead."""
    generated_groups: list[str]
    """Groups in which a dead column is a defect of our code; elsewhere it is a fact about the bank."""


class Identifiers(Section):
    distinct_share: float = Share
    """Distinct values over rows."""
    rank_correlation: float = Share
    """|Spearman| with the customer key or the row number within one cutoff, of columns that are nearly unique."""
    money_columns: list[str]
    """Lineage that excuses a whole-numbered column from ``distinct_share``."""


class Rows(Section):
    decimals: int = Field(ge=0)
    """Decimals of scaled values when rows are compared."""
    min_distinct: int = Field(ge=1)
    """Distinct raw values a row needs to be compared."""
    warn_share: float = Share
    """Share of val and test rows that equal a train row of another customer."""
    fail_share: float = Share


class TableLimits(Section):
    warn_absent_share: float = Share
    """Labelled rows whose customer has no row at the label date."""
    warn_panel_jump: float = Share
    """Month-on-month change of the number of customers."""


class Leakage(Section):
    sample_rows: int = Field(ge=100)
    min_rows: int = Field(ge=1)
    min_class_rows: int = Field(ge=1)
    noise_z: float = Field(gt=0)
    """Standard errors that a drift must exceed besides its limit."""
    names: Names
    lineage: Lineage
    copies: Copies
    derived: Derived
    order: Order
    fitted: FittedLimits
    identifiers: Identifiers
    rows: Rows
    tables: TableLimits
