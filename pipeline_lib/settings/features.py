"""Policy of features: ``config/features.yaml``."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from pipeline_lib.settings.base import Section
from pipeline_lib.settings.feature_groups.assembly import Availability, HeavyTails, Work
from pipeline_lib.settings.feature_groups.checks import FeatureChecks
from pipeline_lib.settings.feature_groups.daily_embedding import DailyEmbedding
from pipeline_lib.settings.feature_groups.economics import Economics
from pipeline_lib.settings.feature_groups.graph import Graph
from pipeline_lib.settings.feature_groups.hierarchy import Hierarchy
from pipeline_lib.settings.feature_groups.hmm import Hmm
from pipeline_lib.settings.feature_groups.mixture import Mixture
from pipeline_lib.settings.feature_groups.patterns import Patterns
from pipeline_lib.settings.feature_groups.series import Series
from pipeline_lib.settings.feature_groups.topology import Topology

MONTH_DAYS = 30
YEAR_DAYS = 360

Expert = Literal["deepfm", "lightgcn", "hgcn", "temporal", "perslay", "causal", "optimal_transport"]


class FeatureGroup(Section):
    axis: Literal["State", "Snapshot", "Timeseries", "Hierarchy", "Item"]
    """Metadata of reports and ablations. Source: features.md 2.1."""
    experts: list[Expert]
    """Experts that read the group when an ablation masks by group. Source: features.md 2.2."""
    distil: float = Field(ge=0, le=1)
    """Prior weight with which the group is offered to the students [0..1]; 0 = not offered."""


class EventTypes(Section):
    refund: list[str]
    """Money back for an earlier purchase."""
    cash: list[str]
    """Cash taken out."""
    inflow: list[str]
    """Money in."""
    transfer: list[str]
    """Money out to other accounts."""


class Sequence(Section):
    max_len: int = Field(ge=1, le=365)
    """Active days kept per row at most, the newest ones [steps]."""
    lookback_days: int = Field(ge=1, le=365)
    """Active days older than this are not read [d]."""
    scale_quantile: float = Field(gt=0.5, lt=1)
    """Train quantile by which count channels are divided."""


class Features(Section):
    groups: dict[str, FeatureGroup] = Field(min_length=1)
    """Group -> metadata, in schema order; without those that are in ``without``."""
    without: list[str]
    """Groups that are not made; a source says its own under ``overrides``."""
    events: EventTypes
    history_months: int = Field(ge=2, le=12)
    """Snapshots looked back on, the cutoff's included [months]."""
    roll_days: list[int]
    """Windows of txn_rolling, ending at the cutoff [d]."""
    recent_days: int = Field(ge=1, le=YEAR_DAYS)
    """Window of the category multi-hot [d]."""
    top_categories: int = Field(ge=1)
    """Categories with a column of their own, the most frequent on train."""
    age_cuts: list[int]
    """Upper bounds of the age groups [years]."""
    income_levels: int = Field(ge=2)
    """Income groups, cut at train quantiles."""
    stable_share: float = Field(gt=0, lt=1)
    """Distance from the median month that still counts as stable [share of the median]."""
    clip_z: float = Field(gt=0)
    """Clip of standardised values [standard deviations]."""
    min_std: float = Field(gt=0)
    """A smaller standard deviation on train is replaced by 1."""
    sequence: Sequence
    work: Work
    heavy_tails: HeavyTails
    availability: Availability
    protected: list[str]
    """Columns that tell a protected attribute; a group that reads one is a descendant. Source: features.md 4.3."""
    aliases: dict[str, str]
    """Name that the students' mandatory list uses -> column that stands for it. Source: features.md 9."""
    economics: Economics
    patterns: Patterns
    checks: FeatureChecks
    hmm: Hmm
    series: Series
    daily_embedding: DailyEmbedding
    graph: Graph
    hierarchy: Hierarchy
    mixture: Mixture
    topology: Topology

    @model_validator(mode="before")
    @classmethod
    def _switched_off(cls, body: dict[str, Any]) -> dict[str, Any]:
        groups, off = body.get("groups") or {}, body.get("without") or []
        if unknown := sorted(set(off) - set(groups)):
            raise ValueError(f"without {unknown}: no such groups; known: {', '.join(groups)}")
        return {**body, "groups": {name: own for name, own in groups.items() if name not in off}}

    @model_validator(mode="after")
    def _windows_tile(self) -> Features:
        bad = [d for d in self.roll_days if d != 7 and (d % MONTH_DAYS or not 0 < d <= YEAR_DAYS)]
        if bad or self.roll_days != sorted(set(self.roll_days)):
            raise ValueError(f"roll_days {self.roll_days}: ascending, each 7 or a multiple of 30 up to 360")
        if self.age_cuts != sorted(set(self.age_cuts)):
            raise ValueError(f"age_cuts {self.age_cuts} must ascend")
        return self
