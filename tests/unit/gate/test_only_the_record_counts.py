"""What lies in a file by hand moves nobody: verdict, reign, expiry and confirmation are rows of the record."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline_lib.canonical import canonical_bytes
from pipeline_lib.errors import AuditError, PromotionUnrecorded, RequestRefused
from pipeline_lib.gate import confirm, force, signoff
from pipeline_lib.gate import question as questions
from pipeline_lib.publish import release as releases
from pipeline_lib.records import Decision
from pipeline_lib.registry import decisions, rows
from tests.unit.gate.promotion_world import WEAK, Tweaks, World, later


class Crash(Exception):
    pass


def first_wording(world: World, monkeypatch: pytest.MonkeyPatch, decide: Callable[[], object]) -> Decision:
    """What ``decide`` would record; the process dies before the row."""
    seen: list[Decision] = []

    def dies(_: object, decision: Decision) -> None:
        seen.append(decision)
        raise Crash

    with monkeypatch.context() as patch:
        patch.setattr(rows, "record_verdict", dies)
        with pytest.raises(Crash):
            decide()
    return seen[0]


def edit(world: World, key: str, **fields: object) -> None:
    body = json.loads(world.ctx.objects.get(key))
    world.ctx.objects.put(key, canonical_bytes({**body, **fields}))


def tie(world: World, tmp: Path) -> Callable[[], object]:
    world.challenge(tmp, Tweaks(strength=WEAK))
    return world.judge


def decline(world: World, tmp: Path) -> Callable[[], object]:
    _, decision_id = world.await_approval(tmp)
    return lambda: signoff.conclude(world.settings, decision_id, "Reject", "risk.officer", "holdings look wrong to me")


def forced(world: World, tmp: Path) -> Callable[[], object]:
    version = world.challenge(tmp)
    return lambda: world.force(version, approver="second.person")


@pytest.mark.parametrize("decide", [tie, decline, forced])
@pytest.mark.parametrize("sealed", [False, True], ids=["bare", "under the old seal"])
def test_a_forged_proposal_becomes_no_verdict(
    world: World,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    decide: Callable[[World, Path], Callable[[], object]],
    sealed: bool,
) -> None:
    first = world.bootstrap(tmp_path)
    judge = decide(world, tmp_path)
    before, real = len(world.rows("promotion_decision")), first_wording(world, monkeypatch, judge)
    key = f"registry/proposed/{real.decision_id}.json"
    forged = replace(real, decision="promote", operator="somebody.else", reason="PASSED: fine").to_dict()
    body = {**json.loads(world.ctx.objects.get(key)), "decision": forged} if sealed else forged
    world.ctx.objects.put(key, canonical_bytes(body))
    with pytest.raises(PromotionUnrecorded, match="is no proposal of ours"):
        judge()
    assert len(world.rows("promotion_decision")) == before
    assert world.seen.version == first


def test_a_sealed_proposal_is_for_its_own_decision_only(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.bootstrap(tmp_path)
    judge = decline(world, tmp_path)
    real = first_wording(world, monkeypatch, judge)
    objects = world.ctx.objects
    other = next(key for key in objects.list("registry/proposed") if real.decision_id not in key)
    objects.put(f"registry/proposed/{real.decision_id}.json", objects.get(other))
    with pytest.raises(PromotionUnrecorded, match="is no proposal of ours"):
        judge()


def test_the_first_wording_of_a_crashed_judge_is_the_verdict(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.bootstrap(tmp_path)
    judge = decline(world, tmp_path)
    real = first_wording(world, monkeypatch, judge)
    judge()
    recorded = decisions.get(world.ctx.objects, real.decision_id).decision
    assert (recorded.decision, recorded.reason) == (real.decision, real.reason)
    assert recorded.body["approvals"] == real.body["approvals"]  # the time of the first wording included


def test_an_invented_or_backdated_reign_makes_nothing_known_good(world: World, tmp_path: Path) -> None:
    first = world.bootstrap(tmp_path)
    world.promote(tmp_path)
    never = world.challenge(tmp_path, Tweaks(strength=4.0), Tweaks())
    key = f"registry/state/{first}.json"
    history = json.loads(world.ctx.objects.get(key))["history"]
    long_ago = [{**step, "at": later(hours=-60 + 24 * i).isoformat()} for i, step in enumerate(history)]
    for version in (first, never):
        edit(world, f"registry/state/{version}.json", history=long_ago, state="retired")
    assert "served for 0.0 h at most" in str(force.needs_second_person(world.settings, first))
    assert force.needs_second_person(world.settings, never) == "it was never champion"
    with pytest.raises(RequestRefused, match="a second person is needed first"):
        world.force(never)


def test_without_a_record_that_verifies_nobody_is_known_good(world: World, tmp_path: Path) -> None:
    first = world.bootstrap(tmp_path)
    world.promote(tmp_path)
    world.served_since(first, 48)
    assert force.needs_second_person(world.settings, first) is None
    for path in Path(world.settings.place.audit.removeprefix("file://")).rglob("*.jsonl"):
        path.write_bytes(path.read_bytes().replace(b'"decision":"promote"', b'"decision":"bootstr"'))
    assert "the record does not say" in str(force.needs_second_person(world.settings, first))
    with pytest.raises(AuditError):
        confirm.waiting(world.settings)


def test_an_incomplete_package_is_never_forced_whatever_its_document_says(world: World, tmp_path: Path) -> None:
    world.bootstrap(tmp_path)
    world.next_week()
    lacking = Tweaks(without=("churn_signal",), state="incomplete")
    version = str(world.package(lacking, tmp_path).facts["version"])
    edit(world, f"registry/state/{version}.json", state="registered", promotable=True)
    with pytest.raises(RequestRefused, match="its signed manifest says incomplete"):
        world.force(version, approver="second.person", approver_signed_in=True)


def test_an_edited_expiry_prolongs_no_question(world: World, tmp_path: Path) -> None:
    world.bootstrap(tmp_path)
    _, decision_id = world.await_approval(tmp_path)
    edit(world, f"registry/approvals/{decision_id}.json", expires_at="2099-01-01T00:00:00+00:00")
    assert questions.asked(world.settings, decision_id)["expires_at"] < later(hours=73).isoformat()
    with pytest.raises(RequestRefused, match="expired at"):
        world.approve(decision_id, now=later(hours=500))


@pytest.mark.parametrize("folder", ["confirmations", "incidents", "closed"])
def test_a_file_by_hand_silences_no_incident(world: World, tmp_path: Path, folder: str) -> None:
    first = world.bootstrap(tmp_path)
    world.promote(tmp_path)
    world.served_since(first, 48)
    decision, receipt = world.force(first)
    releases.release(world.settings, decision, receipt)
    ended = {"outcome": "failed", "reason": "x"} if folder == "closed" else {}
    world.ctx.objects.put(f"registry/{folder}/{decision.decision_id}.json", canonical_bytes(ended))
    assert [one.decision_id for one in confirm.waiting(world.settings)] == [decision.decision_id]
    assert len(confirm.open_incidents(world.settings, later(hours=30))) == 1
    assert confirm.open_incidents(world.settings, later(hours=31)) == []
    assert confirm.confirm(world.settings, decision.decision_id, "second.person")["by"] == "second.person"
    assert confirm.waiting(world.settings) == []
