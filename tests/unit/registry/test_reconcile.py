"""The nightly question: is what serves what was decided?"""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline_lib.errors import AuditError, GateCannotJudge, ManifestMismatch
from pipeline_lib.registry import pointer, states
from pipeline_lib.registry.reconcile import require_consistent
from tests.unit.gate.promotion_world import World, later


def test_a_released_champion_is_consistent(world: World, tmp_path: Path) -> None:
    assert require_consistent(world.settings)["champion"] is None
    first = world.bootstrap(tmp_path)
    assert require_consistent(world.settings)["champion"] == first
    second = world.promote(tmp_path)
    assert require_consistent(world.settings) == {
        "champion": second,
        "generation": 2,
        "decision_id": world.ctx.read("publish").manifest.inputs["decision"],
    }


def test_documents_that_disagree_are_found(world: World, tmp_path: Path) -> None:
    version = world.bootstrap(tmp_path)
    states.move(world.ctx.objects, version, "retired", "somebody", None, later())
    with pytest.raises(GateCannotJudge, match="documents say"):
        require_consistent(world.settings)


def test_a_lost_pointer_is_found(world: World, tmp_path: Path) -> None:
    world.bootstrap(tmp_path)
    world.ctx.objects.delete(pointer.KEY)
    with pytest.raises(GateCannotJudge, match="REGISTRY_CORRUPT"):
        require_consistent(world.settings)


def test_a_changed_model_is_found(world: World, tmp_path: Path) -> None:
    version = world.bootstrap(tmp_path)
    path = world.ctx.objects.local_path(f"registry/versions/{version}/students/churn_signal/model.txt")
    path.write_bytes(b"tree\nother")
    with pytest.raises(ManifestMismatch):
        require_consistent(world.settings)


def test_a_champion_whose_row_is_gone_is_found(world: World, tmp_path: Path) -> None:
    world.bootstrap(tmp_path)
    for path in Path(world.settings.place.audit.removeprefix("file://")).rglob("*.jsonl"):
        if b'"promotion_decision"' in path.read_bytes():
            path.unlink()
    with pytest.raises(AuditError):
        require_consistent(world.settings)
