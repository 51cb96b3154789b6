"""A verdict computed again from the record and the evidence: every number, code and word."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pipeline_lib import cli
from pipeline_lib.canonical import canonical_bytes
from pipeline_lib.errors import GateCannotJudge, RequestRefused
from pipeline_lib.gate import recompute as again
from pipeline_lib.gate.hooks import Opinion
from pipeline_lib.gate.recompute import recompute
from pipeline_lib.registry import rows
from tests.unit.gate.exact import Figures, present
from tests.unit.gate.promotion_world import BINARY, WEAK, Tweaks, World, hook
from tests.unit.gate.scenario import advise, pages

VERDICTS = 20


def test_twenty_random_verdicts_come_out_the_same(world: World, tmp_path: Path) -> None:
    """Source: promotion.md section 11. Of all kinds: tasks left out, classes changed, metrics that are none."""
    world.positives = {"will_acquire_lending": 0.01}
    random = np.random.default_rng(17)
    world.bootstrap(tmp_path)
    seen = {str(world.ctx.read("gate").facts["decision_id"]): "NO_CHAMPION"}
    for seed in range(VERDICTS):
        tweaks = Tweaks(
            strength=float(random.uniform(0.3, 1.6)),
            task_strength={str(random.choice(BINARY)): float(random.uniform(0.1, 2))},
            by_rules=("next_mcc",) if seed % 7 == 3 else (),
            nan_in="top_mcc_shift" if seed % 7 == 4 else None,
            kl={"churn_signal": 0.3} if seed % 7 == 5 else {},
            extra=("a_fourteenth",) if seed % 3 == 0 else (),
            seed=seed + 10,
        )
        world.challenge(tmp_path, tweaks)
        asked = [hook("compliance", Opinion("escalate" if seed % 5 == 0 else "pass", "LOOK", "said so"))]
        facts = world.judge("dry_run" if seed % 6 == 2 else "evaluate", hooks=asked)
        seen[str(facts["decision_id"])] = str(facts["reason_code"])
    for decision_id, code in seen.items():
        found = recompute(world.settings, decision_id)
        assert found.differences == (), code
        assert found.values > 20
    assert {"FIDELITY_FAILED", "METRIC_INVALID", "COVERAGE_REGRESSION", "PRIMARY_NOT_IMPROVED", "PASSED"} <= set(
        seen.values()
    )


@pytest.mark.parametrize("code", ["SECONDARY_DEGRADED", "SIGNIFICANT_HARM", "NOT_SIGNIFICANT", "COUNTERFACTUAL_VETO"])
def test_every_way_to_lose_a_competition_is_computed_again(world: World, tmp_path: Path, code: str) -> None:
    figures = {
        "SECONDARY_DEGRADED": Figures(auc=0.704, nmae=0.41),
        "SIGNIFICANT_HARM": Figures(auc=0.714, of={BINARY[0]: 0.6867}),
        "NOT_SIGNIFICANT": Figures(auc=0.721, shuffled=frozenset(BINARY)),
        "COUNTERFACTUAL_VETO": Figures(auc=0.704),
    }
    veto = world.settings.promotion.counterfactual.model_copy(update={"mode": "veto"})
    strict = world.with_policy(counterfactual=veto)
    strict.bootstrap(tmp_path)
    strict.challenge(tmp_path)
    present(strict, Figures(), figures[code])
    advise(strict, "counterfactual", verdict="WORSE", reason="interval below 0")
    facts = strict.judge()
    assert facts["reason_code"] == code
    assert recompute(strict.settings, str(facts["decision_id"])).differences == ()


def test_a_number_that_was_not_computed_from_the_evidence_is_found(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if somebody had recorded a friendlier value than the rows give."""
    world.bootstrap(tmp_path)
    world.challenge(tmp_path, Tweaks(strength=WEAK + 0.1))
    decision_id = str(world.judge()["decision_id"])
    recorded = again._recorded(world.settings, decision_id)
    body = json.loads(canonical_bytes(recorded[0].body))
    body["comparison"][3]["challenger"] = "0.999000000"
    body["significance"]["p"] = "0.001000000"
    forged = type(recorded[0])(**{**recorded[0].to_dict(), "body": body, "decision": "promote"})
    monkeypatch.setattr(again, "_recorded", lambda *_: (forged, recorded[1]))
    found = {at for at, _, _ in recompute(world.settings, decision_id).differences}
    assert {"comparison[3].challenger", "significance.p", "decision"} <= found


def test_a_champion_without_scores_is_computed_again_as_such(world: World, tmp_path: Path) -> None:
    world.bootstrap(tmp_path)
    world.next_week()
    world.package(Tweaks(), tmp_path)
    world.score(Tweaks(), None)
    with pages() as paged:
        facts = world.judge()
    assert (facts["decision"], facts["reason_code"], bool(paged)) == ("reject", "CHAMPION_UNSCORABLE", True)
    assert recompute(world.settings, str(facts["decision_id"])).differences == ()


def test_evidence_that_is_gone_cannot_be_computed_again(world: World, tmp_path: Path) -> None:
    world.bootstrap(tmp_path)
    world.challenge(tmp_path)
    facts = world.judge()
    digest = world.stored(str(facts["decision_id"])).decision.body["bundle_digest"]
    world.ctx.objects.delete(f"registry/evidence/{digest}/labels.parquet")
    with pytest.raises(GateCannotJudge, match="BUNDLE_STALE"):
        recompute(world.settings, str(facts["decision_id"]))


def test_what_a_person_decided_is_not_computed(world: World, tmp_path: Path) -> None:
    first = world.bootstrap(tmp_path)
    _, asked = world.await_approval(tmp_path)
    approved = world.approve(asked)
    with pytest.raises(RequestRefused, match=f"made by risk.officer .approval.; it rests on {asked}"):
        recompute(world.settings, approved.decision_id)
    world.served_since(first, 30)
    forced, _ = world.force(world.challenge(tmp_path), approver="second.person")
    with pytest.raises(RequestRefused, match="made by on.call"):
        recompute(world.settings, forced.decision_id)
    with pytest.raises(RequestRefused, match="the record has no verdict 0000"):
        recompute(world.settings, "0000")


def test_the_command_prints_what_differs(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    world.bootstrap(tmp_path)
    decision_id = str(world.rows(rows.VERDICT)[0].payload["decision_id"])
    monkeypatch.setattr(cli.settings, "load", lambda: world.settings)
    assert cli.main(["verdict", "recompute", decision_id]) == 0
    assert "bootstrap NO_CHAMPION" in capsys.readouterr().out
    monkeypatch.setattr(again, "_equal", lambda old, new: old != "bootstrap")
    assert cli.main(["verdict", "recompute", decision_id]) == 1
    assert "decision" in capsys.readouterr().out
