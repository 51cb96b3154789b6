"""What the function may look up about a customer: keyed reads from small tables, one purpose each.

Where the items lie is behind ``pipeline_lib.items``; what they mean is here. Everything unreadable, a missing
field or one of another type included, raises TableUnreadable, and the caller fails to the safe side: opted out,
switched, blocked, not suitable.
"""

from __future__ import annotations

import json
import time
from array import array
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from math import isfinite
from typing import Any

from pipeline_lib.items import Items, TableUnreadable, meta
from pipeline_lib.serve.layers import Row
from pipeline_lib.serve.ood import Distance
from pipeline_lib.serve.suitability import known_age, known_income, known_tolerance
from pipeline_lib.serve.tiers import FairnessFlag

__all__ = [
    "Assessment", "Contact", "Customer", "OptOut", "Stored", "Switch", "TableUnreadable", "Tables", "TeacherSignals",
]  # fmt: skip


@dataclass(frozen=True)
class OptOut:
    opted_out: bool
    fallback: str | None
    """rule_based, human_review, disable; None = the policy's default."""


@dataclass(frozen=True)
class Switch:
    """One active kill switch."""

    switch_id: str
    scope: str
    """global, task or cluster."""
    target: str
    fallback: str


@dataclass(frozen=True)
class Contact:
    consent: bool
    do_not_contact: bool
    messages_7d: int


@dataclass(frozen=True)
class Assessment:
    tolerance: int | None
    assessed_at: date | None


@dataclass(frozen=True)
class TeacherSignals:
    """From the nightly teacher pass; never the student's, never without their date."""

    as_of: date
    gates: Mapping[str, Mapping[str, float]]
    """Task -> expert -> weight."""
    entropy: Mapping[str, float]


@dataclass(frozen=True)
class Stored:
    """What lies under an idempotency key."""

    asked: str
    """Keyed digest of the request."""
    response: str
    """Empty while somebody is answering."""
    stored_at: float
    """Seconds since 1970; 0 = free."""


@dataclass(frozen=True)
class Customer:
    """One item of the feature table."""

    row: Row
    refreshed: date
    """When the row was made: its age counts from here."""
    snapshot: date
    """Date of the data it was made from."""
    held: tuple[str, ...]
    age: int | None
    income: float | None
    """Annual income in ``currency``."""
    currency: str
    protected: Mapping[str, str]
    teacher: TeacherSignals | None
    rule_inputs: Mapping[str, float] = field(default_factory=dict)
    """Measures beside the row that rules read."""
    ood: Distance | None = None


@dataclass
class Tables:
    """Keyed reads, typed; only active switches, fairness flags and what never changes of an export are remembered."""

    items: Items
    switch_cache_ms: int
    fairness_cache_ms: int = 60_000
    clock: Callable[[], float] = time.monotonic
    _switches: tuple[float, tuple[Switch, ...]] | None = field(default=None, init=False)
    _fairness: tuple[float, tuple[FairnessFlag, ...]] | None = field(default=None, init=False)
    _exports: dict[str, Mapping[str, Any]] = field(default_factory=dict, init=False)

    def opt_out(self, subject: str) -> OptOut:
        with _typed("optout"):
            found = self.items.get("optout", subject)
            return OptOut(True, found["fallback"]) if found else OptOut(False, None)

    def switches(self) -> tuple[Switch, ...]:
        """Active switches, at most ``switch_cache_ms`` old."""
        now = self.clock()
        if self._switches is None or (now - self._switches[0]) * 1000 >= self.switch_cache_ms:
            with _typed("kill_switch"):
                active = [row for row in self.items.all("kill_switch") if row["active"]]
                found = [Switch(*(str(row[name]) for name in ("id", "scope", "target", "fallback"))) for row in active]
            self._switches = now, tuple(sorted(found, key=lambda switch: switch.switch_id))
        return self._switches[1]

    def fairness(self) -> tuple[FairnessFlag, ...]:
        """What the monitors flagged, at most ``fairness_cache_ms`` old."""
        now = self.clock()
        if self._fairness is None or (now - self._fairness[0]) * 1000 >= self.fairness_cache_ms:
            with _typed("fairness_state"):
                rows, names = self.items.all("fairness_state"), ("task", "attribute", "grp", "state")
                found = tuple(FairnessFlag(*(str(row[name]) for name in names)) for row in rows)
            self._fairness = now, found
        return self._fairness[1]

    def contact(self, subject: str) -> Contact | None:
        with _typed("contact"):
            found = self.items.get("contact", subject)
            if found is None:
                return None
            return Contact(bool(found["consent"]), bool(found["do_not_contact"]), int(found["messages_7d"]))

    def assessment(self, subject: str) -> Assessment:
        with _typed("suitability"):
            found = self.items.get("suitability", subject)
            if found is None:
                return Assessment(None, None)
            return Assessment(known_tolerance(_number(found["tolerance"])), _date(found["assessed_at"]))

    def customer(self, subject: str) -> Customer | None:
        """The customer's row, or None for somebody unknown (cold start)."""
        with _typed("feature_row"):
            meta_id = ""
            for _ in range(2):  # a folder's file may be replaced between the two reads
                found = self.items.get("feature_row", subject)
                if found is None:
                    return None
                meta_id = str(found["meta_id"])
                if (about := self._export(meta_id)) is not None:
                    return _customer(about, found)
            raise TableUnreadable(f"feature_row: of export {meta_id}, which is not in meta")

    def _export(self, meta_id: str) -> Mapping[str, Any] | None:
        """What is said of the rows of one export; an instance meets one a week, or two while rows are refreshed."""
        if meta_id not in self._exports and (found := meta.read(self.items, meta_id)) is not None:
            self._exports[meta_id] = found
        return self._exports.get(meta_id)

    def stored_answer(self, key: str) -> Stored | None:
        """What lies under an idempotency key, however old, or None."""
        with _typed("idempotency"):
            found = self.items.get("idempotency", key)
            if found is None:
                return None
            return Stored(str(found["request_digest"]), str(found["response"]), float(found["stored_at"]))

    def store_answer(self, key: str, stored: Stored, hours: int) -> None:
        self.items.put("idempotency", _stored(key, stored), stored.stored_at + hours * 3600)

    def claim_answer(self, key: str, claim: Stored, hours: int, found: Stored | None) -> bool:
        """Write the claim where still lies what was found; False: somebody was faster."""
        was = None if found is None else found.stored_at
        return self.items.swap("idempotency", _stored(key, claim), "stored_at", was, claim.stored_at + hours * 3600)

    def record_assessment(self, subject: str, tolerance: int, assessed_at: date) -> None:
        """What a branch does after the suitability interview."""
        said = {"subject_ref": subject, "tolerance": tolerance, "assessed_at": assessed_at.isoformat()}
        self.items.put("suitability", said)


