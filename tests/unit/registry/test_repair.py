"""A lost pointer is built again from the record: by a person, once, and never from a guess."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline_lib.errors import AuditError, GateCannotJudge, PromotionUnrecorded, RequestRefused
from pipeline_lib.publish import release as releases
from pipeline_lib.registry import pointer, repair, rows
from pipeline_lib.registry.check import require_consistent
from tests.unit.gate.promotion_world import Tweaks, World, later
from tests.unit.registry import test_check as hands

REASON = "the pointer object was lost, see INC-1"
ON_THE_POINTER = (
    hands.pointer_deleted,
    hands.pointer_and_copies_deleted,
    hands.pointer_edited,
    hands.older_pointer_put_back,
    hands.older_pointer_put_back_and_copies_deleted,
)


def repaired(world: World) -> pointer.Pointer:
    return repair.repair_pointer(world.settings, "on.call", REASON)


@pytest.mark.parametrize("touch", ON_THE_POINTER, ids=lambda touch: touch.__name__)
def test_the_repair_names_what_the_record_names(world: World, tmp_path: Path, touch: hands.Callable) -> None:
    first, second = world.bootstrap(tmp_path), world.promote(tmp_path)
    before = world.seen.pointer
    assert before is not None
    touch(world, first)
    made = repaired(world)
    assert (made.version, made.manifest_sha256, made.decision_id) == (
        second,
        before.manifest_sha256,
        before.decision_id,
    )
    assert (made.previous_version, made.previous_sha256) == (first, before.previous_sha256)
    assert made.generation == 3
    releases.reconcile(world.settings)
    assert releases.reconcile(world.settings) == []
    assert require_consistent(world.settings)["champion"] == second == world.target.serving()


def test_on_call_can_force_again_after_a_repair(world: World, tmp_path: Path) -> None:
    first = world.bootstrap(tmp_path)
    world.promote(tmp_path)
    hands.pointer_edited(world, first)
    with pytest.raises(GateCannotJudge, match="pipeline registry repair-pointer"):
        world.force(first)
    repaired(world)
    releases.release(world.settings, *world.force(first, approver="second.person"))
    assert (world.seen.version, world.seen.generation, world.target.serving()) == (first, 4, first)
    assert require_consistent(world.settings)["champion"] == first


def test_a_repair_is_one_action_by_a_person(world: World, tmp_path: Path) -> None:
    world.bootstrap(tmp_path)
    hands.pointer_deleted(world, "")
    repaired(world)
    found = sorted(world.rows(rows.REPAIR), key=lambda row: row.header["ts"])
    assert [(row.payload["phase"], row.payload["actor_ref"]) for row in found] == [
        ("intent", "on.call"),
        ("done", "promotion"),
    ]
    assert len({row.payload["action_id"] for row in found}) == 1


def test_a_sound_pointer_is_not_repaired(world: World, tmp_path: Path) -> None:
    with pytest.raises(RequestRefused, match="sound"):
        repaired(world)
    world.bootstrap(tmp_path)
    with pytest.raises(RequestRefused, match="sound"):
        repaired(world)
    assert world.rows(rows.REPAIR) == []


@pytest.mark.parametrize(("operator", "reason"), [("", REASON), ("on.call", "lost")])
def test_a_repair_needs_a_name_and_a_reason(world: World, tmp_path: Path, operator: str, reason: str) -> None:
    world.bootstrap(tmp_path)
    hands.pointer_deleted(world, "")
    with pytest.raises(RequestRefused):
        repair.repair_pointer(world.settings, operator, reason)
    assert not world.ctx.objects.exists(pointer.KEY)


def test_a_record_that_does_not_verify_is_no_ground(world: World, tmp_path: Path) -> None:
    world.bootstrap(tmp_path)
    world.promote(tmp_path)
    hands.pointer_deleted(world, "")
    hands.row_edited(world, "")
    with pytest.raises(AuditError):
        repaired(world)


def test_a_lost_decision_comes_back_with_the_pointer(world: World, tmp_path: Path) -> None:
    version = world.bootstrap(tmp_path)
    for key in world.ctx.objects.list("registry/decisions") + world.ctx.objects.list("registry/pointer"):
        world.ctx.objects.delete(key)
    assert repaired(world).version == version
    releases.reconcile(world.settings)
    assert require_consistent(world.settings)["champion"] == version


def test_a_decision_that_was_under_way_does_not_take_effect_by_itself(world: World, tmp_path: Path) -> None:
    first = world.bootstrap(tmp_path)
    _, question = world.await_approval(tmp_path)
    approved = world.approve(question)
    hands.pointer_deleted(world, "")
    repaired(world)
    assert f"voided promote {approved.challenger_version}" in releases.reconcile(world.settings)[0]
    assert world.seen.version == first == world.target.serving()


def test_a_receipt_of_something_else_does_not_rebuild(world: World, tmp_path: Path) -> None:
    world.bootstrap(tmp_path)
    drill = rows.operation(
        world.settings, "drill", "drill:1", object_type="x", object_id="y", reason="a drill", action_id="a"
    )
    with pytest.raises(PromotionUnrecorded, match="not of a repair"):
        pointer.rebuild(world.settings, world.ctx.objects, drill, world.seen.tag, later())


def test_a_failed_first_version_is_not_named_by_a_repair(world: World, tmp_path: Path) -> None:
    world.package(Tweaks(), tmp_path)
    world.score(Tweaks(), None)
    stored = world.stored(world.judge()["decision_id"])
    pointer.swap(world.settings, world.ctx.objects, stored.decision, stored.receipt, None, later())
    hands.pointer_deleted(world, "")
    assert repaired(world).version is None
    assert "voided bootstrap" in releases.reconcile(world.settings)[0]
    assert releases.reconcile(world.settings) == []
    assert require_consistent(world.settings)["champion"] is None
