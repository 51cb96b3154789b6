"""Forcing: who may alone, what comes of it, and what is kept of what was typed."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from pipeline_lib.errors import RequestRefused
from pipeline_lib.gate import force, signoff
from pipeline_lib.gate import known_good as good
from pipeline_lib.gate.request import Request
from pipeline_lib.publish import release as releases
from pipeline_lib.publish.targets.local_target import LocalTarget
from pipeline_lib.registry import persons, states
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
    made = world.force(first, approver="second.person")
    with pytest.raises(OSError, match="went away"):
        releases.release(world.settings, *made, target=Dies(world.target.folder))
    assert world.force(first, request_id="req-2") == made


def known_good(world: World, first: str, now: datetime) -> str | None:
    return None


def short_reign(world: World, first: str, now: datetime) -> str:
    world.served_since(first, -30)
    return "served for .* h at most, known-good is 24 h"


def long_ago(world: World, first: str, now: datetime) -> str:
    world.retired_since(first, 91 * 24)
    return "last served before"


def quarantined(world: World, first: str, now: datetime) -> str:
    states.quarantine(world.ctx.objects, first, "risk.officer", "wrong on lending", now)
    return "it is quarantined"


def damaged(world: World, first: str, now: datetime) -> str:
    path = world.ctx.objects.local_path(f"registry/versions/{first}/students/churn_signal/model.txt")
    path.write_bytes(b"tree\nother")
    return "does not verify: ManifestMismatch"


@pytest.mark.parametrize("spoil", [known_good, short_reign, long_ago, quarantined, damaged])
def test_one_person_alone_brings_back_what_is_known_good_and_nothing_else(
    world: World, tmp_path: Path, spoil: Callable[[World, str, datetime], str | None]
) -> None:
    first = world.bootstrap(tmp_path)
    world.promote(tmp_path)
    world.served_since(first, 30)
    why = spoil(world, first, later())
    found = force.needs_second_person(world.settings, first)
    assert found is None if why is None else re.search(why, str(found))
    assert (first in known_good_versions(world)) is (why is None)


def known_good_versions(world: World) -> list[str]:
    return good.known_good(world.settings, later())


def test_a_version_that_never_served_needs_two_and_an_unknown_one_is_refused(world: World, tmp_path: Path) -> None:
    world.bootstrap(tmp_path)
    assert force.needs_second_person(world.settings, world.challenge(tmp_path)) == "it was never champion"
    with pytest.raises(RequestRefused, match="no version named v20200101-00000000"):
        force.needs_second_person(world.settings, "v20200101-00000000")


def test_the_entry_names_the_last_verdict_on_the_version_and_not_on_the_one_after_it(
    world: World, tmp_path: Path
) -> None:
    """A retired version's document names the decision that retired it."""
    first = world.bootstrap(tmp_path)
    world.promote(tmp_path)
    (bootstrap, *_) = world.rows("promotion_decision")
    decision, _ = world.force(first, approver="second.person")
    assert decision.body["basis_decision_id"] == bootstrap.payload["decision_id"]
    noted = next(step for step in decision.body["gate_path"] if step["step"] == "last_verdict")
    assert (noted["code"], noted["value"]) == ("NO_CHAMPION", "bootstrap")
    assert decision.body["skipped_checks"] == ["fidelity", "competition", "hooks", "posture"]


@pytest.mark.parametrize(
    ("moment", "due"),
    [
        ("2026-11-23T03:00:00+09:00", "2026-11-27T18:00:00+09:00"),
        ("2026-11-27T17:59:00+09:00", "2026-11-27T18:00:00+09:00"),
        ("2026-11-27T09:00:00+00:00", "2026-12-04T18:00:00+09:00"),
        ("2026-11-28T00:00:00+09:00", "2026-12-04T18:00:00+09:00"),
    ],
    ids=["monday", "just before", "at 18:00", "saturday"],
)
def test_the_committee_reviews_on_the_next_friday_at_six_in_seoul(
    world: World, tmp_path: Path, moment: str, due: str
) -> None:
    world.bootstrap(tmp_path)
    version = world.challenge(tmp_path)
    decision, _ = world.force(version, approver="second.person", now=datetime.fromisoformat(moment))
    assert decision.body["review_due"] == due


