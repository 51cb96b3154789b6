"""Fidelity before competition, sealed: below the floor nobody reads a score, let alone compares one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline_lib.gate import compare, evidence, trial
from tests.unit.gate.promotion_world import Tweaks, World
from tests.unit.gate.scenario import judged


class Opened(Exception):
    """Somebody looked."""


@pytest.fixture
def booby_trapped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores that explode when they are read, and a competition that explodes when it is asked."""

    def explode(*_: Any, **__: Any) -> None:
        raise Opened

    monkeypatch.setattr(evidence.Bundle, "open", explode)
    monkeypatch.setattr(trial, "measure", explode)
    monkeypatch.setattr(compare, "compete", explode)


@pytest.mark.parametrize(
    ("tweaks", "code"),
    [
        (Tweaks(kl={"churn_signal": 0.21}), "FIDELITY_FAILED"),
        (Tweaks(fidelity={"churn_signal": "fail"}), "FIDELITY_FAILED"),
        (Tweaks(fidelity={"churn_signal": "none"}), "FIDELITY_INCOMPLETE"),
        (Tweaks(state="incomplete"), "PACKAGE_INCOMPLETE"),
    ],
    ids=["above the floor", "another criterion", "no verdict", "incomplete package"],
)
def test_no_score_is_read_below_the_floor(
    world: World, tmp_path: Path, tweaks: Tweaks, code: str, booby_trapped: None
) -> None:
    world.bootstrap(tmp_path)
    world.challenge(tmp_path, tweaks)
    decision = judged(world)
    assert (decision.decision, decision.reason_code) == ("reject", code)
    assert (decision.body["comparison"], decision.body["significance"]) == (None, None)
    skipped = {step["step"] for step in decision.body["gate_path"] if step["outcome"] == "skipped"}
    assert {"competition", "hooks", "posture"} <= skipped


def test_the_trap_goes_off_when_fidelity_passes(world: World, tmp_path: Path, booby_trapped: None) -> None:
    """Otherwise the test above would pass whatever the gate did."""
    world.bootstrap(tmp_path)
    world.challenge(tmp_path)
    with pytest.raises(Opened):
        world.judge()


def test_neither_is_a_champion_scored_that_does_not_load(world: World, tmp_path: Path, booby_trapped: None) -> None:
    first = world.bootstrap(tmp_path)
    world.challenge(tmp_path)
    manifest = world.ctx.objects.local_path(f"registry/versions/{first}/manifest.json")
    manifest.write_bytes(manifest.read_bytes() + b" ")
    assert judged(world).reason_code == "CHAMPION_UNLOADABLE"
