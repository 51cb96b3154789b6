"""The stage: one row per verdict, replays, and verdicts that can be computed again from the record."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from pipeline_lib.errors import GateCannotJudge, SettingsError
from pipeline_lib.gate import evidence, signoff
from pipeline_lib.gate.attempt import Mode
from pipeline_lib.publish import release as releases
from pipeline_lib.registry import rows, states
from tests.unit.gate.promotion_world import POLICY, WEAK, Tweaks, World, later


def test_every_verdict_is_one_row_that_says_the_same(world: World, tmp_path: Path) -> None:
    world.bootstrap(tmp_path)
    for strength in (0.3, 1.6):
        world.challenge(tmp_path, Tweaks(strength=strength))
        world.judge()
    found = [row.payload["decision"] for row in world.rows("promotion_decision")]
    assert sorted(found) == ["await_signoff", "bootstrap", "reject"]
    for row in world.rows("promotion_decision"):
        stored = world.stored(row.payload["decision_id"])
        assert rows.verdict_payload(stored.decision) == {k: v for k, v in row.payload.items() if k != "salt"}


def test_a_rerun_after_the_champion_moved_replays_the_verdict(world: World, tmp_path: Path) -> None:
    world.bootstrap(tmp_path)
    version, decision_id = world.await_approval(tmp_path)
    before = world.ctx.read("gate").content_hash
    world.approve(decision_id)
    releases.publish(world.ctx)
    assert world.seen.version == version
    world.ctx.objects.delete(f"runs/synthetic/{world.monday}/gate/manifest.json")
    world.judge(now=later(days=30))
    assert world.ctx.read("gate").content_hash == before


def test_a_dry_run_has_no_effect_and_replays(world: World, tmp_path: Path) -> None:
    world.package(Tweaks(), tmp_path)
    world.score(Tweaks(), None)
    first = world.judge("dry_run")
    assert first["decision"] == "bootstrap"
    assert releases.publish(world.ctx).facts["activated"] is False
    assert world.seen.tag is None
    world.ctx.objects.delete(f"runs/synthetic/{world.monday}/gate/manifest.json")
    assert world.judge("dry_run") == first
    assert len(world.rows("gate_dry_run")) == 1
    assert world.rows("gate_dry_run")[0].payload["details"]["gate_path"]


@pytest.mark.parametrize("modes", [("dry_run", "evaluate"), ("evaluate", "dry_run")])
def test_a_dry_run_and_a_real_run_of_one_date_are_two_verdicts(
    world: World, tmp_path: Path, modes: tuple[Mode, Mode]
) -> None:
    world.bootstrap(tmp_path)
    world.challenge(tmp_path)
    first, second = world.judge(modes[0]), world.judge(modes[1])
    assert (first["mode"], second["mode"]) == modes
    assert first["decision_id"] != second["decision_id"]
    assert world.judge(modes[0]) == first
    assert (len(world.rows("gate_dry_run")), len(world.rows("promotion_decision"))) == (1, 2)


def test_changed_evidence_is_not_evidence(world: World, tmp_path: Path) -> None:
    world.bootstrap(tmp_path)
    world.challenge(tmp_path)
    digest = world.stored(world.judge()["decision_id"]).decision.body["bundle_digest"]
    path = world.ctx.objects.local_path(f"registry/evidence/{digest}/challenger.parquet")
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(GateCannotJudge, match="BUNDLE_STALE"):
        evidence.reopen(world.ctx.objects, digest)


def test_scores_that_changed_after_scoring_are_refused(world: World, tmp_path: Path) -> None:
    world.bootstrap(tmp_path)
    world.challenge(tmp_path)
    path = world.ctx.read("score").path("challenger.parquet")
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(GateCannotJudge, match="BUNDLE_STALE"):
        world.judge()


def test_too_few_rows_or_tasks_are_an_error_and_no_verdict(world: World, tmp_path: Path) -> None:
    world.bootstrap(tmp_path)
    world.challenge(tmp_path)
    with pytest.raises(GateCannotJudge, match="min_gate_rows is 5000"):
        world.with_policy(min_gate_rows=5000).judge()
    with pytest.raises(GateCannotJudge, match="BUNDLE_TOO_SMALL"):
        world.with_policy(min_positives=400).judge()
    assert len(world.rows("promotion_decision")) == 1


def test_a_repeated_customer_is_refused(world: World, tmp_path: Path) -> None:
    world.bootstrap(tmp_path)
    world.challenge(tmp_path)
    scores = world.ctx.read("score")
    twice = pl.concat([pl.read_parquet(scores.path("challenger.parquet"))] * 2)

    def make(out: object) -> None:
        twice.write_parquet(out.path("challenger.parquet"))  # type: ignore[attr-defined]
        twice.write_parquet(out.path("champion.parquet"))  # type: ignore[attr-defined]
        out.facts |= dict(scores.facts)  # type: ignore[attr-defined]

    world.ctx.produce("score", make, [world.ctx.read("package")], {"twice": "yes"})
    with pytest.raises(GateCannotJudge, match="BUNDLE_INVALID"):
        world.judge()


def test_a_rejection_shows_on_the_version_and_its_rerun_may_pass(world: World, tmp_path: Path) -> None:
    world.bootstrap(tmp_path)
    version = world.challenge(tmp_path, Tweaks(strength=WEAK))
    world.judge()
    document = states.read(world.ctx.objects, version)
    assert (document["state"], document["history"][-1]["to"]) == ("rejected", "rejected")


def test_bootstrap_can_be_made_to_wait_for_a_human(world: World, tmp_path: Path) -> None:
    careful = world.with_policy(bootstrap_requires_signoff=True)
    version = str(careful.package(Tweaks(), tmp_path).facts["version"])
    careful.score(Tweaks(), None)
    facts = careful.judge()
    assert (facts["decision"], facts["reason_code"]) == ("await_signoff", "BOOTSTRAP_SIGNOFF")
    signoff.open_approval(careful.settings, facts["decision_id"])
    careful.approve(facts["decision_id"])
    releases.publish(careful.ctx)
    assert careful.seen.version == version


def test_the_form_shows_every_number_and_the_deadline(world: World, tmp_path: Path) -> None:
    world.bootstrap(tmp_path)
    _, decision_id = world.await_approval(tmp_path)
    text = signoff.open_approval(world.settings, decision_id)
    body = world.stored(decision_id).decision.body
    for row in body["comparison"]:
        shown = [f"{Decimal(row[name]):.6f}" for name in ("champion", "challenger", "delta")]
        assert f"| {row['metric']} | {' | '.join(shown)} | {Decimal(row['low']):.6f} to " in text
        assert f"| {row['why']} |" in text
    assert "Underpowered" in text
    assert "Answer until" in text
    assert len(world.rows("approval_opened")) == 1


def test_an_underpowered_policy_is_refused_in_production(world: World, tmp_path: Path) -> None:
    world.bootstrap(tmp_path)
    world.challenge(tmp_path)
    place = world.settings.place.model_copy(update={"env": "prod"})
    prod = World(world.settings.model_copy(update={"place": place}), world.monday)
    assert POLICY["promotion"]["min_gate_rows"] < prod.settings.promotion.powered_gate_rows
    with pytest.raises(SettingsError, match="min_gate_rows is 500 in prod"):
        prod.judge()


def test_judging_that_takes_too_long_is_an_error_and_no_verdict(world: World, tmp_path: Path) -> None:
    world.bootstrap(tmp_path)
    world.challenge(tmp_path)
    with pytest.raises(GateCannotJudge, match="TIMED_OUT"):
        world.with_policy(verdict_timeout_s=1e-9).judge()
    assert len(world.rows("promotion_decision")) == 1


def test_the_tests_of_a_year_are_counted(world: World, tmp_path: Path) -> None:
    """Neither a first version, nor one below the floor, nor a dry run, nor an answer makes the primary test."""
    world.bootstrap(tmp_path)
    _, asked = world.await_approval(tmp_path)
    world.approve(asked)
    world.challenge(tmp_path, Tweaks(kl={"churn_signal": 0.3}))
    assert world.judge()["reason_code"] == "FIDELITY_FAILED"
    world.challenge(tmp_path)
    world.judge("dry_run")
    assert count_of(world, asked) == 1
    world.challenge(tmp_path, Tweaks(strength=0.3))
    assert count_of(world, str(world.judge()["decision_id"])) == 2
    world.monday = date(2027, 1, 4)
    world.challenge(tmp_path)
    decision_id = str(world.judge()["decision_id"])
    assert count_of(world, decision_id) == 1
    assert "Primary test number 1 of this year" in world.ctx.read("gate").path("comparison.md").read_text()


def count_of(world: World, decision_id: str) -> int:
    return int(world.stored(decision_id).decision.body["significance"]["tests_this_year"])


def test_a_perfect_tie_is_no_gain_however_often_it_is_judged(world: World, tmp_path: Path) -> None:
    """The champion itself, packaged again: every difference is 0, every interval empty."""
    world.bootstrap(tmp_path)
    world.challenge(tmp_path, Tweaks(strength=WEAK), Tweaks(strength=WEAK))
    body = world.stored(world.judge()["decision_id"]).decision.body
    assert {(row["delta"], row["low"], row["high"], row["why"]) for row in body["comparison"][1:]} == {
        ("0.000000000", "0.000000000", "0.000000000", "equal")
    }
    assert body["significance"]["p"] == "1.000000000"
