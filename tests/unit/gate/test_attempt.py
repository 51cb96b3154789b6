"""Which runs are judged for real: replays, and everything that must not change the champion."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import pytest

from pipeline_lib import cli, cli_person, settings
from pipeline_lib.errors import GateCannotJudge, RequestRefused
from pipeline_lib.gate import signoff
from pipeline_lib.gate.hooks import Opinion
from pipeline_lib.publish import release as releases
from pipeline_lib.registry import decisions, pointer
from pipeline_lib.registry.smoke import complete_and_loadable
from pipeline_lib.serve import probe
from tests.unit.gate.promotion_world import Tweaks, World, hook

WEEK = timedelta(days=7)
STRONGER = Tweaks(strength=4.0, seed=3)


def late_run(world: World, tmp: Path, day: date) -> World:
    """A challenger that would pass, of a date before the newest."""
    world.monday = day - WEEK
    world.challenge(tmp, STRONGER, Tweaks())
    assert world.monday == day
    return world


def test_a_run_older_than_the_champion_is_a_dry_run(world: World, tmp_path: Path) -> None:
    world.bootstrap(tmp_path)
    world.promote(tmp_path)
    before, made = world.ctx.objects.get(pointer.KEY), len(decisions.listed(world.ctx.objects))
    facts = late_run(world, tmp_path, date(2026, 10, 26)).judge()
    assert (facts["mode"], facts["decision"]) == ("dry_run", "await_signoff")
    assert facts["why_dry_run"] == "an older run than one that was judged for real"
    assert releases.publish(world.ctx).facts["activated"] is False
    assert (world.ctx.objects.get(pointer.KEY), len(decisions.listed(world.ctx.objects))) == (before, made)
    assert "**Dry run**, without effect" in world.ctx.read("gate").path("comparison.md").read_text()


def test_a_run_older_than_a_rejected_one_is_a_dry_run(world: World, tmp_path: Path) -> None:
    """Otherwise a challenger could be tried again with last week's date."""
    world.bootstrap(tmp_path)
    world.next_week()
    world.challenge(tmp_path, Tweaks(strength=0.3))
    assert world.judge()["decision"] == "reject"
    world.monday -= WEEK
    assert late_run(world, tmp_path, world.monday).judge()["mode"] == "dry_run"


def test_the_date_of_a_forced_champion_counts_although_nobody_judged_it(world: World, tmp_path: Path) -> None:
    world.bootstrap(tmp_path)
    world.next_week()
    world.next_week()
    newest = world.challenge(tmp_path)
    releases.release(world.settings, *world.force(newest, approver="second.person"))
    assert late_run(world, tmp_path, world.monday - WEEK).judge()["mode"] == "dry_run"


def test_an_older_run_that_was_judged_replays_its_verdict(world: World, tmp_path: Path) -> None:
    world.bootstrap(tmp_path)
    world.challenge(tmp_path, Tweaks(strength=0.3))
    first, day = world.judge(), world.monday
    world.promote(tmp_path)
    world.monday = day
    before = world.ctx.read("gate").content_hash
    world.ctx.objects.delete(f"runs/synthetic/{day}/gate/manifest.json")
    assert world.judge() == first
    assert world.ctx.read("gate").content_hash == before
    assert first["mode"] == "evaluate"


def test_a_run_that_a_newer_one_overtook_has_no_verdict(world: World, tmp_path: Path) -> None:
    """Two runs at once: the older one began when nothing newer was there."""
    world.bootstrap(tmp_path)
    world.next_week()
    world.challenge(tmp_path, Tweaks(strength=0.3))
    newer, older = world.monday, world.monday - WEEK
    late_run(world, tmp_path, older)

    def overtake(version: str) -> Opinion:
        world.monday = newer
        world.judge()
        world.monday = older
        return Opinion("pass", "OK", "no objection")

    slow = hook("slow", None)
    object.__setattr__(slow, "ask", overtake)
    patient = world.with_policy(hook_timeout_s=300.0)
    with pytest.raises(GateCannotJudge, match="a newer run was judged"):
        patient.judge(hooks=[slow])
    assert world.judge()["mode"] == "dry_run"


