"""How an item is chosen: caps of suitability, scope, filters, weights of the score, the rules of Layer 3.

What no file may say about the hard caps of suitability is in ``hard_bounds.py``: checked when settings load, and once
more when a release starts. Source: serving.md 5, 7 and 8.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from pipeline_lib.settings.base import Section


class KrwRate(Section):
    krw_per_unit: float
    as_of: str = Field(pattern=r"^\d{4}-\d\d-\d\d$")
    """Day of the rate; before it the rate is not known."""
    source: str = Field(min_length=10)
    """Who says so."""


class Suitability(Section):
    """Each cap may be tightened, never loosened; bounds are in ``hard_bounds.py``."""

    age_cap: int
    """From this age on the senior cap applies [years]."""
    age_cap_grade: int
    """Highest risk grade under the senior cap."""
    income_cap_krw: int
    """Below this annual income the low-income cap applies [KRW a year]."""
    income_cap_grade: int
    """Highest risk grade under the low-income cap."""
    tolerance_max_age_d: int
    """An older assessment of risk tolerance counts as missing [d]."""
    krw_rate_max_age_d: int
    """An older rate counts as missing [d]."""
    krw_rates: dict[str, KrwRate]
    """ISO currency -> rate, for the income cap alone; a currency not listed makes the income unknown, and an unknown
    income is capped. KRW needs none."""


class Scope(Section):
    blocked_nba_classes: list[str]
    """Product classes not offered in this deployment."""
    blocked_groups: list[str]
    """Acquisition groups not offered in this deployment."""
    capital_market: list[str]
    """Product classes and groups that are capital-market products for the low-income cap; some always are."""
    retention_items: list[str]
    """Products (short names) that serve retention: exempt from churn and message penalties."""
    long_horizon: list[str]
    """Products (short names) with a long horizon; all others are short."""


class Filters(Section):
    min_score: float = Field(ge=0)
    max_churn: float = Field(gt=0, le=1)
    """Above this churn probability only retention items remain."""
    max_messages_7d: int = Field(ge=1)
    """So many outbound messages within 7 days block a further one."""
    mmr_lambda: float = Field(ge=0, le=1)
    """Weight of the score against diversity in the choice of the next item."""
    quiet_from: int = Field(ge=0, le=23)
    quiet_to: int = Field(ge=0, le=23)
    """Outbound contact is blocked from ``quiet_from`` to ``quiet_to`` o'clock, Asia/Seoul."""


class DynamicRule(Section):
    id: str
    feature: str
    op: Literal["<", "<=", ">", ">=", "=="]
    threshold: float
    task: str
    boost: float = Field(ge=1.0, le=1.5)
    owner: str
    expires: str = Field(pattern=r"^\d{4}-\d\d-\d\d$")
    """First day on which the rule no longer applies."""


class Risk(Section):
    limit: float = Field(ge=0)
    limit_over: float
    churn: float = Field(ge=0)
    churn_over: float
    messages: float = Field(ge=0)
    messages_over: int
    """Penalty added when the measure exceeds its limit. Source: serving.md S10."""


class Fatigue(Section):
    base: float = Field(gt=0, le=1)
    channel: dict[str, float]
    """Channel -> exponent per message of the last 7 days."""
    other: float = Field(ge=0)


class Scoring(Section):
    """FD-TVS. Source: serving.md 7."""

    profile: str
    profiles: dict[str, dict[str, float]]
    """Name -> task -> weight b_t, summing to 1; ``will_acquire`` stands for the item's own group."""
    segment_task_weights: dict[str, dict[str, float]]
    """Segment -> task -> multiplier, clipped to [1.0, 1.5] when used."""
    dynamic_weight_rules: list[DynamicRule]
    cv_cuts: list[float] = Field(min_length=2, max_length=2)
    cv_values: list[float] = Field(min_length=3, max_length=3)
    """Income-stability factor below, between and above the cuts of the income's coefficient of variation."""
    flare: float = Field(ge=0, le=0.15)
    engagement: float = Field(ge=0, le=0.15)
    risk: Risk
    fatigue: Fatigue
    inputs: dict[str, str]
    """Factor input (income_cv, limit_utilisation, flare, engagement) -> feature column; not listed = unknown."""

    @model_validator(mode="after")
    def _weights(self) -> Scoring:
        if self.profile not in self.profiles:
            raise ValueError(f"profile {self.profile} is not among {sorted(self.profiles)}")
        for name, weights in self.profiles.items():
            if abs(sum(weights.values()) - 1) > 1e-9:
                raise ValueError(f"profile {name}: weights sum to {sum(weights.values())}, expected 1")
        return self


