"""Every check finds what it is there for. Defects are planted into the records of a small sound study."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from pipeline_lib.settings.ablation import Protocol, load_protocol
from pipeline_lib.teacher.ablation.record import Record
from pipeline_lib.teacher.ablation.sanity import checklist, passed, stopped
from tests.unit.teacher.ablation.conftest import family_of

FAMILY = family_of({"name": "full"}, {"name": "shared_bottom", "model": "shared_bottom"})
Found = dict[str, dict[int, Record]]


@pytest.fixture
def protocol() -> Protocol:
    return load_protocol().model_copy(update={"seeds": [1, 2]})


def sound() -> Found:
    return {name: {seed: record(name, seed) for seed in (1, 2)} for name in ("full", "shared_bottom")}


def record(name: str, seed: int) -> Record:
    return Record(
        scenario=name, model="teacher" if name == "full" else name, seed=seed, config_hash=f"hash of {name}",
        code_version="c", bank="b", experts=["deepfm", "causal"] if name == "full" else [], parameters=10,
        first_logits=f"{name}{seed}", answers=f"{name}{seed}", fingerprints={"rows": "r", "label:churn": "l"},
        gradients={"towers": 1.0, "defaults": 0.0}, stationary={"churn": 0.01}, spread={"churn": 0.1}, steps=100,
        epochs=4, best_epoch=2, best_score=0.5, best_again=0.5, scores={}, curve=[],
        gate_mean={"churn": {"deepfm": 1.0}} if name == "full" else {}, cpu_seconds=1.0,
    )  # fmt: skip


def with_change(found: Found, name: str, seed: int, **change: Any) -> Found:
    return {**found, name: {**found[name], seed: replace(found[name][seed], **change)}}


def failing(found: Found, protocol: Protocol) -> list[str]:
    return [check.name for check in checklist(found, FAMILY, protocol) if not check.passed]


def test_a_sound_study_passes(protocol: Protocol) -> None:
    assert passed(checklist(sound(), FAMILY, protocol))


PLANTS: dict[str, tuple[str, Callable[[Found], Found]]] = {
    "a seed is missing": ("every seed", lambda f: {**f, "full": {1: f["full"][1]}}),
    "a scenario never ran": ("every seed", lambda f: {**f, "full": {}}),
    "code changed between runs": ("one version", lambda f: with_change(f, "full", 1, code_version="d")),
    "another bank": ("one version", lambda f: with_change(f, "full", 1, bank="other")),
    "one configuration under two names": (
        "scenarios differ", lambda f: with_change(f, "full", 1, config_hash="hash of shared_bottom")),
    "a switch that changes no answer": (
        "scenarios differ", lambda f: with_change(f, "full", 2, answers="shared_bottom2")),
    "a gate without gradient": (
        "gets gradient", lambda f: with_change(f, "full", 1, gradients={"towers": 1.0, "gate2": 0.0})),
    "a degenerated model": ("constant", lambda f: with_change(f, "full", 1, spread={"churn": 0.0})),
    "other labels": (
        "judged rows", lambda f: with_change(f, "full", 1, fingerprints={"rows": "r", "label:churn": "x"})),
    "more steps": ("optimiser steps", lambda f: with_change(f, "full", 1, steps=101)),
    "weights on their way": ("stationary", lambda f: with_change(f, "full", 1, stationary={"churn": 0.3})),
    "a best epoch that does not repeat": ("reloaded", lambda f: with_change(f, "full", 1, best_again=0.51)),
    "gates of unnamed experts": (
        "named gate", lambda f: with_change(f, "shared_bottom", 1, gate_mean={"churn": {"deepfm": 1.0}})),
}  # fmt: skip


@pytest.mark.rule("R34")
@pytest.mark.parametrize("defect", PLANTS)
def test_a_planted_defect_fails_its_own_check_alone(defect: str, protocol: Protocol) -> None:
    words, plant = PLANTS[defect]
    names = failing(plant(sound()), protocol)
    assert len(names) == 1
    assert words in names[0]


def test_a_rare_label_may_miss_its_seed_in_no_way(protocol: Protocol) -> None:
    assert not passed(checklist({}, FAMILY, protocol))


def test_what_is_found_against_a_scenario_stops_it_alone_and_what_is_found_against_the_study_stops_all(
    protocol: Protocol,
) -> None:
    dead = with_change(sound(), "full", 1, gradients={"gate2": 0.0})
    assert stopped(checklist(dead, FAMILY, protocol), "full", "other")
    assert not stopped(checklist(dead, FAMILY, protocol), "shared_bottom", "other")
    mixed = with_change(sound(), "full", 1, code_version="d")
    assert stopped(checklist(mixed, FAMILY, protocol), "shared_bottom", "other")


def test_a_gate_over_one_expert_has_nothing_to_learn(protocol: Protocol) -> None:
    alone = with_change(sound(), "full", 1, experts=["deepfm"], gradients={"towers": 1.0, "gate2": 0.0})
    assert passed(checklist(alone, FAMILY, protocol))
