"""Who may answer, how often, and what an answer leaves behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline_lib.errors import RequestRefused
from pipeline_lib.gate import question as questions
from pipeline_lib.gate import signoff
from pipeline_lib.publish import release as releases
from pipeline_lib.registry import decisions
from tests.unit.gate.promotion_world import WEAK, Tweaks, World, later


@pytest.fixture
def waiting(world: World, tmp_path: Path) -> tuple[World, str, str]:
    world.bootstrap(tmp_path)
    return (world, *world.await_approval(tmp_path))


def test_a_decline_is_a_verdict_of_its_own(waiting: tuple[World, str, str]) -> None:
    world, version, decision_id = waiting
    decision = signoff.conclude(
        world.settings, decision_id, "Reject", "risk.officer", "The lending gain is not plausible"
    )
    assert (decision.decision, decision.reason_code, decision.operator) == (
        "reject",
        "DECLINED_BY_REVIEWER",
        "risk.officer",
    )
    assert world.state(version) == "rejected"
    assert len(world.rows("promotion_decision")) == 3
    assert releases.publish(world.ctx).facts["activated"] is False


def test_the_same_answer_twice_is_one_verdict_and_another_is_refused(waiting: tuple[World, str, str]) -> None:
    world, _, decision_id = waiting
    assert world.approve(decision_id) == world.approve(decision_id)
    assert len(world.rows("promotion_decision")) == 3
    with pytest.raises(RequestRefused, match="already answered by risk.officer"):
        signoff.conclude(world.settings, decision_id, "Reject", "somebody.else", "I disagree with this one")


@pytest.mark.parametrize(
    ("responder", "chosen", "statement", "said"),
    [
        (None, "Approve", "Comparison and fidelity reviewed", "identity"),
        ("risk.officer", "Approve", "ok", "statement"),
        ("risk.officer", "Maybe", "Comparison and fidelity reviewed", "Approve or Reject"),
    ],
    ids=["nobody", "no statement", "no answer"],
)
def test_an_answer_that_is_none_is_refused(
    waiting: tuple[World, str, str], responder: str | None, chosen: str, statement: str, said: str
) -> None:
    world, version, decision_id = waiting
    with pytest.raises(RequestRefused, match=said):
        signoff.conclude(world.settings, decision_id, chosen, responder, statement)
    assert world.state(version) == "pending_approval"
    assert len(world.rows("promotion_decision")) == 2


def test_a_version_changed_while_it_waited_is_not_approved(waiting: tuple[World, str, str]) -> None:
    world, version, decision_id = waiting
    path = world.ctx.objects.local_path(f"registry/versions/{version}/students/churn_signal/model.txt")
    path.write_bytes(b"tree\nother")
    with pytest.raises(RequestRefused, match="not the package that was judged"):
        world.approve(decision_id)


def test_an_expired_question_is_not_answered_afterwards(waiting: tuple[World, str, str]) -> None:
    world, version, decision_id = waiting
    signoff.conclude(world.settings, decision_id, "expired", None, "", later(hours=73))
    signoff.conclude(world.settings, decision_id, "expired", None, "", later(hours=73))
    with pytest.raises(RequestRefused, match="is expired"):
        world.approve(decision_id)
    with pytest.raises(RequestRefused, match="nobody answered until"):
        world.approve(decision_id)
    assert len(world.rows("approval_expired")) == 1
    assert releases.publish(world.ctx).facts["activated"] is False
    assert world.state(version) == "expired"


def test_after_expiry_a_rerun_asks_again_and_can_be_approved(waiting: tuple[World, str, str]) -> None:
    world, version, expired = waiting
    signoff.conclude(world.settings, expired, "expired", None, "", later(hours=73))
    fresh = world.judge()["decision_id"]
    assert fresh != expired
    signoff.open_approval(world.settings, fresh)
    signoff.conclude(world.settings, expired, "expired", None, "", later(hours=73))  # the old task runs once more
    assert world.state(version) == "pending_approval"
    with pytest.raises(RequestRefused, match="is expired"):
        world.approve(expired)
    world.approve(fresh)
    releases.publish(world.ctx)
    assert world.seen.version == version


def test_after_a_voided_approval_a_rerun_asks_again(waiting: tuple[World, str, str]) -> None:
    world, version, first = waiting
    world.approve(first)
    assert "voided promote" in releases.reconcile(world.settings, now=later(minutes=16))[0]
    assert world.state(version) == "expired"
    fresh = world.judge()["decision_id"]
    signoff.open_approval(world.settings, fresh)
    world.approve(fresh)
    releases.publish(world.ctx)
    assert (world.seen.version, world.state(version)) == (version, "champion")


def test_a_fresh_verdict_that_rejects_an_expired_version_shows(waiting: tuple[World, str, str]) -> None:
    world, version, expired = waiting
    signoff.conclude(world.settings, expired, "expired", None, "", later(hours=73))
    world.score(Tweaks(strength=0.3), Tweaks(strength=WEAK))
    assert world.judge()["decision"] == "reject"
    assert world.state(version) == "rejected"


def test_nobody_is_asked_about_a_rejection(world: World, tmp_path: Path) -> None:
    world.bootstrap(tmp_path)
    decision_id = world.rows("promotion_decision")[0].payload["decision_id"]
    with pytest.raises(RequestRefused, match="nobody is asked"):
        signoff.open_approval(world.settings, decision_id)
    with pytest.raises(RequestRefused, match="nobody was asked"):
        world.approve(decision_id)


def test_an_answer_just_in_time_counts(waiting: tuple[World, str, str]) -> None:
    world, _, decision_id = waiting
    hours = world.settings.schedules.signoff_hours
    assert world.approve(decision_id, now=later(hours=hours - 0.1)).decision == "promote"


def test_nothing_is_approved_while_serving_is_stopped_for_everybody(waiting: tuple[World, str, str]) -> None:
    world, version, decision_id = waiting
    world.switch("global")
    with pytest.raises(RequestRefused, match="kill switch ks-global is on"):
        world.approve(decision_id)
    assert world.state(version) == "pending_approval"
    world.switch("global", on=False)
    world.switch("task")
    assert world.approve(decision_id).decision == "promote"


def test_switches_that_cannot_be_read_count_as_on(waiting: tuple[World, str, str]) -> None:
    world, _, decision_id = waiting
    world.ctx.objects.local_path("serving/synthetic/state.sqlite").unlink()
    with pytest.raises(RequestRefused, match="kill switches cannot be read"):
        world.approve(decision_id)
    assert signoff.conclude(world.settings, decision_id, "Reject", "risk.officer", "").decision == "reject"


def test_who_answered_when_and_why_is_in_the_entry(waiting: tuple[World, str, str]) -> None:
    world, _, decision_id = waiting
    moment = later(hours=3)
    world.approve(decision_id, now=moment)
    row = world.rows("promotion_decision")[-1].payload
    answer = {"actor_ref": "risk.officer", "method": f"approval-{decision_id}", "at": moment.isoformat()}
    assert row["approvals"][-1] == answer
    assert (row["operator"], row["trigger"], row["basis_decision_id"]) == ("risk.officer", "manual", decision_id)
    assert row["reason"] == "APPROVED: Comparison and fidelity reviewed"


def test_the_question_says_until_when_how_and_who_may_not(world: World, tmp_path: Path) -> None:
    world.bootstrap(tmp_path)
    _, decision_id = world.await_approval(tmp_path, started_by="data.engineer")
    text = signoff.open_approval(world.settings, decision_id)
    assert "in Seoul**; no answer is a rejection." in text
    assert "10 characters or more. data.engineer started this run and may not approve it." in text
    (question,) = questions.open_ones(world.settings)
    assert question["decision_id"] == decision_id
    with pytest.raises(RequestRefused, match="four eyes: data.engineer"):
        world.approve(decision_id, responder="data.engineer")


def test_a_question_the_champion_overtook_is_over_and_a_rerun_judges_afresh(world: World, tmp_path: Path) -> None:
    first = world.bootstrap(tmp_path)
    world.promote(tmp_path)
    version = world.challenge(tmp_path, Tweaks(strength=4.0), Tweaks())
    overtaken = str(world.judge()["decision_id"])
    signoff.open_approval(world.settings, overtaken)
    releases.release(world.settings, *world.force(first, approver="second.person"))
    with pytest.raises(RequestRefused, match="superseded"):
        world.approve(overtaken)
    assert (decisions.closed(world.ctx.objects, overtaken) or {})["outcome"] == "superseded"
    world.score(Tweaks(strength=4.0), Tweaks(strength=WEAK))
    assert world.judge()["decision_id"] != overtaken
    assert world.state(version) == "superseded"


@pytest.mark.parametrize("name", ["Data.Engineer", " data.engineer "])
def test_capitals_and_spaces_make_no_second_person(world: World, tmp_path: Path, name: str) -> None:
    world.bootstrap(tmp_path)
    _, decision_id = world.await_approval(tmp_path, started_by="data.engineer")
    with pytest.raises(RequestRefused, match="four eyes"):
        world.approve(decision_id, responder=name)


def test_nobody_ends_a_question_before_its_time(waiting: tuple[World, str, str]) -> None:
    world, version, decision_id = waiting
    with pytest.raises(RequestRefused, match="is open until"):
        signoff.conclude(world.settings, decision_id, "expired", None, "", later(hours=71))
    assert (world.state(version), world.rows("approval_expired")) == ("pending_approval", [])
    assert world.approve(decision_id).decision == "promote"


@pytest.mark.parametrize(("chosen", "by"), [("Reject", "second.reviewer"), ("Approve", "second.reviewer")])
def test_of_two_answers_at_once_the_second_is_told_who_was_first(
    waiting: tuple[World, str, str], monkeypatch: pytest.MonkeyPatch, chosen: str, by: str
) -> None:
    """Between the look whether somebody answered and the row, somebody does."""
    world, _, decision_id = waiting
    look, worded = decisions.find, signoff._verdict

    def overtaken(*given: object) -> object:
        monkeypatch.setattr(signoff, "_verdict", worded)
        mine = worded(*given)  # type: ignore[arg-type]
        world.approve(decision_id)
        return mine

    monkeypatch.setattr(signoff, "_verdict", overtaken)
    with pytest.raises(RequestRefused, match="already answered by risk.officer: APPROVED"):
        signoff.conclude(world.settings, decision_id, chosen, by, "Holdings look wrong to me")
    stored = look(world.ctx.objects, decisions.signoff_id(decision_id))
    assert stored is not None
    assert (stored.decision.decision, stored.decision.operator) == ("promote", "risk.officer")
