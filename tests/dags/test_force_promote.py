"""The on-call DAG on a registry of small packages: who is asked, what is refused, what is owed afterwards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline_lib.gate import confirm, force
from pipeline_lib.publish import release as releases
from tests.unit.gate.promotion_world import MONDAY, World, later

pytestmark = [pytest.mark.e2e, pytest.mark.filterwarnings("default"), pytest.mark.timeout(300)]
OPERATOR = "dag_test"
"""Who Airflow says triggered a run in this process."""
REASON = "DI breach on lending since 02:40"


def asked(version: str, **changed: str) -> dict[str, str]:
    return {"version": version, "reason": REASON, "operator": OPERATOR, **changed}


def refusals(world: World) -> list[str]:
    return [str(row.payload["reason"]) for row in world.rows("force_promote_refused")]


def test_what_is_not_valid_is_red_recorded_and_wakes_nobody(bank: Any, world: World, tmp_path: Path) -> None:
    serving = world.bootstrap(tmp_path)
    broken = world.challenge(tmp_path)
    world.ctx.objects.local_path(f"registry/versions/{broken}/manifest.sig").write_bytes(b"nobody signed this")
    wrong = {
        "is not the authenticated 'dag_test'": asked(serving, operator="somebody.else"),
        "unknown keys in the request: versoin": asked(serving, versoin=broken),
        "cannot serve: its signature is not ours": asked(broken),
    }
    for why, conf in wrong.items():
        run = bank.run("force_promote", MONDAY, conf=conf)
        states = bank.states(run)
        assert (run.state, states["persons"], states["watcher"]) == ("failed", "failed", "failed"), why
        assert states["second_person"] == "upstream_failed"
        assert [text for text in refusals(world) if why in text]
    assert len(refusals(world)) == len(wrong)
    assert (world.seen.version, world.seen.generation) == (serving, 1)


def test_a_known_good_version_takes_one_person_and_a_second_within_a_day(
    bank: Any, world: World, tmp_path: Path
) -> None:
    first = world.bootstrap(tmp_path)
    world.promote(tmp_path)
    world.served_since(first, 30)
    run = bank.run("force_promote", MONDAY, conf=asked(first), answer=("Confirm", {"statement": "Saw the breach"}))
    assert run.state == "success"
    assert bank.states(run)["second_person"] == "skipped"
    assert (world.seen.version, world.target.serving()) == (first, first)
    (row,) = world.rows("force_promote_confirmed")
    assert (row.payload["actor_ref"], row.payload["reason"]) == ("risk", "Saw the breach")
    assert confirm.waiting(world.settings) == []


def test_an_objection_turns_the_run_red_and_opens_an_incident(bank: Any, world: World, tmp_path: Path) -> None:
    first = world.bootstrap(tmp_path)
    world.promote(tmp_path)
    world.served_since(first, 30)
    run = bank.run("force_promote", MONDAY, conf=asked(first), answer=("Object", {}))
    assert (run.state, bank.states(run)["force"]) == ("failed", "success")
    assert world.target.serving() == first
    assert len(world.rows("incident_opened")) == 1


def test_any_other_version_waits_for_a_second_person_and_then_owes_nothing(
    bank: Any, world: World, tmp_path: Path
) -> None:
    world.bootstrap(tmp_path)
    version = world.challenge(tmp_path)
    refused = bank.run("force_promote", MONDAY, conf=asked(version), answer=("Refuse", {}))
    assert (refused.state, world.seen.generation) == ("failed", 1)
    assert refusals(world) == [f"{version}: refused by risk"]
    run = bank.run("force_promote", world.monday, conf=asked(version), answer=("Confirm", {}))
    assert run.state == "success"
    assert (world.target.serving(), bank.states(run)["confirmation"]) == (version, "skipped")
    (row,) = [row.payload for row in world.rows("promotion_decision") if row.payload["decision"] == "force_promote"]
    assert [(a["actor_ref"], a["method"]) for a in row["approvals"]] == [
        (OPERATOR, "force_request"),
        ("risk", "signed_in_approver"),
    ]
    again = bank.run("force_promote", world.monday, conf=asked(version))
    assert again.state == "success"
    assert (world.seen.generation, bank.states(again)["confirmation"]) == (2, "skipped")


def test_the_night_finds_what_nobody_confirmed(
    bank: Any, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = world.bootstrap(tmp_path)
    world.promote(tmp_path)
    world.served_since(first, 30)
    releases.release(world.settings, *force.force_promote(
        world.settings, first, "on.call", REASON, request_id="cli-1", approver="named.only"))  # fmt: skip
    assert bank.states(bank.run("nightly_oversight", MONDAY))["chase_confirmations"] == "success"
    monkeypatch.setattr(confirm, "utc_now", lambda: later(hours=25))
    assert bank.states(bank.run("nightly_oversight", world.monday))["chase_confirmations"] == "failed"
    assert len(world.rows("incident_opened")) == 1