@contextmanager
def _typed(table: str) -> Iterator[None]:
    """An item that lacks a field or holds another type is as good as unreadable."""
    try:
        yield
    except (KeyError, ValueError, TypeError) as error:
        raise TableUnreadable(f"{table}: {_kind(error)}") from None  # what it stumbled over is somebody's


def _kind(error: Exception) -> str:
    """The kind of an error, and the field that it misses; never a value."""
    return f"{type(error).__name__} {error}" if isinstance(error, KeyError) else type(error).__name__


def _stored(key: str, stored: Stored) -> dict[str, Any]:
    return {
        "key": key, "request_digest": stored.asked, "response": stored.response, "stored_at": stored.stored_at,
    }  # fmt: skip


def _customer(meta: Mapping[str, Any], found: Mapping[str, Any]) -> Customer:
    columns = tuple(meta["columns"])
    values = _floats(found["features"])
    if len(values) != len(columns):
        raise ValueError(f"a row of {len(values)} values for {len(columns)} columns")
    return Customer(
        row=Row(values, columns, meta["schema_hash"]),
        refreshed=date.fromisoformat(meta["as_of"]),
        snapshot=date.fromisoformat(found["snapshot_date"]),
        held=tuple(json.loads(found["held"])),
        age=known_age(_number(found["age"])),
        income=known_income(_number(found["income"])),
        currency=meta["currency"],
        protected=dict(json.loads(found["protected"])),
        teacher=_signals(meta, found["gates"]),
        rule_inputs=_measures(found.get("rule_inputs")),
        ood=Distance.read(found.get("ood_distance"), meta),
    )


def _signals(meta: Mapping[str, Any], blob: bytes | None) -> TeacherSignals | None:
    """``tasks x (experts + 1)`` float32: the gate weights of each task and their entropy."""
    if blob is None:
        return None
    tasks, experts = meta["gate_tasks"], meta["gate_experts"]
    width, values = len(experts) + 1, _floats(blob)
    by_task = {task: values[i * width : (i + 1) * width] for i, task in enumerate(tasks)}
    gates = {task: dict(zip(experts, row[:-1], strict=True)) for task, row in by_task.items()}
    return TeacherSignals(date.fromisoformat(meta["gates_as_of"]), gates, {t: row[-1] for t, row in by_task.items()})


def _measures(text: str | None) -> dict[str, float]:
    """A measure that is not finite is not known."""
    return {name: float(value) for name, value in json.loads(text or "{}").items() if isfinite(value)}


def _floats(blob: bytes) -> array[float]:
    values = array("f")
    values.frombytes(blob)
    return values


def _number(value: Any) -> int | float | None:
    """Neither a text that looks like a number nor a truth value is one; whether it can be true is asked later."""
    if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
        raise TypeError(f"a number expected, found {type(value).__name__}")
    return value


def _date(value: Any) -> date | None:
    return None if value is None else date.fromisoformat(value)
