"""Known bad: said by a person, with a reason, in the record; lifted the same way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline_lib.errors import ObjectMissing, RequestRefused
from pipeline_lib.publish import release as releases
from pipeline_lib.registry import quarantine, rows, states
from pipeline_lib.registry.check import examine
from tests.unit.gate.promotion_world import World

REASON = "wrong on lending since the June load"


def test_a_quarantined_version_is_judged_by_no_gate_and_forced_by_nobody_alone(world: World, tmp_path: Path) -> None:
    world.bootstrap(tmp_path)
    version = world.challenge(tmp_path)
    document = quarantine.quarantine(world.settings, version, "risk.officer", REASON)
    assert (document["state"], document["quarantine"]["by"]) == ("quarantined", "risk.officer")
    assert world.judge()["reason_code"] == "QUARANTINED"
    with pytest.raises(RequestRefused, match="is quarantined"):
        world.force(version, approver="second.person")
    row = world.rows(rows.QUARANTINED)[0]
    assert (row.payload["actor_kind"], row.payload["actor_ref"], row.payload["reason"]) == (
        "human", "risk.officer", REASON,
    )  # fmt: skip
    assert examine(world.settings) == []


def test_a_lifted_version_may_be_judged_again(world: World, tmp_path: Path) -> None:
    world.bootstrap(tmp_path)
    version = world.challenge(tmp_path)
    quarantine.quarantine(world.settings, version, "risk.officer", REASON)
    document = quarantine.lift(world.settings, version, "risk.lead", "the June load was corrected")
    assert (document["state"], document["quarantine"]) == ("registered", None)
    assert world.judge()["decision"] == "await_signoff"
    assert len(world.rows(rows.LIFTED)) == 1
    assert examine(world.settings) == []


def test_marking_twice_is_one_row_and_a_second_mark_another(world: World, tmp_path: Path) -> None:
    world.bootstrap(tmp_path)
    version = world.challenge(tmp_path)
    for _ in range(2):
        quarantine.quarantine(world.settings, version, "risk.officer", REASON)
    assert len(world.rows(rows.QUARANTINED)) == 1
    quarantine.lift(world.settings, version, "risk.lead", "the June load was corrected")
    quarantine.quarantine(world.settings, version, "risk.officer", REASON)
    assert len(world.rows(rows.QUARANTINED)) == 2
    assert examine(world.settings) == []


def test_a_mark_that_died_before_its_document_is_found_and_finished(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.bootstrap(tmp_path)
    version = world.challenge(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(states, "quarantine", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            quarantine.quarantine(world.settings, version, "risk.officer", REASON)
    assert "the record says quarantined" in examine(world.settings)[0]
    quarantine.quarantine(world.settings, version, "risk.officer", REASON)
    assert (len(world.rows(rows.QUARANTINED)), examine(world.settings)) == (1, [])


def test_forcing_a_quarantined_version_by_two_lifts_it(world: World, tmp_path: Path) -> None:
    first = world.bootstrap(tmp_path)
    world.promote(tmp_path)
    quarantine.quarantine(world.settings, first, "risk.officer", REASON)
    releases.release(world.settings, *world.force(first, approver="second.person", allow_quarantined=True))
    assert (world.state(first), examine(world.settings)) == ("champion", [])


Asked = Callable[[World, str], object]


@pytest.mark.parametrize(
    ("asked", "refusal"),
    [
        (lambda w, v: quarantine.quarantine(w.settings, v, "risk.officer", REASON), "serves: force another version"),
        (lambda w, v: quarantine.lift(w.settings, v, "risk.officer", REASON), "is champion, not quarantined"),
        (lambda w, v: quarantine.quarantine(w.settings, v, " ", REASON), "needs an operator"),
        (lambda w, v: quarantine.quarantine(w.settings, v, "risk.officer", "bad"), "a reason has 10 to 500"),
    ],
)
def test_what_is_not_valid_is_refused_and_changes_nothing(
    world: World, tmp_path: Path, asked: Asked, refusal: str
) -> None:
    version = world.bootstrap(tmp_path)
    before = states.read(world.ctx.objects, version)
    with pytest.raises(RequestRefused, match=refusal):
        asked(world, version)
    assert states.read(world.ctx.objects, version) == before
    assert world.rows(rows.QUARANTINED) == world.rows(rows.LIFTED) == []


def test_a_version_that_is_none_is_named(world: World) -> None:
    with pytest.raises(ObjectMissing, match="no version named v20200101-00000000"):
        quarantine.quarantine(world.settings, "v20200101-00000000", "risk.officer", REASON)
