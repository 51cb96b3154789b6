"""Which tasks are compared, and why the others are not. Source: promotion.md section 5."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline_lib.registry.package import PackagedTask


@dataclass(frozen=True)
class TaskSets:
    expected: tuple[str, ...]
    compared: tuple[str, ...]
    missing: tuple[str, ...]
    extra: tuple[str, ...]
    """In the challenger, not in the policy: ignored and not served."""
    coverage_gain: tuple[str, ...]
    """A model now, none in the champion: nothing to compare with."""
    coverage_regression: tuple[str, ...]
    contract_changed: tuple[str, ...]
    by_rules: tuple[str, ...]
    unpowered: tuple[str, ...]
    """Too little truth in the bundle: left out for both models."""

    @property
    def problem(self) -> tuple[str, str] | None:
        """Code and reason when the sets themselves forbid a promotion."""
        if self.missing:
            return "TASKS_MISSING", f"expected but not in the package: {', '.join(self.missing)}"
        if self.coverage_regression:
            return "COVERAGE_REGRESSION", f"the champion has a model, rules now: {', '.join(self.coverage_regression)}"
        if self.contract_changed:
            return "TASK_CONTRACT_CHANGED", f"type or classes differ: {', '.join(self.contract_changed)}"
        return None


def task_sets(
    expected: Sequence[str],
    champion: Mapping[str, PackagedTask],
    challenger: Mapping[str, PackagedTask],
    unpowered: Sequence[str],
) -> TaskSets:
    """Sort the tasks. ``expected`` are all tasks of the policy; a packaged task outside it is extra."""
    in_champion = {t for t in expected if t in champion and champion[t].has_model}
    in_challenger = {t for t in expected if t in challenger and challenger[t].has_model}
    both = [t for t in expected if t in in_champion & in_challenger]
    same = [t for t in both if _contract(champion[t]) == _contract(challenger[t])]
    return TaskSets(
        expected=tuple(expected),
        compared=tuple(t for t in same if t not in unpowered),
        missing=tuple(t for t in expected if t not in challenger),
        extra=tuple(sorted(challenger.keys() - set(expected))),
        coverage_gain=tuple(t for t in expected if t in in_challenger - in_champion),
        coverage_regression=tuple(t for t in expected if t in in_champion - in_challenger and t in challenger),
        contract_changed=tuple(t for t in both if t not in same),
        by_rules=tuple(t for t in expected if t in challenger and t not in in_challenger),
        unpowered=tuple(t for t in unpowered if t in both),
    )


def _contract(task: PackagedTask) -> tuple[str, tuple[str, ...]]:
    return task.kind, task.classes
