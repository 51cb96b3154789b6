"""Policy of serving: ``config/serving.yaml``, baked into the released package as JSON. Source: serving.md 15."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from pipeline_lib import hard_bounds
from pipeline_lib.settings.base import Section
from pipeline_lib.settings.serving.decision import Filters, Rules, Scope, Scoring, Suitability
from pipeline_lib.settings.serving.words import L2a, Reasons


class FeatureAge(Section):
    max_age_h: int = Field(ge=1)
    """A feature row refreshed longer ago is flagged stale [h]."""
    hard_max_age_d: int
    """A row refreshed longer ago is not used: all tasks answer from rules [d]."""


class KillSwitch(Section):
    cache_ms: int
    """How long a read of the switches may be reused [ms]."""


class OptOut(Section):
    default_fallback: Literal["rule_based", "human_review", "disable"]
    """What an opted-out customer gets who chose nothing, or whose choice cannot be read."""


class Layer4(Section):
    enabled: bool
    """Whether people are there to take over. Without them Layer 3 is the last."""
    conf: float = Field(gt=0, le=1)
    """Every item decided by a rule with less confidence: a person is asked instead."""


class Review(Section):
    min_margin: float = Field(ge=0)
    """Relative margin of the two best distinct items below which a person looks [0..1]."""
    max_entropy: float = Field(gt=0)
    """Entropy of fresh teacher gate weights, over ln(experts), above which a person looks [0..1]."""
    careful_grade: int
    """Risk grade from which an elderly or low-income customer's item is looked at."""
    teacher_max_age_h: int = Field(ge=1)
    """Teacher signals older than this are ignored [h]."""


class Exploration(Section):
    """How rank 1 is chosen among the items that passed every filter. Source: promotion.md 10."""

    epsilon: float = Field(ge=0, lt=1)
    """Probability that rank 1 is drawn by softmax(score / temperature) instead of taken [0..1]. 0 until approved; with
    0 no other model can be judged on the answers that were given."""
    temperature: float = Field(gt=0)
    """Score difference at which a draw prefers the better item by a factor of e [score]."""


class Rights(Section):
    opt_out_path: str
    explanation_path: str


class Batch(Section):
    """Everybody's answers at once, where branches cannot call the function."""

    channel: Literal["branch", "web"]
    """What the stored answers are for; outbound contact is never decided in advance."""
    locale: Literal["ko", "en"]
    """Language of the reasons."""
    range_customers: int = Field(ge=1)
    """Customers of one range: one task of the DAG, retried alone."""
    segment_answers: int = Field(ge=1, le=250)
    """Answers that share a durable segment of the record; four entries each, at most 1,000 together."""


class Serving(Section):
    k: int = Field(ge=1, le=5)
    """Items in an answer."""
    max_package_bytes: int = Field(gt=0)
    """Uncompressed models and policy of one version [bytes]."""
    anomaly_gain_share: float = Field(gt=0, le=1)
    """Share of a model's gain that may sit on inputs it never saw missing before the task answers from rules."""
    range_margin: float = Field(ge=0)
    """Regression answers may leave the training range by this share of its width."""
    static_content: bool
    """Whether a non-personal list is shown when a personal answer cannot be recorded."""
    idempotency_hours: int = Field(ge=1)
    """How long a stored response answers for its key [h]."""
    deadline_ms: int = Field(ge=1)
    """Reading and predicting end after so long, and rules answer [ms]."""
    read_timeout_ms: int = Field(ge=1)
    """A table that takes longer to answer counts as unreadable [ms]."""
    append_timeout_ms: int = Field(ge=1)
    """A store of the record that takes longer counts as not reached [ms]; each of the two is asked at most twice."""
    feature: FeatureAge
    kill_switch: KillSwitch
    optout: OptOut
    suitability: Suitability
    scope: Scope
    filters: Filters
    scoring: Scoring
    rules: Rules
    reasons: Reasons
    layer4: Layer4
    review: Review
    exploration: Exploration
    l2a: L2a
    rights: Rights
    batch: Batch

    @model_validator(mode="after")
    def _within_bounds(self) -> Serving:
        """A number that the code bounds is bounded there alone: the function checks the same without this file."""
        if wrong := hard_bounds.broken(self.model_dump(mode="json")):
            raise ValueError("; ".join(wrong))
        return self
