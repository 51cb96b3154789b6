"""Step 5: vetoes from elsewhere, each with so much time to answer. None of them can pass by failing.

A hook that raises, or does not answer in time, leaves the verdict to the human.
Source: promotion.md section 4 (step 5) and L13.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from pipeline_lib.gate.ladder import Answer
from pipeline_lib.records import Verdict

VETO, SILENT = "COUNTERFACTUAL_VETO", "COUNTERFACTUAL_UNAVAILABLE"


@dataclass(frozen=True)
class Opinion:
    """What a hook says. ``escalate`` leaves it to the human."""

    outcome: Literal["pass", "reject", "escalate"]
    code: str
    reason: str
    inputs: Mapping[str, Any] | None = None
    """What it was formed on, as the record keeps it."""


@dataclass(frozen=True)
class Hook:
    """A veto (fundamental rights, AI risk, counterfactual), given the challenger's version."""

    name: str
    ask: Callable[[str], Opinion]


@dataclass(frozen=True)
class Asked:
    """One opinion of one hook."""

    hook: str
    opinion: Opinion

    def to_dict(self) -> dict[str, Any]:
        return {"hook": self.hook, **asdict(self.opinion)}

    @classmethod
    def recorded(cls, row: Mapping[str, Any]) -> Asked:
        return cls(row["hook"], Opinion(**{name: value for name, value in row.items() if name != "hook"}))


def ask(hooks: Sequence[Hook], version: str, timeout_s: float) -> list[Asked]:
    """The opinion of every hook."""
    return [Asked(hook.name, _opinion(hook, version, timeout_s)) for hook in hooks]


def weigh(asked: Sequence[Asked]) -> Answer:
    """The first rejection, else the first escalation, else no objection."""
    outcomes: tuple[tuple[str, Verdict], ...] = (("reject", "reject"), ("escalate", "await_signoff"))
    for outcome, decision in outcomes:
        for one in asked:
            if one.opinion.outcome == outcome:
                return Answer(one.opinion.code, one.opinion.reason, decision, value=one.hook)
    return Answer("NO_OBJECTION", f"{len(asked)} hooks asked", value=len(asked))


def counterfactual(mode: Literal["off", "advisory", "veto"], found: Mapping[str, Any] | None) -> list[Hook]:
    """What logged traffic says about the challenger, as a hook. In veto mode only WORSE rejects.

    Args:
        mode: ``promotion.counterfactual.mode``.
        found: summary of the stage ``counterfactual``; None when it did not run for this challenger.
    """
    if mode == "off":
        return []

    def opinion(_: str) -> Opinion:
        if found is None:
            silent: Literal["escalate", "pass"] = "escalate" if mode == "veto" else "pass"
            return Opinion(silent, SILENT, "the comparison on logged traffic did not run for this challenger")
        said = f"{found['verdict']}: {found.get('reason') or 'no reason given'}"
        inputs = {"mode": mode, "verdict": found["verdict"]}
        if mode == "veto" and found["verdict"] == "WORSE":
            return Opinion("reject", VETO, said, inputs)
        return Opinion("pass", f"COUNTERFACTUAL_{found['verdict']}", said, inputs)

    return [Hook("counterfactual", opinion)]


def _opinion(hook: Hook, version: str, timeout_s: float) -> Opinion:
    """In a thread of its own, which is left behind when it does not answer."""
    answers: queue.SimpleQueue[Opinion] = queue.SimpleQueue()

    def run() -> None:
        try:
            answers.put(hook.ask(version))
        except Exception as error:  # whatever a veto fails of: L13 wants a human, not a pass
            answers.put(_unavailable(hook, error))

    threading.Thread(target=run, daemon=True, name=f"hook-{hook.name}").start()
    try:
        return answers.get(timeout=timeout_s)
    except queue.Empty:
        return _unavailable(hook, TimeoutError(f"no answer within {timeout_s:g} s"))


def _unavailable(hook: Hook, error: Exception) -> Opinion:
    return Opinion("escalate", f"{hook.name.upper()}_UNAVAILABLE", f"{type(error).__name__}: {error}")
