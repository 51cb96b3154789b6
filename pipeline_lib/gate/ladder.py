"""The fixed order of the gate: the first answer that decides ends it, later questions are not even asked.

Fidelity comes before competition, so that nobody can trade a gain against the floor. Source: promotion.md section 4.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pipeline_lib.errors import PipelineError
from pipeline_lib.gate.compare import Competition
from pipeline_lib.records import Verdict
from pipeline_lib.registry.package import Package, PackagedTask


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


def bootstrap(package: Package, expected: Sequence[str], smoke: str | None, needs_signoff: bool) -> Answer:
    """Step 2, asked when the pointer is verified absent: nothing serves yet.

    Args:
        smoke: why the smoke invocation failed, None when it passed.
    """
    if missing := [task for task in expected if task not in package.tasks]:
        return reject("TASKS_MISSING", f"expected but not in the package: {', '.join(missing)}", missing)
    if smoke is not None:
        return reject("SMOKE_FAILED", smoke)
    failed = [t for t in package.tasks.values() if t.route == "distil" and t.fidelity != "pass"]
    names = ", ".join(f"{t.name} (layer {t.layer})" for t in failed)
    served = f"; below the fidelity floor and answered by a lower layer: {names}" if failed else ""
    if needs_signoff:
        return Answer("BOOTSTRAP_SIGNOFF", f"no champion yet; the policy asks for a sign-off{served}", "await_signoff")
    return Answer(
        "NO_CHAMPION", f"no champion yet: the first version serves{served}", "bootstrap", value=[t.name for t in failed]
    )


def fidelity(package: Package, expected: Sequence[str], max_kl: float) -> Answer:
    """Step 3: has every expected task a verdict, and does none diverge from its teacher? A limit is inclusive."""
    tasks = [package.tasks[name] for name in expected if name in package.tasks]
    if silent := [task.name for task in tasks if _unjudged(task)]:
        return reject("FIDELITY_INCOMPLETE", f"no fidelity verdict: {', '.join(silent)}", silent)
    failed = [task for task in tasks if _diverges(task, max_kl)]
    if failed:
        words = ", ".join(f"{task.name} (KL {task.kl:.6f})" for task in failed)
        value = [{"task": task.name, "kl": task.kl} for task in failed]
        return reject("FIDELITY_FAILED", f"diverges from its teacher, KL limit {max_kl}: {words}", value, max_kl)
    return Answer("FIDELITY_PASSED", f"{len(tasks)} tasks within the floor", value=len(tasks), limit=max_kl)


def competition(found: Competition) -> Answer:
    """Step 4: section 6."""
    primary = found.comparison[0].relative if found.comparison else None
    return Answer(found.code, found.reason, None if found.passed else "reject", primary)


@dataclass(frozen=True)
class Opinion:
    """What a hook says. ``escalate`` leaves it to the human."""

    outcome: Literal["pass", "reject", "escalate"]
    code: str
    reason: str


@dataclass(frozen=True)
class Hook:
    """A veto from elsewhere (fundamental rights, AI risk, counterfactual), given the challenger's version."""

    name: str
    ask: Callable[[str], Opinion]


def hooks(asked: Sequence[Hook], version: str) -> tuple[Answer, list[dict[str, str]]]:
    """Step 5: the first rejection, else the first escalation. A hook that fails escalates; it never passes."""
    opinions = [(hook.name, _opinion(hook, version)) for hook in asked]
    listed = [{"hook": name, "outcome": o.outcome, "code": o.code, "reason": o.reason} for name, o in opinions]
    for outcome, decision in (("reject", "reject"), ("escalate", "await_signoff")):
        for _, opinion in opinions:
            if opinion.outcome == outcome:
                verdict: Verdict = "reject" if decision == "reject" else "await_signoff"
                return Answer(opinion.code, opinion.reason, verdict), listed
    return Answer("NO_OBJECTION", f"{len(opinions)} hooks asked", value=len(opinions)), listed


def posture(auto_promote: bool, reason: str) -> Answer:
    """Step 6: the shipped posture leaves the last word to a human."""
    return Answer("PASSED", reason, "promote" if auto_promote else "await_signoff", auto_promote)


def _unjudged(task: PackagedTask) -> bool:
    """A distilled task needs pass or fail and its KL, a direct one exempt; by rules there is nothing to compare."""
    accepted = {"distil": {"pass", "fail"}, "direct": {"exempt"}, "rules": {"rules"}}
    unmeasured = task.route == "distil" and task.kl is None
    return task.fidelity not in accepted.get(task.route, set()) or unmeasured


def _diverges(task: PackagedTask, max_kl: float) -> bool:
    too_far = task.route == "distil" and task.kl is not None and not task.kl <= max_kl
    return task.fidelity == "fail" or too_far


def _opinion(hook: Hook, version: str) -> Opinion:
    try:
        return hook.ask(version)
    except (PipelineError, OSError) as error:  # TimeoutError is an OSError
        return Opinion("escalate", f"{hook.name.upper()}_UNAVAILABLE", f"{type(error).__name__}: {error}")
