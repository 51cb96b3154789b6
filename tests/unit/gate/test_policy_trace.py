"""No limit changes without a row: what changed, from what, to what, written before the verdict that rests on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline_lib.audit import session
from pipeline_lib.errors import AuditError
from pipeline_lib.gate import policy_trace
from tests.unit.gate.promotion_world import World


def changes(world: World) -> list[list[dict[str, Any]]]:
    return [row.payload["details"]["changes"] for row in world.rows("threshold_change")]


def test_the_first_verdict_names_every_limit_and_the_next_one_nothing(world: World, tmp_path: Path) -> None:
    world.bootstrap(tmp_path)
    world.await_approval(tmp_path)
    (first,) = changes(world)
    named = {change["key"]: change for change in first}
    assert named["promotion.min_improvement"] == {"key": "promotion.min_improvement", "old": None, "new": "0.005000000"}
    assert named["distillation.fidelity.binary.max_ece"]["new"] == "0.050000000"
    ordered = sorted(session.rows(world.settings), key=lambda row: str(row.header["ts"]))
    events = [row.header["event"] for row in ordered]
    assert events.index("threshold_change") < events.index("promotion_decision")


def test_a_change_and_its_way_back_are_two_rows(world: World, tmp_path: Path) -> None:
    world.bootstrap(tmp_path)
    world.challenge(tmp_path)
    lenient = world.with_policy(min_improvement=0.001)
    lenient.monday = world.monday
    lenient.judge()
    world.challenge(tmp_path)
    world.judge()
    key = "promotion.min_improvement"
    assert changes(world)[1:] == [
        [{"key": key, "old": "0.005000000", "new": "0.001000000"}],
        [{"key": key, "old": "0.001000000", "new": "0.005000000"}],
    ]
    assert world.rows("threshold_change")[1].payload["reason"] == f"changed: {key}"


def test_a_dry_run_changes_no_limit(world: World, tmp_path: Path) -> None:
    world.bootstrap(tmp_path)
    world.challenge(tmp_path)
    world.with_policy(min_improvement=0.001).judge("dry_run")
    assert len(changes(world)) == 1


def test_a_change_that_cannot_be_recorded_is_not_judged_by(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(*_: Any, **__: Any) -> None:
        raise AuditError("disk full")

    world.bootstrap(tmp_path)
    world.challenge(tmp_path)
    monkeypatch.setattr(policy_trace.rows, "operation", refuses)
    lenient = world.with_policy(min_improvement=0.001)
    with pytest.raises(AuditError, match="disk full"):
        lenient.judge()
    assert len(world.rows("promotion_decision")) == 1
