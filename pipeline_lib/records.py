"""Small frozen records that stages hand to one another. Positional, plain values: they survive XCom and JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Severity = Literal["info", "minor", "major", "critical"]


@dataclass(frozen=True)
class Finding:
    """One breach of a promise: what was measured, on what, against which limit."""

    check: str
    """Identity of the rule, e.g. ``L01``."""
    column: str
    """Column, file or key the finding is about."""
    statistic: str
    value: str
    threshold: str
    message: str
    label: str = ""
    verdict: Literal["FAIL", "WARN", "UNJUDGED"] = "FAIL"

    def __str__(self) -> str:
        about = f"{self.column} against {self.label}" if self.label else self.column
        measured = f"{self.statistic} = {self.value}, limit {self.threshold}"
        return f"{self.check} {self.verdict}: {about}: {measured}. {self.message}"


@dataclass(frozen=True)
class Receipt:
    """Proof that entries are durable in the record: where they are and the hash of the last one."""

    origin: str
    writer_id: str
    epoch: int
    first_seq: int
    last_seq: int
    last_entry_hash: str

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


Verdict = Literal["force_promote", "bootstrap", "reject", "await_signoff", "promote"]


@dataclass(frozen=True)
class Decision:
    """One verdict of the gate, immutable. Source: promotion.md section 4.

    ``body`` holds the evidence in canonical form (comparison, significance, fidelity, gate path, ...).
    """

    decision_id: str
    decision: Verdict
    reason_code: str
    reason: str
    trigger: Literal["auto", "manual"]
    operator: str | None
    challenger_version: str
    champion_version: str | None
    champion_generation: int
    """Generation of the pointer the verdict was made against; 0 when there was none."""
    config_hash: str
    body: Mapping[str, Any] = field(default_factory=dict)

    @property
    def changes_champion(self) -> bool:
        return self.decision in ("force_promote", "bootstrap", "promote")

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)
