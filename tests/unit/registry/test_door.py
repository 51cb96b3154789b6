"""The door to the pointer: no receipt, no champion."""

from __future__ import annotations

import ast
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline_lib.business_time import utc_now
from pipeline_lib.errors import AuditError, GateCannotJudge, PromotionUnrecorded, SwapLost
from pipeline_lib.records import Receipt
from pipeline_lib.registry import decisions, pointer, rows
from tests.unit.gate.promotion_world import Tweaks, World

LIBRARY = Path(pointer.__file__).resolve().parent.parent


@pytest.fixture
def decided(world: World, tmp_path: Path) -> tuple[World, decisions.StoredDecision]:
    """A bootstrap that was decided and not released."""
    world.package(Tweaks(), tmp_path)
    world.score(Tweaks(), None)
    return world, world.stored(world.judge()["decision_id"])


def swap(world: World, stored: decisions.StoredDecision, tag: str | None = None) -> pointer.Pointer:
    return pointer.swap(world.settings, world.ctx.objects, stored.decision, stored.receipt, tag, utc_now())


def test_a_recorded_decision_opens_the_door_once(decided: tuple[World, decisions.StoredDecision]) -> None:
    world, stored = decided
    assert swap(world, stored).generation == 1
    assert world.seen.version == stored.decision.challenger_version
    with pytest.raises(SwapLost):
        swap(world, stored)
    with pytest.raises(SwapLost, match="decided against generation 0"):
        swap(world, stored, world.seen.tag)


def test_an_invented_receipt_does_not(decided: tuple[World, decisions.StoredDecision]) -> None:
    world, stored = decided
    invented = replace(stored.receipt, last_entry_hash="0" * 64)
    nowhere = replace(stored.receipt, writer_id="once:promotion:" + "0" * 32)
    for receipt in (invented, nowhere):
        with pytest.raises(AuditError):
            pointer.swap(world.settings, world.ctx.objects, stored.decision, receipt, None, utc_now())
    assert not world.ctx.objects.exists(pointer.KEY)


def test_a_receipt_of_something_else_does_not(decided: tuple[World, decisions.StoredDecision]) -> None:
    world, stored = decided
    other: Receipt = rows.operation(
        world.settings, "drill", "drill:1", object_type="x", object_id="y", reason="a drill", action_id="a"
    )
    with pytest.raises(PromotionUnrecorded, match="expected one promotion_decision"):
        pointer.swap(world.settings, world.ctx.objects, stored.decision, other, None, utc_now())


@pytest.mark.parametrize(
    "edit",
    [
        {"challenger_version": "v20260101-00000000"},
        {"decision": "force_promote"},
        {"operator": "mallory"},
        {"champion_generation": 7},
        {"decision_id": "0" * 32},
    ],
    ids=lambda edit: next(iter(edit)),
)
def test_an_edited_decision_does_not(decided: tuple[World, decisions.StoredDecision], edit: dict[str, str]) -> None:
    world, stored = decided
    with pytest.raises(PromotionUnrecorded, match="the record says bootstrap"):
        swap(world, replace(stored, decision=replace(stored.decision, **edit)))
    assert not world.ctx.objects.exists(pointer.KEY)


def test_a_verdict_that_changes_nothing_does_not(world: World, tmp_path: Path) -> None:
    world.bootstrap(tmp_path)
    world.challenge(tmp_path)
    waiting = world.stored(world.judge()["decision_id"])
    with pytest.raises(PromotionUnrecorded, match="await_signoff"):
        swap(world, waiting, world.seen.tag)


def test_a_voided_decision_does_not(decided: tuple[World, decisions.StoredDecision]) -> None:
    world, stored = decided
    decisions.close(world.ctx.objects, stored.decision.decision_id, "voided", "too old")
    with pytest.raises(PromotionUnrecorded, match="was voided: too old"):
        swap(world, stored)


def test_an_edited_row_of_the_record_closes_it(decided: tuple[World, decisions.StoredDecision]) -> None:
    world, stored = decided
    folder = Path(world.settings.place.audit.removeprefix("file://"))
    for path in folder.rglob("*.jsonl"):
        path.write_bytes(path.read_bytes().replace(b'"decision":"bootstrap"', b'"decision":"promote__"'))
    with pytest.raises(AuditError):
        swap(world, stored)


def test_restoring_wants_the_receipt_of_a_failure(world: World, tmp_path: Path) -> None:
    world.bootstrap(tmp_path)
    world.promote(tmp_path)
    seen = world.seen
    assert seen.pointer is not None
    assert seen.tag is not None
    done = rows.operation(
        world.settings, rows.SWAP, "x", object_type="pointer", object_id="v", reason="done", action_id="a",
        phase="done", details={"decision_id": seen.pointer.decision_id},
    )  # fmt: skip
    with pytest.raises(PromotionUnrecorded, match="not of a failure"):
        pointer.restore(world.settings, world.ctx.objects, done, seen.tag, utc_now())


def test_absent_is_believed_only_without_a_history(world: World, tmp_path: Path) -> None:
    assert pointer.read(world.ctx.objects, world.keys) == pointer.Seen(None, None)
    world.bootstrap(tmp_path)
    for key in world.ctx.objects.list("registry/pointer") + world.ctx.objects.list("registry/decisions"):
        world.ctx.objects.delete(key)
    with pytest.raises(GateCannotJudge, match="served before"):
        pointer.read(world.ctx.objects, world.keys)


def test_a_pointer_signed_for_another_purpose_is_none(world: World, tmp_path: Path) -> None:
    import json

    from pipeline_lib import signing
    from pipeline_lib.canonical import canonical_bytes

    world.bootstrap(tmp_path)
    sealed = json.loads(world.ctx.objects.get(pointer.KEY))
    sealed["signature"] = signing.sign(world.keys, "report", canonical_bytes(sealed["pointer"])).hex()
    world.ctx.objects.put(pointer.KEY, canonical_bytes(sealed))
    with pytest.raises(GateCannotJudge, match="REGISTRY_CORRUPT"):
        world.seen  # noqa: B018


def test_nothing_else_in_the_library_names_the_pointer_object() -> None:
    """Writers need its key or its signing purpose; both are written in one module only."""
    for path in sorted(LIBRARY.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        docs = {
            ast.get_docstring(node, clean=False)
            for node in ast.walk(tree)
            if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef)
        }
        texts = [n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
        named = [text for text in texts if "champion.json" in text and text not in docs]
        callers = [
            n for n in ast.walk(tree) if isinstance(n, ast.Attribute) and n.attr in {"swap", "restore", "rebuild"}
        ]
        on_pointer = [n for n in callers if isinstance(n.value, ast.Name) and n.value.id == "pointer"]
        where = path.relative_to(LIBRARY).as_posix()
        assert not named or where == "registry/pointer.py", f"{where} names the pointer object"
        assert not on_pointer or where in ("publish/steps.py", "registry/repair.py"), f"{where} moves the pointer"
        assert where == "registry/pointer.py" or "pointer._write" not in path.read_text(encoding="utf-8")