class Season(Section):
    months: list[int] = Field(min_length=1)
    """Months of the year, 1 to 12."""
    group: str
    """Top level of the source's tree of categories; a source without it has no such season."""
    factor: float = Field(ge=1)


class Rules(Section):
    """Thresholds of Layer 3. Source: serving.md 8."""

    fired_factor: float = Field(gt=1)
    fired_max: float = Field(gt=0, lt=1)
    unfired_factor: float = Field(gt=0, lt=1)
    """p = min(fired_max, fired_factor x base rate) when a rule fires, unfired_factor x base rate otherwise."""
    class_share: float = Field(gt=0, lt=1)
    """Probability given to the class a rule points to; the rest is spread by base rates."""
    churn_recency_days: float
    """Silence longer than this is a sign [d]."""
    churn_spend_drop: float = Field(gt=0, lt=1)
    """So much less spent in 30 days than in the months before is a sign [share]."""
    churn_hits: int = Field(ge=1)
    """Signs from which the rule fires."""
    declining_state: float = Field(gt=0, le=1)
    """Probability of a declining state (``shortcuts``) from which churn fires."""
    shift_jsd_bit: float = Field(gt=0, le=1)
    """Divergence of the category mixes, less chance, from which the shift fires [bit]."""
    topology_shift: float = Field(gt=0, le=1)
    """Probability of a topological transition (``shortcuts``) from which the shift fires."""
    next_mcc_smoothing: float = Field(gt=0)
    """Laplace: acts added to every category [count]."""
    seasons: list[Season]
    diversity_transitory: float = Field(ge=0, le=0.1)
    """The transitory share of income raises the trend of diversity by at most this [label units]."""
    nba_few_products: int
    """With fewer products ``nba_first`` is the next action."""
    nba_first: str
    nba_path: list[str]
    """Classes of ``nba_primary`` in the order of the adjacency path; names a source lacks are skipped."""
    deposits_idle_share: float = Field(gt=0, lt=1)
    """(balance - monthly outflow) / balance above this is idle cash."""
    deposits_balance_percentile: float = Field(ge=0, le=100)
    deposits_matures_days: float = Field(ge=0)
    """A deposit that matures within so many days [d]."""
    investments_tolerance: int = Field(ge=1, le=5)
    investments_asset_percentile: float = Field(ge=0, le=100)
    """70: the top 30 percent."""
    accounts_new_months: float
    """Customers below this tenure are new [months]."""
    accounts_interbank_share: float = Field(gt=0, le=1)
    accounts_points: int = Field(ge=1)
    """Points from which the rule fires: 2 for a salary credited here by a customer of another primary bank, 1 each for
    transfers between banks and for being new."""
    lending_credit_grade: float
    """Worst credit grade, 1 being the best."""
    lending_debt_to_income: float = Field(gt=0, lt=1)
    payments_foreign_share: float = Field(gt=0, le=1)
    payments_card_percentile: float = Field(ge=0, le=100)
    payments_cards: int = Field(ge=0)
    """Much spent by card with at most so many cards."""
    card_products: list[str]
    """Products (short names) that are cards; names a source lacks are skipped."""
    stability_days: list[float]
    stability_values: list[float]
    """Value below each number of days since the last transaction; the last value is for all longer pauses."""
    stability_balance_weight: float = Field(ge=0)
    """Times the balance trend [-1..1] is added."""
    value_percentiles: list[str]
    """What a customer's value is read from, the first that is known; never a protected attribute."""
    cross_sell_percentiles: list[float]
    cross_sell_targets: list[float]
    """Products held at or above each percentile of value; the last target is for all below."""
    segment_balance: list[float] = Field(min_length=2, max_length=2)
    """[source currency]"""
    segment_transactions: list[float] = Field(min_length=2, max_length=2)
    """[1 / month]"""
    segment_products: list[float] = Field(min_length=2, max_length=2)
    segment_points: list[float] = Field(min_length=2, max_length=2)
    segment_names: list[str] = Field(min_length=3, max_length=3)
    """Two points above the first limit, one above the second; names for many, some and few points."""
    shortcuts: dict[str, list[str]]
    """Task -> engineered columns whose sum replaces the raw test where the row has them all; never read for an
    opted-out customer."""

    @model_validator(mode="after")
    def _steps(self) -> Rules:
        pairs = {"stability": (self.stability_days, self.stability_values),
                 "cross_sell": (self.cross_sell_percentiles, self.cross_sell_targets)}  # fmt: skip
        for name, (limits, values) in pairs.items():
            if len(values) != len(limits) + 1:
                raise ValueError(f"{name}: {len(limits)} limits need {len(limits) + 1} values, found {len(values)}")
        return self
