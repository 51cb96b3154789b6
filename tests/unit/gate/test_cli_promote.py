"""``pipeline promote``: the same functions, for whoever has a shell and no web page; its exit codes are a contract."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline_lib import cli, cli_person, cli_promote, settings
from pipeline_lib.errors import ActivationFailed, AppendFailed, LockBusy, RequestRefused, StoreError
from pipeline_lib.gate import confirm, force, pending
from pipeline_lib.publish.targets.local_target import LocalTarget
from pipeline_lib.registry import quarantine
from pipeline_lib.registry.smoke import complete_and_loadable
from pipeline_lib.serve import probe
from tests.unit.gate.promotion_world import World, later

ME, WHY = "on.call", "Disparate impact breach on lending"
Call = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def typed(world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Type a command as user ``on.call``; what it exits with and the JSON it prints."""
    monkeypatch.setattr(probe, "answers", complete_and_loadable)  # the packages of this world hold no real models
    monkeypatch.setattr(settings, "load", lambda: world.settings)
    monkeypatch.setattr(cli_person, "person", lambda: ME)

    def call(*words: str) -> tuple[int, dict[str, Any]]:
        code = cli.main(["promote", *words, "--json"])
        return code, json.loads(capsys.readouterr().out)

    return call


def asks(version: str, **changed: str) -> list[str]:
    given = {"version": version, "operator": ME, "reason": WHY, **changed}
    return [word for name, value in given.items() for word in (f"--{name}", value)]


def test_back_to_the_version_before_is_one_command_and_serves(world: World, typed: Call, tmp_path: Path) -> None:
    first = world.bootstrap(tmp_path)
    world.promote(tmp_path)
    world.served_since(first, 30)
    code, shown = typed("rollback", "--operator", ME, "--reason", WHY, "--request-id", "rb-1")
    assert (code, shown["serving"], shown["outcome"]) == (0, first, "ROLLBACK")
    assert shown["confirm_until"]
    assert world.target.serving() == first
    again, repeated = typed("rollback", "--operator", ME, "--reason", WHY, "--request-id", "rb-1")
    assert (again, repeated["decision"], repeated["generation"]) == (0, shown["decision"], shown["generation"])


def test_a_refusal_is_exit_2_and_says_why(world: World, typed: Call, tmp_path: Path) -> None:
    world.bootstrap(tmp_path)
    version = world.challenge(tmp_path)
    wrong = {
        "no version named": asks("v20200101-00000000"),
        "is not the authenticated 'on.call'": asks(version, operator="somebody.else"),
        "say what happened": asks(version, reason="test test test"),
        "it was never champion: a second person": asks(version),
    }
    for why, words in wrong.items():
        code, shown = typed("force", *words)
        assert (code, shown["error"], shown["exit"]) == (2, "RequestRefused", 2)
        assert why in shown["message"]
    assert len(world.rows("force_promote_refused")) == len(wrong)
    assert world.seen.generation == 1


def test_the_version_that_serves_is_no_change_and_exit_0(world: World, typed: Call, tmp_path: Path) -> None:
    code, shown = typed("force", *asks(world.bootstrap(tmp_path)))
    assert (code, shown["outcome"], shown["generation"]) == (0, "ALREADY_CHAMPION", 1)


