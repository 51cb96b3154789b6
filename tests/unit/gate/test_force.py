"""Forcing: who may alone, what comes of it, and what is kept of what was typed."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline_lib.errors import RequestRefused
from pipeline_lib.gate import force, signoff
from pipeline_lib.publish import release as releases
from pipeline_lib.publish.targets.local_target import LocalTarget
from pipeline_lib.registry import states
from tests.unit.gate.promotion_world import World, later


class Dies(LocalTarget):
    def shift(self, version: str | None) -> None:
        raise OSError("the machine went away")


def test_forcing_the_version_a_crash_left_pointed_at_finishes_it(world: World, tmp_path: Path) -> None:
    world.bootstrap(tmp_path)
    version = world.challenge(tmp_path)
    made = world.force(version, approver="second.person")
    with pytest.raises(OSError, match="went away"):
        releases.release(world.settings, *made, target=Dies(world.target.folder))
    assert (world.seen.version, world.state(version)) == (version, "registered")
    again = world.force(version, request_id="req-2")
    assert again == made
    assert force.outcome(again[0], "req-2") == "ALREADY_CHAMPION"
    assert force.outcome(again[0], "req-1") == "FORCED"
    releases.release(world.settings, *again)
    assert (world.target.serving(), world.state(version)) == (version, "champion")


def test_the_second_reign_a_crash_left_is_finished_under_its_own_decision(world: World, tmp_path: Path) -> None:
    first = world.bootstrap(tmp_path)
    world.promote(tmp_path)
    made = world.force(first)
    with pytest.raises(OSError, match="went away"):
        releases.release(world.settings, *made, target=Dies(world.target.folder))
    assert world.force(first, request_id="req-2") == made


def test_once_champion_needs_one_person_however_short_its_reign(world: World, tmp_path: Path) -> None:
    first = world.bootstrap(tmp_path)
    world.promote(tmp_path)
    assert not force.needs_second_person(world.settings, first)
    assert force.known_good(world.ctx.objects, world.keys, world.settings.promotion.force, later()) == []
    decision, _ = world.force(first)
    assert decision.decision == "force_promote"
    assert decision.body["approvals"][-1]["method"] == "second_person_due"


def test_a_version_that_never_served_or_is_quarantined_needs_two(world: World, tmp_path: Path) -> None:
    first = world.bootstrap(tmp_path)
    world.promote(tmp_path)
    assert force.needs_second_person(world.settings, world.challenge(tmp_path))
    states.quarantine(world.ctx.objects, first, "risk.officer", "wrong on lending", later())
    assert force.needs_second_person(world.settings, first)
    with pytest.raises(RequestRefused, match="no version named v20200101-00000000"):
        force.needs_second_person(world.settings, "v20200101-00000000")


def test_no_customer_reaches_the_record_with_a_reason_a_ticket_or_a_statement(world: World, tmp_path: Path) -> None:
    first = world.bootstrap(tmp_path)
    version, decision_id = world.await_approval(tmp_path)
    statement = "Reviewed with min-ji@bank.co.kr about customer 12345678"
    approved = signoff.conclude(world.settings, decision_id, "Approve", "risk.officer", statement)
    assert approved.reason == "APPROVED: Reviewed with [removed] about customer [removed]"
    releases.publish(world.ctx)
    assert world.seen.version == version
    forced, _ = world.force(first, reason="Wrong offer to 12345678, see 010-1234-5678", ticket="mail of 12345678")
    assert forced.reason == "Wrong offer to [removed], see [removed]"
    assert forced.body["ticket"] == "mail of [removed]"
    assert not any("12345678" in str(row.payload) for row in world.rows("promotion_decision"))
