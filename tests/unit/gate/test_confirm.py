"""After a force-promote by one person: a second confirms in a day, objects, or an incident opens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline_lib.errors import RequestRefused
from pipeline_lib.gate import confirm
from pipeline_lib.publish import release as releases
from pipeline_lib.records import Decision
from tests.unit.gate.promotion_world import World, later


@pytest.fixture
def forced(world: World, tmp_path: Path) -> tuple[World, Decision]:
    """A known-good version, forced by on.call alone."""
    first = world.bootstrap(tmp_path)
    world.promote(tmp_path)
    world.served_since(first, 30)
    return world, world.force(first)[0]


def answered(world: World, decision: Decision, person: str = "second.person", **options: Any) -> dict[str, Any]:
    return confirm.confirm(world.settings, decision.decision_id, person, **options)


def test_one_person_leaves_a_debt_that_a_second_one_pays(forced: tuple[World, Decision]) -> None:
    world, decision = forced
    (owed,) = confirm.waiting(world.settings)
    assert (owed.version, owed.operator) == (decision.challenger_version, "on.call")
    said = answered(world, decision, statement="Saw the breach, agreed")
    assert (said["by"], said["late"]) == ("second.person", False)
    assert confirm.waiting(world.settings) == []
    assert confirm.open_incidents(world.settings, later(hours=25)) == []
    (row,) = world.rows("force_promote_confirmed")
    assert (row.payload["actor_ref"], row.payload["reason"]) == ("second.person", "Saw the breach, agreed")


def test_an_approver_who_signed_in_leaves_no_debt_and_one_who_was_named_does(world: World, tmp_path: Path) -> None:
    first = world.bootstrap(tmp_path)
    world.promote(tmp_path)
    world.served_since(first, 30)
    named, _ = world.force(first, approver="second.person", approver_signed_in=False)
    signed_in, _ = world.force(first, approver="second.person", approver_signed_in=True, request_id="req-2")
    owed = confirm.due_of(named)
    assert owed is not None
    assert confirm.due_of(signed_in) is None
    assert [one.decision_id for one in confirm.waiting(world.settings)] == [owed.decision_id]
    assert [a["method"] for a in signed_in.body["approvals"]] == ["force_request", "signed_in_approver"]


def test_a_day_without_an_answer_is_one_major_incident_that_pages(forced: tuple[World, Decision]) -> None:
    world, decision = forced
    assert confirm.open_incidents(world.settings, later(hours=23)) == []
    (text,) = confirm.open_incidents(world.settings, later(hours=25))
    assert confirm.open_incidents(world.settings, later(hours=49)) == []
    assert decision.challenger_version in text
    (incident,), (paged,) = world.rows("incident_opened"), world.rows("paged")
    assert (incident.payload["severity"], incident.payload["details"]["level"]) == ("major", "MAJOR")
    assert (paged.payload["object_id"], paged.payload["severity"]) == ("risk_owner", "critical")
    assert answered(world, decision, now=later(hours=26))["late"] is True
    assert world.rows("incident_closed") == []


def test_an_objection_is_an_incident_at_once(forced: tuple[World, Decision]) -> None:
    world, decision = forced
    answered(world, decision, answer="Object", statement="The breach was on another task")
    (incident,) = world.rows("incident_opened")
    assert "second.person objects" in incident.payload["reason"]
    assert confirm.open_incidents(world.settings, later(hours=25)) == []


@pytest.mark.parametrize("person", ["on.call", "On.Call ", " "])
def test_nobody_confirms_alone(forced: tuple[World, Decision], person: str) -> None:
    with pytest.raises(RequestRefused, match="a second person confirms"):
        answered(*forced, person=person)
    assert len(confirm.waiting(forced[0].settings)) == 1


def test_the_same_answer_again_is_found_and_another_is_refused(forced: tuple[World, Decision]) -> None:
    assert answered(*forced) == answered(*forced)
    with pytest.raises(RequestRefused, match="second.person has answered Confirm"):
        answered(*forced, person="third.person")
    with pytest.raises(RequestRefused, match="has answered"):
        answered(*forced, answer="Object")
    assert len(forced[0].rows("force_promote_confirmed")) == 1


def test_nothing_else_waits_for_a_second_person(world: World, tmp_path: Path) -> None:
    world.bootstrap(tmp_path)
    bootstrap = world.rows("promotion_decision")[0].payload["decision_id"]
    for decision_id in (bootstrap, "0" * 32):
        with pytest.raises(RequestRefused, match="waits for no second person"):
            confirm.confirm(world.settings, decision_id, "second.person")


def test_the_fourth_force_in_a_day_pages_and_is_not_blocked(world: World, tmp_path: Path) -> None:
    world.bootstrap(tmp_path)
    version = world.challenge(tmp_path)
    many = world.settings.promotion.force.many_per_day
    for number in range(many):
        world.force(version, approver="second.person", request_id=f"req-{number}")
    assert world.rows("paged") == []
    decision, _ = world.force(version, approver="second.person", request_id="one-more")
    (paged,) = world.rows("paged")
    assert paged.payload["reason"].startswith(f"{many + 1} force-promotes in 24 h")
    assert decision.changes_champion


def test_a_forced_version_that_was_taken_back_owes_nobody_anything(forced: tuple[World, Decision]) -> None:
    world, _ = forced
    assert "voided force_promote" in releases.reconcile(world.settings, now=later(minutes=16))[0]
    assert confirm.waiting(world.settings) == []
    assert confirm.open_incidents(world.settings, later(hours=25)) == []
