"""The fixed order of the gate: the first answer that decides ends it, later questions are not even asked.

Fidelity comes before competition, so that nobody can trade a gain against the floor. Source: promotion.md section 4.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline_lib.records import Verdict
from pipeline_lib.registry.package import Package

STEPS = ("preflight", "override", "champion", "champion_loads", "fidelity", "competition", "hooks", "posture")


@dataclass(frozen=True)
class Answer:
    """What one step found. ``decision`` None: go on to the next."""

    code: str
    reason: str
    decision: Verdict | None = None
    value: Any = None
    limit: Any = None


@dataclass(frozen=True)
class Climb:
    """The deciding answer and the whole path, steps not reached included."""

    answer: Answer
    path: tuple[Mapping[str, Any], ...]

    @property
    def decision(self) -> Verdict:
        assert self.answer.decision is not None, "the last question of a ladder always decides"
        return self.answer.decision


Question = tuple[str, Callable[[], Answer]]


def climb(questions: Sequence[Question]) -> Climb:
    """Ask in order until one decides. The last question must."""
    path: list[dict[str, Any]] = []
    final: Answer | None = None
    for step, ask in questions:
        if final is not None:
            path.append({"step": step, "outcome": "skipped", "code": None, "value": None, "limit": None})
            continue
        answer = ask()
        outcome = "passed" if answer.decision is None else "decided"
        path.append(
            {"step": step, "outcome": outcome, "code": answer.code, "value": answer.value, "limit": answer.limit}
        )
        final = answer if answer.decision else None
    assert final is not None, "the last question of a ladder always decides"
    return Climb(final, tuple(path))


def reject(code: str, reason: str, value: Any = None, limit: Any = None) -> Answer:
    return Answer(code, reason, "reject", value, limit)


def preflight(package: Package | None, why_not: str, state: str) -> Answer:
    """Step 0: is there a complete, verified, judgeable package?"""
    if package is None:
        return reject("CHALLENGER_INVALID", why_not)
    if package.state != "complete":
        return reject("PACKAGE_INCOMPLETE", f"package {package.version} is {package.state}", package.state, "complete")
    if state == "quarantined":
        return reject("QUARANTINED", f"{package.version} is marked as known bad", state)
    return Answer("VALID", "signature, files and state are in order", value=package.sha256)


def not_forced() -> Answer:
    """Step 1: forcing is another function; a run asks for a verdict."""
    return Answer("NOT_FORCED", "the run asks for a verdict")


def bootstrap(
    package: Package, expected: Sequence[str], smoke: str | None, needs_signoff: bool, failed: Mapping[str, str]
) -> Answer:
    """Step 2, asked when the pointer is verified absent: nothing serves yet.

    Args:
        smoke: why the smoke invocation failed, None when it passed.
        failed: task below the fidelity floor -> what it missed, and the layer that answers.
    """
    if missing := [task for task in expected if task not in package.tasks]:
        return reject("TASKS_MISSING", f"expected but not in the package: {', '.join(missing)}", missing)
    if smoke is not None:
        return reject("SMOKE_FAILED", smoke)
    served = f"; below the fidelity floor and answered by a lower layer: {'; '.join(failed.values())}" if failed else ""
    if needs_signoff:
        return Answer("BOOTSTRAP_SIGNOFF", f"no champion yet; the policy asks for a sign-off{served}", "await_signoff")
    return Answer("NO_CHAMPION", f"no champion yet: the first version serves{served}", "bootstrap", value=list(failed))


def posture(auto_promote: bool, reason: str) -> Answer:
    """Step 6: the shipped posture leaves the last word to a human."""
    return Answer("PASSED", reason, "promote" if auto_promote else "await_signoff", auto_promote)