def test_a_version_that_does_not_answer_after_the_shift_is_taken_back_with_exit_4(
    world: World, typed: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version, check = world.bootstrap(tmp_path), LocalTarget.check
    second = world.promote(tmp_path)
    world.served_since(version, 30)

    def silent(self: LocalTarget, asked: str) -> None:
        if asked == version:
            raise ActivationFailed(f"{version}: no answer")
        check(self, asked)

    monkeypatch.setattr(LocalTarget, "check", silent)
    code, shown = typed("force", *asks(version))
    assert (code, shown["error"]) == (4, "ActivationFailed")
    assert world.seen.version == world.target.serving() == second
    assert world.rows("promotion_decision")[-1].payload["decision"] == "force_promote"
    assert "failed" in [row.payload["phase"] for row in world.rows("manifest_swap")]


@pytest.mark.parametrize(("error", "code"), [(StoreError, 3), (AppendFailed, 3), (LockBusy, 5)])
def test_what_could_not_be_done_is_told_from_what_was_refused(
    world: World, typed: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[Exception], code: int
) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise error("the store is away")

    monkeypatch.setattr(force, "force_promote", fails)
    assert typed("force", *asks("v20200101-00000000"))[0] == code


def test_the_open_question_is_answered_without_naming_it(world: World, typed: Call, tmp_path: Path) -> None:
    world.bootstrap(tmp_path)
    code, shown = typed("approve", "--statement", "Comparison and fidelity reviewed")
    assert (code, shown["message"]) == (2, "no challenger waits for a sign-off")
    version, decision_id = world.await_approval(tmp_path)
    assert [one["decision_id"] for one in typed("status")[1]["questions"]] == [decision_id]
    assert typed("approve", "--statement", "ok")[0] == 2
    code, shown = typed("approve", "--statement", "Comparison and fidelity reviewed")
    assert (code, shown["serving"], shown["outcome"]) == (0, version, "APPROVED")
    assert world.rows("promotion_decision")[-1].payload["operator"] == ME


def test_a_decline_needs_no_reason_and_serves_nothing(world: World, typed: Call, tmp_path: Path) -> None:
    first = world.bootstrap(tmp_path)
    world.await_approval(tmp_path)
    code, shown = typed("reject")
    assert (code, shown["outcome"], world.seen.version) == (0, "DECLINED_BY_REVIEWER", first)


def test_a_second_person_confirms_and_the_first_may_not(
    world: World, typed: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = world.bootstrap(tmp_path)
    world.promote(tmp_path)
    world.served_since(first, 30)
    forced = typed("force", *asks(first))[1]["decision"]
    assert typed("confirm")[0] == 2
    monkeypatch.setattr(cli_person, "person", lambda: "second.person")
    assert [one["decision_id"] for one in typed("status")[1]["confirmations"]] == [forced]
    assert typed("confirm", "--statement", "Saw the reading")[1]["by"] == "second.person"
    assert confirm.waiting(world.settings) == []


def test_the_status_says_what_one_person_may_bring_back(world: World, typed: Call, tmp_path: Path) -> None:
    first = world.bootstrap(tmp_path)
    second = world.promote(tmp_path)
    world.served_since(first, 30)
    never = world.challenge(tmp_path)
    shown = typed("status")[1]
    assert (shown["champion"], shown["previous"]) == (second, first)
    why = {one["version"]: one["not_known_good"] for one in shown["versions"]}
    assert (why[first], why[never]) == (None, "it was never champion")
    text = cli_promote.text(shown)
    assert all(word in text for word in (first, never, "it serves", "no: it was never champion"))


def as_user(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(cli_person, "person", lambda: name)


def test_a_version_that_takes_two_waits_for_the_one_who_was_named_under_their_own_login(
    world: World, typed: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = world.bootstrap(tmp_path)
    version = world.challenge(tmp_path)
    words = ("force", *asks(version, approver="carol", ticket="INC-1"), "--request-id", "r-1")
    code, shown = typed(*words)
    assert (code, shown["waits_for"], shown["serving"]) == (6, "carol", None)
    assert typed(*words) == (code, shown)
    assert (world.target.serving(), world.rows("promotion_decision")[-1].payload["decision"]) == (first, "bootstrap")
    assert typed("confirm")[0] == 2
    as_user(monkeypatch, "dave")
    code, refused = typed("confirm")
    assert (code, refused["message"]) == (2, f"on.call asked carol to agree to {version}, found 'dave'")
    as_user(monkeypatch, "carol")
    assert [one["approver"] for one in typed("status")[1]["requests"]] == ["carol"]
    code, done = typed("confirm")
    assert (code, done["serving"], done["outcome"], done["by"]) == (0, version, "FORCED", "carol")
    (row,) = [row.payload for row in world.rows("promotion_decision") if row.payload["decision"] == "force_promote"]
    assert [(a["actor_ref"], a["method"]) for a in row["approvals"]] == [
        (ME, "force_request"),
        ("carol", "signed_in_approver"),
    ]
    assert (row["reason"], row["ticket"]) == (WHY, "INC-1")
    assert typed("confirm", "--decision", shown["decision"])[1]["generation"] == done["generation"]
    assert typed("status")[1]["requests"] == confirm.waiting(world.settings) == []


def test_a_quarantined_version_waits_for_its_second_person_too(
    world: World, typed: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.bootstrap(tmp_path)
    version = world.challenge(tmp_path)
    quarantine.quarantine(world.settings, version, "risk.officer", "Wrong on lending since June")
    code, shown = typed("force", *asks(version, approver="carol"), "--allow-quarantined")
    assert (code, shown["waits_for"], world.seen.generation) == (6, "carol", 1)
    as_user(monkeypatch, "carol")
    assert typed("confirm")[1]["serving"] == version


def test_a_request_ends_when_it_is_declined_and_by_itself(
    world: World, typed: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = world.bootstrap(tmp_path)
    version = world.challenge(tmp_path)
    late = typed("force", *asks(version, approver="carol"))[1]["decision"]
    with pytest.raises(RequestRefused, match="nobody agreed until"):
        pending.agree(world.settings, late, "carol", now=later(hours=1.1))
    as_user(monkeypatch, "carol")
    assert typed("confirm", "--object", "--statement", "Another task is at fault")[1]["outcome"] == "DECLINED"
    code, refused = typed("confirm", "--decision", late)
    assert (code, refused["message"]) == (2, f"{version}: declined by carol")
    (row,) = world.rows("force_promote_declined")
    assert (row.payload["actor_ref"], row.payload["reason"]) == ("carol", "Another task is at fault")
    assert (world.target.serving(), pending.waiting(world.settings)) == (first, [])


def test_who_was_named_confirms_afterwards_and_nobody_else(
    world: World, typed: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = world.bootstrap(tmp_path)
    world.promote(tmp_path)
    world.served_since(first, 30)
    code, shown = typed("force", *asks(first, approver="carol"))
    assert (code, shown["serving"]) == (0, first)
    as_user(monkeypatch, "dave")
    assert "named carol as second person" in typed("confirm")[1]["message"]
    as_user(monkeypatch, "Carol")
    assert typed("confirm")[1]["by"] == "Carol"
