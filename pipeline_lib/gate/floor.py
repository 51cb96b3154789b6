"""Step 3: does every student still answer as its teacher does? Source: promotion.md section 4, distillation.md 11.3.

It is read from the manifest's fidelity summary and the signed report beside it, before any competition metric is
computed. A limit is inclusive.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pipeline_lib.gate.ladder import Answer, reject
from pipeline_lib.gate.words import misses
from pipeline_lib.registry.package import Missed, Package, PackagedTask

ACCEPTED = {"distil": {"pass", "fail"}, "direct": {"exempt"}, "rules": {"rules"}}
"""Route -> verdicts that say something: by rules there is no model to compare."""


@dataclass(frozen=True)
class TaskFidelity:
    """What is known about one task, as the verdict's row keeps it."""

    task: str
    route: str
    verdict: str | None
    kl: float | None
    floor: float
    """Largest divergence that passes [nat]."""
    failing: tuple[Missed, ...]
    """Every blocking criterion that was missed, the floor included."""

    @classmethod
    def of(cls, task: PackagedTask, floor: float) -> TaskFidelity:
        kl = task.kl if task.kl is not None and math.isfinite(task.kl) else None
        failing = task.failing
        if task.route == "distil" and kl is not None and kl > floor and "kl" not in {m.criterion for m in failing}:
            failing = (Missed("kl", kl, floor, "<="), *failing)
        return cls(task.name, task.route, task.fidelity, kl, floor, failing)

    @classmethod
    def recorded(cls, row: Mapping[str, Any]) -> TaskFidelity:
        """From a verdict's row, where reals are decimal text."""
        failing = [{**miss, "value": _real(miss["value"]), "limit": float(miss["limit"])} for miss in row["failing"]]
        known = {"kl": _real(row["kl"]), "floor": float(row["floor"])}
        return cls(**{**row, **known, "failing": tuple(Missed(**miss) for miss in failing)})

    @property
    def unjudged(self) -> bool:
        """A distilled task needs pass or fail and its KL, a direct one exempt."""
        unmeasured = self.route == "distil" and self.kl is None
        return self.verdict not in ACCEPTED.get(self.route, set()) or unmeasured

    @property
    def diverges(self) -> bool:
        return self.verdict == "fail" or bool(self.failing)

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "failing": [asdict(miss) for miss in self.failing]}

    def __str__(self) -> str:
        return f"{self.task} ({misses(self.failing) or 'its report names no criterion'})"


def of_package(package: Package | None, floor: float) -> tuple[TaskFidelity, ...]:
    """Every task of the package; none when there is no package to trust."""
    return tuple(TaskFidelity.of(task, floor) for task in package.tasks.values()) if package else ()


def ask(tasks: Sequence[TaskFidelity], expected: Sequence[str]) -> Answer:
    """Has every expected task a verdict, and does none diverge from its teacher?"""
    asked = [task for task in tasks if task.task in expected]
    limit = {"expected": list(expected)}
    if silent := [task.task for task in asked if task.unjudged]:
        return reject("FIDELITY_INCOMPLETE", f"no fidelity verdict: {', '.join(silent)}", silent, limit)
    if failed := [task for task in asked if task.diverges]:
        said = f"{len(failed)} of {len(asked)} tasks diverge from the teacher: " + "; ".join(map(str, failed))
        value = [{"task": task.task, "failing": [asdict(miss) for miss in task.failing]} for task in failed]
        return reject("FIDELITY_FAILED", said, value, limit)
    return Answer("FIDELITY_PASSED", f"{len(asked)} tasks within the floor", value=len(asked), limit=limit)


def _real(text: str | None) -> float | None:
    return None if text is None else float(text)
