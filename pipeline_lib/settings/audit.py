"""Policy of the record: ``config/audit.yaml``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Self

from pydantic import Field, model_validator

from pipeline_lib.settings.base import Section


class Similar(Section):
    """Similar-case search over explanation vectors."""

    window_days: int = Field(ge=1)
    """How far back similar answers are looked for [days]. Source: audit.md 9.2."""
    k: int = Field(ge=1, le=1000)
    """How many are shown."""
    index_rows: int = Field(ge=10_000)
    """A quarter's table gets an index at so many vectors; below, all are compared."""
    nprobes: int = Field(ge=1)
    """Partitions of the index that are looked into. Source: recall at 10 of
    benchmarks/audit_similar.py."""
    refine: int = Field(ge=1)
    """So many times k candidates are compared by their true vectors. Source: as nprobes."""
    min_answers: int = Field(ge=2)
    """Agreement and drift of explanations are unknown below so many answers."""


FLOOR_DAYS: Mapping[str, int] = {
    "log_operation": 2555,
    "log_model_inference": 180,
    "log_data_access": 730,
    "log_dimension_change": 3650,
    "log_attribution": 180,
    "log_guardrail": 180,
    "log_model_promotion": 3650,
}
"""No policy may keep payloads shorter [days]. Source: audit.md 5.1."""


class Retention(Section):
    """How long payloads are kept; headers and checkpoints are kept for good. Source: audit.md 5.1, 8.4."""

    days: dict[str, int | None]
    """Table -> days after which a payload goes; None: never."""
    on_erasure: dict[str, Literal["drop", "keep"]]
    """Table -> whether an erasure takes the payloads of the customer's rows before their time."""
    legal_basis: dict[str, str]
    """Table -> why what stays after an erasure may stay."""
    erasure_valid_days: int = Field(ge=1)
    """A request that was not carried out lapses after so long [days]."""

    @model_validator(mode="after")
    def _lawful(self) -> Self:
        tables = set(FLOOR_DAYS)
        if {*self.days} != tables or {*self.on_erasure} != tables:
            raise ValueError(f"retention: days and on_erasure name {sorted(tables)}")
        for table, days in self.days.items():
            if days is not None and days < FLOOR_DAYS[table]:
                raise ValueError(f"retention.days: {table} is kept {FLOOR_DAYS[table]} days or more, found {days}")
        kept = {one for one, act in self.on_erasure.items() if act == "keep"}
        if unsaid := sorted(one for one in kept if not self.legal_basis.get(one)):
            raise ValueError(f"retention.legal_basis: what stays after an erasure needs one: {unsaid}")
        return self


class Audit(Section):
    origin: str = Field(pattern=r"^[a-z0-9][a-z0-9./-]*[a-z0-9]$")
    """Identity of the bank's record; the place's ``env`` is appended, so that each environment has its own and no
    entry can be carried from one to another. Never reused. Source: audit.md 4.2."""
    key_id: str = Field(pattern=r"^k-[0-9]{6}-[0-9]{2}$")
    """Root MAC key that the record began with: ``k-YYYYMM-NN``. Never edited; `pipeline keys rotate` records what
    follows it, and new chains use the newest. Source: audit.md 4.8."""
    key_grace_hours: int = Field(ge=1)
    """A process that runs while its key is replaced may go on under the old one for so long [h]. Source: audit.md
    4.8."""
    max_intent_minutes: int = Field(ge=1)
    """An intent without its outcome is an alarm after so long [minutes]. Source: audit.md 7.2, V20."""
    anchor_skew_s: int = Field(ge=0)
    """How far an entry's time may be after the checkpoint that covers it [seconds]. Source: audit.md 7.2, V14."""
    sample_rows: int = Field(ge=1)
    """Rows of the query store compared byte by byte with the evidence. Source: audit.md 7.2, V15."""
    load_batch_rows: int = Field(ge=1, le=100_000)
    """Most rows appended to the query store at once. Source: audit.md 8.2."""
    keep_versions_days: int = Field(ge=400)
    """Versions of the query tables are kept at least so long [days]. Source: audit.md 8.2."""
    compact_after_fragments: int = Field(ge=2)
    """A query table is compacted when it has so many fragments. Source: anchors.md C, cost per fragment."""
    max_load_lag_minutes: int = Field(ge=0)
    """A checkpoint older than this must be in the query store [minutes]. Source: audit.md 1, G1."""
    similar: Similar
    retention: Retention