def test_an_invalid_request_is_refused_and_recorded_before_anybody_is_asked(world: World, tmp_path: Path) -> None:
    world.bootstrap(tmp_path)
    version = world.challenge(tmp_path)
    good_request = Request.typed(version, "on.call", "DI breach on lending since 02:40", "req-1")
    assert force.examine(world.settings, good_request, "on.call") == "it was never champion"
    wrong = [
        (replace(good_request, version="v20200101-00000000"), "on.call", []),
        (replace(good_request, reason="test"), "on.call", []),
        (good_request, "somebody.else", []),
        (good_request, "on.call", ["versoin"]),
    ]
    for request, principal, unknown in wrong:
        with pytest.raises(RequestRefused):
            force.examine(world.settings, request, principal, unknown)
    with pytest.raises(RequestRefused, match="refused by second.person"):
        force.refuse(world.settings, good_request, "refused by second.person")
    assert len(world.rows("force_promote_refused")) == len(wrong) + 1


def test_nobody_is_asked_about_the_version_that_serves(world: World, tmp_path: Path) -> None:
    request = Request.typed(world.bootstrap(tmp_path), "on.call", "DI breach on lending since 02:40", "req-1")
    assert force.examine(world.settings, request) is None


def test_a_refused_rollback_is_recorded_and_a_repeated_one_is_the_same_request(world: World, tmp_path: Path) -> None:
    first = world.bootstrap(tmp_path)
    why = {"operator": "on.call", "reason": "Error spike after the release of today"}
    with pytest.raises(RequestRefused, match="nothing served before; known-good versions: none"):
        force.rollback(world.settings, **why, request_id="rb-0")
    assert len(world.rows("force_promote_refused")) == 1
    world.promote(tmp_path)
    world.served_since(first, 30)
    made = force.rollback(world.settings, **why, request_id="rb-1")
    releases.release(world.settings, *made)
    assert force.rollback(world.settings, **why, request_id="rb-1") == made
    with pytest.raises(RequestRefused, match="rb-1 was on.call's"):
        force.rollback(world.settings, **{**why, "operator": "another"}, request_id="rb-1")


def test_no_customer_reaches_the_record_with_a_reason_a_ticket_or_a_statement(world: World, tmp_path: Path) -> None:
    first = world.bootstrap(tmp_path)
    version, decision_id = world.await_approval(tmp_path)
    statement = "Reviewed with min-ji@bank.co.kr about customer 12345678"
    approved = signoff.conclude(world.settings, decision_id, "Approve", "risk.officer", statement)
    assert approved.reason == "APPROVED: Reviewed with [removed] about customer [removed]"
    releases.publish(world.ctx)
    assert world.seen.version == version
    forced, _ = world.force(
        first, approver="second.person", reason="Wrong offer to 12345678, see 010-1234-5678", ticket="mail of 12345678"
    )
    assert forced.reason == "Wrong offer to [removed], see [removed]"
    assert forced.body["ticket"] == "mail of [removed]"
    assert not any("12345678" in str(row.payload) for row in world.rows("promotion_decision"))


def test_a_refusal_names_who_was_signed_in_and_keeps_no_text_that_is_no_version(world: World, tmp_path: Path) -> None:
    world.bootstrap(tmp_path)
    with pytest.raises(RequestRefused, match="is not the authenticated 'bob'"):
        world.force("Kim Min-su 010-1234-5678", operator="alice", principal="bob")
    (row,) = world.rows("force_promote_refused")
    assert (row.payload["actor_ref"], row.payload["details"]["operator"]) == ("bob", "alice")
    assert row.payload["object_id"] == "malformed (24 characters)"
    assert not any(part in str(row.payload) for part in ("Min-su", "1234"))


def test_a_second_person_who_is_only_named_agrees_to_nothing(world: World, tmp_path: Path) -> None:
    world.bootstrap(tmp_path)
    version = world.challenge(tmp_path)
    with pytest.raises(RequestRefused, match="a second person is needed first, under their own login"):
        world.force(version, approver="x", approver_signed_in=False)
    states.quarantine(world.ctx.objects, version, "risk.officer", "wrong on lending", later())
    with pytest.raises(RequestRefused, match="second person is needed first"):
        world.force(version, approver="x", approver_signed_in=False, allow_quarantined=True)
    assert world.rows("promotion_decision")[-1].payload["decision"] == "bootstrap"


@pytest.mark.parametrize("reason", ["test test test", "aaaaaaaaaaaa", "short"])
def test_a_command_on_the_registry_asks_for_the_same_reason_as_a_force(world: World, reason: str) -> None:
    for asked in (persons.named, lambda _, why, policy: persons.require_reason(why, policy)):
        with pytest.raises(RequestRefused, match="reason"):
            asked("ops", reason, world.settings.promotion.force)