@pytest.mark.parametrize(
    ("started_by", "promotable", "mode"),
    [
        (None, None, "evaluate"),
        ("data.engineer", None, "dry_run"),
        ("data.engineer", False, "dry_run"),
        (None, False, "dry_run"),
        ("data.engineer", True, "evaluate"),
    ],
    ids=["by the schedule", "by hand", "by hand, said no", "by nobody who is known", "by hand, called promotable"],
)
def test_a_run_started_by_hand_is_judged_for_real_only_when_it_was_called_promotable(
    world: World, tmp_path: Path, started_by: str | None, promotable: bool | None, mode: str
) -> None:
    world.bootstrap(tmp_path)
    world.challenge(tmp_path)
    facts = world.judge(started_by=started_by, promotable=promotable)
    assert facts["mode"] == mode
    assert (facts["why_dry_run"] is None) == (mode == "evaluate")
    if mode == "dry_run":  # it says so, and does not use up the real verdict
        assert world.judge(started_by=None, promotable=None)["mode"] == "evaluate"


def test_a_superseded_question_is_not_asked_again(world: World, tmp_path: Path) -> None:
    """The champion moved while the newest challenger waited: its rerun is judged afresh against the new one."""
    first = world.bootstrap(tmp_path)
    world.promote(tmp_path)
    world.served_since(first, 30)
    world.challenge(tmp_path, STRONGER, Tweaks())
    asked = str(world.judge()["decision_id"])
    signoff.open_approval(world.settings, asked)
    releases.release(world.settings, *world.force(first))
    with pytest.raises(Exception, match="superseded"):
        world.approve(asked)
    world.score(STRONGER, Tweaks(strength=0.6))
    again = world.judge()
    assert (again["mode"], again["decision"], again["decision_id"] == asked) == ("evaluate", "await_signoff", False)
    signoff.open_approval(world.settings, str(again["decision_id"]))
    world.approve(str(again["decision_id"]))
    releases.publish(world.ctx)
    assert world.seen.version == again["challenger_version"]


def typed(world: World, monkeypatch: pytest.MonkeyPatch, *options: str, by: str = "data.engineer") -> dict[str, object]:
    """``pipeline stage gate`` by somebody at a shell; the facts of the stage."""
    monkeypatch.setattr(probe, "answers", complete_and_loadable)  # the packages of this world hold no real models
    monkeypatch.setattr(settings, "load", lambda: world.settings)
    monkeypatch.setattr(cli_person, "person", lambda: by)
    assert cli.main(["stage", "gate", "--date", world.monday.isoformat(), *options]) == 0
    return dict(world.ctx.read("gate").facts)


def test_a_gate_asked_from_a_shell_is_a_dry_run(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    world.bootstrap(tmp_path)
    world.challenge(tmp_path)
    before = len(world.rows("promotion_decision"))
    facts = typed(world, monkeypatch)
    assert (facts["mode"], facts["decision"]) == ("dry_run", "await_signoff")
    assert "dry run: started by hand and not called promotable" in capsys.readouterr().out
    assert len(world.rows("promotion_decision")) == before


def test_who_has_it_judged_for_real_from_a_shell_may_not_approve(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.bootstrap(tmp_path)
    world.challenge(tmp_path)
    facts = typed(world, monkeypatch, "--promotable")
    assert (facts["mode"], facts["decision"]) == ("evaluate", "await_signoff")
    asked = str(facts["decision_id"])
    signoff.open_approval(world.settings, asked)
    with pytest.raises(RequestRefused, match="four eyes: data.engineer"):
        world.approve(asked, responder="data.engineer")
    assert world.approve(asked).decision == "promote"
