"""May anything be concluded? Checks over the records of a family, before anybody looks at a difference.

A published table once showed 0.913 for every scenario because the model had degenerated; another compared a network
with itself under two names. Each check names what it found. What is found against a scenario stops conclusions about
it and about what is compared with it; what is found against the study stops all. Source: teacher.md section 19.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pipeline_lib.settings.ablation import Family, Protocol
from pipeline_lib.teacher.ablation.liveness import dead_parts
from pipeline_lib.teacher.ablation.record import Record

Found = Mapping[str, Mapping[int, Record]]
_SAME = 1e-5  # rows are asked again in other batches, and rounding may swap two neighbours of a ranking


@dataclass(frozen=True)
class Check:
    name: str
    """What must be true."""
    passed: bool
    detail: str
    against: tuple[str, ...] = ()
    """Scenarios it failed for; empty on a failed check: all of them."""


Finding = tuple[tuple[str, ...], str]
"""Scenarios concerned (none: all), and what was found."""


def checklist(found: Found, family: Family, protocol: Protocol) -> list[Check]:
    """Every check, passed or not."""
    checks: dict[str, Callable[[], Iterator[Finding]]] = {
        "every scenario that ran has every seed": lambda: _complete(found, protocol),
        "one version of the code and one bank": lambda: _one_code(found),
        "scenarios differ in configuration, and in what they answer": lambda: _distinct(found),
        "every part of every network gets gradient": lambda: _alive(found),
        "no answer is constant": lambda: _varied(found, protocol),
        "judged rows and their labels are the same everywhere": lambda: _aligned(found),
        "the same number of optimiser steps": lambda: _fair(found),
        f"loss weights within {protocol.stationary} of their stationary point": lambda: _stationary(found, protocol),
        "the reloaded best weights score what was recorded": lambda: _repeated(found),
        "models without named experts expose no named gate": lambda: _unnamed(found),
    }
    return [_check(name, list(found_by())) for name, found_by in checks.items()]


def _check(name: str, findings: Sequence[Finding]) -> Check:
    texts = [text for _, text in findings]
    named = [scenarios for scenarios, _ in findings]
    against = () if not all(named) else tuple(dict.fromkeys(s for scenarios in named for s in scenarios))
    return Check(name, not texts, "; ".join(texts[:6]) + ("; ..." if len(texts) > 6 else ""), against)


def passed(checks: Sequence[Check]) -> bool:
    return all(check.passed for check in checks)


def stopped(checks: Sequence[Check], *scenarios: str) -> bool:
    """Whether nothing may be concluded about these scenarios."""
    failed = [check.against for check in checks if not check.passed]
    return any(not against or set(against) & set(scenarios) for against in failed)


def as_body(checks: Sequence[Check]) -> dict[str, Any]:
    """What is stored beside the results."""
    return {"passed": passed(checks), "checks": [asdict(check) for check in checks]}


def _complete(found: Found, protocol: Protocol) -> Iterator[Finding]:
    """Scenarios that were not run at all are listed as such elsewhere; those that were need every seed."""
    seeds = {name: set(runs) for name, runs in found.items() if runs}
    if len(seeds) < 2:
        yield (), f"{len(seeds)} scenarios ran"
    for name, own in seeds.items():
        if missing := sorted(set(protocol.seeds) - own):
            yield (name,), f"{name} lacks seeds {missing}"


def _one_code(found: Found) -> Iterator[Finding]:
    for what in ("code_version", "bank"):
        versions = {getattr(r, what) for _, _, r in _each(found)}
        if len(versions) > 1:
            yield (), f"{what}: {sorted(versions)}"


def _distinct(found: Found) -> Iterator[Finding]:
    """Two scenarios with one configuration are one; two that answer alike differ in nothing that is alive."""
    seen: dict[tuple[str, int, str], str] = {}
    for name, seed, record in _each(found):
        for what in ("config_hash", "answers"):
            key = (what, seed, getattr(record, what))
            if key in seen:
                yield (name, seen[key]), f"{name} and {seen[key]} have the same {what} (seed {seed})"
            seen.setdefault(key, name)


def _alive(found: Found) -> Iterator[Finding]:
    for name, seed, record in _each(found):
        alone = {"gate2"} if len(record.experts) == 1 else set()  # one expert: nothing to choose between
        if dead := [part for part in dead_parts(record.gradients) if part not in alone]:
            yield (name,), f"{name} (seed {seed}): {', '.join(dead)}"


def _varied(found: Found, protocol: Protocol) -> Iterator[Finding]:
    for name, seed, record in _each(found):
        if flat := sorted(task for task, std in record.spread.items() if std < protocol.least_std):
            yield (name,), f"{name} (seed {seed}): {', '.join(flat)}"


def _aligned(found: Found) -> Iterator[Finding]:
    first: dict[str, str] = {}
    for name, _, record in _each(found):
        for what, value in record.fingerprints.items():
            if first.setdefault(what, value) != value:
                yield (name,), f"{name}: {what}"


def _fair(found: Found) -> Iterator[Finding]:
    steps = {record.steps for _, _, record in _each(found) if record.steps}
    if len(steps) > 1:
        yield (), f"{sorted(steps)} steps"


def _stationary(found: Found, protocol: Protocol) -> Iterator[Finding]:
    for name, seed, record in _each(found):
        for task, distance in record.stationary.items():
            if distance > protocol.stationary:
                yield (name,), f"{name} (seed {seed}): {task} by {distance:.2f}"


def _repeated(found: Found) -> Iterator[Finding]:
    for name, seed, record in _each(found):
        if abs(record.best_score - record.best_again) > _SAME:
            yield (name,), f"{name} (seed {seed}): {record.best_score:.6f}, then {record.best_again:.6f}"


def _unnamed(found: Found) -> Iterator[Finding]:
    for name, seed, record in _each(found):
        if record.model != "teacher" and (record.experts or record.gate_mean):
            yield (name,), f"{name} (seed {seed}): {record.experts or sorted(record.gate_mean)}"


def _each(found: Found) -> Iterator[tuple[str, int, Record]]:
    for name, runs in found.items():
        for seed, record in runs.items():
            yield name, seed, record
