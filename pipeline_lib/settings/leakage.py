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
    backends: list[str] = Field(min_length=1)
    """What may compute a group; another one is a silent fallback (L27)."""


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
    fail_segment_f1: float = Share
    """Macro F1 above which the imputation task is no task (L29)."""
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


class Length(Section):
    """How long a customer's history is, and columns that follow it (L28)."""

    column: str
    """The feature that counts observed months."""
    cap: int = Field(ge=1)
    """Months a history may count at most."""
    bins: int = Field(ge=2)
    """Train-quantile bins of the population stability index."""
    warn_psi: float = Field(ge=0)
    fail_psi: float = Field(ge=0)
    """PSI between train and a later slice, among customers with a full history."""
    driven: float = Share
    """|Spearman| with the length above which a column follows it."""
    min_full_rows: int = Field(ge=10)
    """Rows with a full history that each side needs."""


class Support(Section):
    """Columns that exist for one outcome only, and columns that beat all others together (R05, R06)."""

    warn_defined_auc: float = Share
    """ROC-AUC of "the column is defined" against the label."""
    fail_defined_auc: float = Share
    dominant_auc: float = Share
    """A single column below this AUC is not compared with the others."""
    dominance: float = Field(ge=0)
    """AUC of one column minus out-of-fold AUC of a model of all other columns."""
    model_rows: int = Field(ge=100)
    model_trees: int = Field(ge=1)
    model_positives: int = Field(ge=1)
    """Rows of the rarer class below which a model of all others cannot show what it could do."""


class Scores(Section):
    """Scores that are too good to be true (L12)."""

    max_auc: float = Share
    max_f1: float = Share
    max_r2: float = Share
    group_auc: float = Share
    """Cross-validated AUC of one feature group alone that stops the run."""
    above_oracle: float = Field(ge=0)
    """Score above the best that the generator's law allows."""
    noise_z: float = Field(ge=0)
    """Standard errors by which that excess must also stand out: a validation slice holds few positives."""


class Raw(Section):
    """Traps of raw tables, found without a declaration (R02 to R08)."""

    sample_rows: int = Field(ge=1000)
    """Rows of a raw table that are judged at most."""
    max_classes: int = Field(ge=2)
    """Distinct values of a column that is read as classes."""
    separated_auc: float = Share
    """AUC at which (date + term) parts the classes of a state: it was written on one later day."""
    one_part_auc: float = Share
    """If the date alone, or the term alone, parts the classes that well, they say nothing about a later day."""
    same_day: float = Share
    """Share of a month's receivers of a category who receive it on one and the same day, median over months."""
    same_day_customers: int = Field(ge=2)
    """Receivers a month needs to count."""
    same_day_months: int = Field(ge=1)
    weight_distinct: list[float] = Field(min_length=2, max_length=2)
    """Distinct values per row between which a real-valued column may be a sample weight."""
    weight_top_share: float = Share
    """Its most frequent value is rarer than this."""
    weight_tied_rows: int = Field(ge=2)
    """Rows that share their value with another row, at least."""
    weight_lift: float = Share
    """How much more often rows with equal weight agree in another column than chance (1: always)."""
    weight_columns: float = Share
    """Share of the other columns with that lift: rows of one stratum are alike in much."""


class TableLimits(Section):
    warn_rate_drift: float = Share
    """Relative difference of a label's rate and the rate that the generator declares (L24)."""
    holdings_match: float = Share
    """Held products of the features equal to the snapshot at the cutoff, at least (L06, L17)."""
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
    length: Length
    support: Support
    scores: Scores
    raw: Raw
    tables: TableLimits
