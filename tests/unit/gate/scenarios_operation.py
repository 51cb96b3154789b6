"""Rows 42 to 52 and 54 of the scenario table: races, crashes, vetoes, old evidence."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from pipeline_lib import settings
from pipeline_lib.errors import ActivationFailed, AppendFailed, PipelineError, SettingsError
from pipeline_lib.gate.hooks import Opinion
from pipeline_lib.publish import release as releases
from pipeline_lib.publish.targets.local_target import LocalTarget
from pipeline_lib.registry import decisions, pointer
from pipeline_lib.settings import Place
from tests.unit.gate.promotion_world import Tweaks, World, hook, later
from tests.unit.gate.scenario import advise, error, found, judged, scenario, verdicts


@scenario(
    42, "Two evaluate runs together", "one verdict", "the other replays it or finds the gate busy; a rerun replays it"
)
def evaluated_twice(world: World, tmp: Path) -> tuple[str, str]:
    world.bootstrap(tmp)
    world.challenge(tmp)
    before, together = verdicts(world), threading.Barrier(2)

    def run() -> object:
        together.wait()
        try:
            return dict(world.judge())
        except PipelineError as busy:  # somebody else is judging
            return busy

    with ThreadPoolExecutor(2) as pool:
        outcomes = [future.result() for future in [pool.submit(run), pool.submit(run)]]
    answers = [outcome for outcome in outcomes if isinstance(outcome, dict)]
    assert answers
    assert all(answer == answers[0] for answer in answers), outcomes
    world.ctx.objects.delete(f"runs/synthetic/{world.monday}/gate/manifest.json")
    assert dict(world.judge()) == answers[0]
    entries = verdicts(world) - before
    return (
        "one verdict" if entries == 1 else f"{entries} verdicts",
        "the other replays it or finds the gate busy; a rerun replays it",
    )


@scenario(43, "Evaluate is running, a force lands first", "error", "`CHAMPION_CHANGED`; no verdict, force wins")
def force_lands_while_judging(world: World, tmp: Path) -> tuple[str, str]:
    patient = world.with_policy(hook_timeout_s=300.0)
    first = patient.bootstrap(tmp)
    patient.promote(tmp)
    patient.served_since(first, 30)
    patient.challenge(tmp, Tweaks(strength=4.0), Tweaks())
    before = verdicts(patient)

    class Landing:
        name = "slow"

        def ask(self, version: str) -> Opinion:
            releases.release(patient.settings, *patient.force(first))
            return Opinion("pass", "OK", "no objection")

    code = error(lambda: patient.judge(hooks=[Landing()]))
    added = verdicts(patient) - before  # the one added is the forced one
    wins = "force wins" if patient.seen.version == first else "force lost"
    return "error", f"`{code}`; {'no verdict' if added == 1 else 'a verdict'}, {wins}"


@scenario(44, "Crash between entry and swap", "bootstrap", "completed by the reconciler; one entry")
def crash_between_entry_and_swap(world: World, tmp: Path) -> tuple[str, str]:
    version = str(world.package(Tweaks(), tmp).facts["version"])
    world.score(Tweaks(), None)
    decision = judged(world)
    repaired = releases.reconcile(world.settings)
    assert world.seen.version == version == world.target.serving()
    done = any(text.startswith("completed") for text in repaired)
    entries = "one entry" if verdicts(world) == 1 else f"{verdicts(world)} entries"
    return decision.decision, f"{'completed' if done else 'left'} by the reconciler; {entries}"


@scenario(45, "The audit row is not durable", "error", "no decision, no swap")
def record_is_not_writable(world: World, tmp: Path) -> tuple[str, str]:
    world.package(Tweaks(), tmp)
    world.score(Tweaks(), None)
    broken = tmp / "a-file"
    broken.write_text("the audit store is not a folder")
    place = world.settings.place.model_copy(update={"audit": f"file://{broken}"})
    elsewhere = World(world.settings.model_copy(update={"place": place}), world.monday)
    with pytest.raises(AppendFailed):
        elsewhere.judge()
    undecided = not decisions.listed(world.ctx.objects)
    return "error", f"{'no decision' if undecided else 'decided'}, {'no swap' if not world.seen.tag else 'swap'}"


@scenario(46, "Compliance hook times out, or fails", "await_signoff", "`COMPLIANCE_UNAVAILABLE`")
def hook_times_out(world: World, tmp: Path) -> tuple[str, str]:
    hasty, never = world.with_policy(hook_timeout_s=0.01), threading.Event()
    hasty.bootstrap(tmp)

    class Silent:
        name = "compliance"

        def ask(self, version: str) -> Opinion:
            never.wait()
            raise AssertionError("nobody waits for this")

    outcomes = set()
    for asked in (Silent(), hook("compliance", ConnectionError("no route")), hook("compliance", KeyError("fria"))):
        hasty.challenge(tmp)
        outcomes.add(found(judged(hasty, hooks=[asked])))
    (only,) = outcomes
    return only


@scenario(47, "Compliance verdict unacceptable", "reject", "`COMPLIANCE_REJECTED`, over any escalation")
def hook_rejects(world: World, tmp: Path) -> tuple[str, str]:
    world.bootstrap(tmp)
    world.challenge(tmp)
    asked = [
        hook("risk", Opinion("escalate", "RISK_HIGH", "look")),
        hook("compliance", Opinion("reject", "COMPLIANCE_REJECTED", "unacceptable", {"assessment": "a1"})),
    ]
    decision = judged(world, hooks=asked)
    assert decision.body["hooks"][1]["inputs"] == {"assessment": "a1"}
    verdict, code = found(decision)
    return verdict, f"{code}, over any escalation"


@scenario(
    48,
    "Counterfactual WORSE, mode advisory / veto / off",
    "await_signoff / reject / await_signoff",
    "`PASSED` / `COUNTERFACTUAL_VETO` / `PASSED`",
)
def counterfactual_is_worse(world: World, tmp: Path) -> tuple[str, str]:
    world.bootstrap(tmp)
    outcomes = []
    for mode in ("advisory", "veto", "off"):
        policy = world.settings.promotion.counterfactual.model_copy(update={"mode": mode})
        world.challenge(tmp)
        advise(world, "counterfactual", verdict="WORSE", reason="lift -0.02, interval below 0")
        decision = judged(world.with_policy(counterfactual=policy))
        assert decision.body["counterfactual"]["verdict"] == ("NOT_ASKED" if mode == "off" else "WORSE")
        outcomes.append(found(decision))
    return " / ".join(verdict for verdict, _ in outcomes), " / ".join(code for _, code in outcomes)


@scenario(49, "No propensities logged, any mode", "await_signoff", "`PASSED`; counterfactual `UNAVAILABLE`")
def no_propensities(world: World, tmp: Path) -> tuple[str, str]:
    world.bootstrap(tmp)
    outcomes = set()
    for mode in ("advisory", "veto"):
        policy = world.settings.promotion.counterfactual.model_copy(update={"mode": mode})
        world.challenge(tmp)
        advise(world, "counterfactual", verdict="UNAVAILABLE", reason="no propensities are logged")
        decision = judged(world.with_policy(counterfactual=policy))
        verdict, code = found(decision)
        outcomes.add((verdict, f"{code}; counterfactual `{decision.body['counterfactual']['verdict']}`"))
    (only,) = outcomes
    return only


@scenario(50, "Backfill of six past Mondays", "dry run x6", "no decision, pointer untouched")
def backfill_of_six_mondays(world: World, tmp: Path) -> tuple[str, str]:
    world.bootstrap(tmp)
    before, made = world.ctx.objects.get(pointer.KEY), len(decisions.listed(world.ctx.objects))
    for _ in range(6):
        world.challenge(tmp)
        assert world.judge("dry_run")["decision"] == "await_signoff"
        releases.publish(world.ctx)
    decided = len(decisions.listed(world.ctx.objects)) - made
    untouched = world.ctx.objects.get(pointer.KEY) == before
    return (
        f"dry run x{len(world.rows('gate_dry_run'))}",
        f"{'no decision' if not decided else decided}, pointer {'untouched' if untouched else 'moved'}",
    )


@scenario(51, "Bundle 9 days old, or built against another champion", "error", "`BUNDLE_STALE`")
def bundle_is_old_or_of_another_champion(world: World, tmp: Path) -> tuple[str, str]:
    first = world.bootstrap(tmp)
    world.promote(tmp)
    world.served_since(first, 30)
    world.challenge(tmp, Tweaks(strength=4.0), Tweaks())
    old = error(lambda: world.judge(now=later(days=9)))
    releases.release(world.settings, *world.force(first))
    assert error(world.judge) == old
    return "error", f"`{old}`"


@scenario(52, "Health probe fails after the alias shift", "reverted", "`manifest_swap` failed, former version serves")
def new_version_does_not_answer(world: World, tmp: Path) -> tuple[str, str]:
    first = world.bootstrap(tmp)
    _, decision_id = world.await_approval(tmp)
    world.approve(decision_id)

    class Silent(LocalTarget):
        def check(self, version: str) -> None:
            raise ActivationFailed(f"{version}: no answer")

    with pytest.raises(ActivationFailed):
        releases.publish(world.ctx, target=Silent(world.target.folder))
    phases = [row.payload["phase"] for row in world.rows("manifest_swap")]
    serves = world.seen.version == first == world.target.serving()
    return (
        "reverted" if world.seen.generation == 3 else "left",
        f"`manifest_swap` {'failed' if 'failed' in phases else phases}, "
        f"{'former version serves' if serves else 'another version serves'}",
    )


@scenario(54, "Prod config sets `auto_promote: true`", "startup failure", "configuration refused")
def automatic_promotion_in_production(world: World, tmp: Path) -> tuple[str, str]:
    layer = tmp / "layer.yaml"
    layer.write_text(yaml.safe_dump({"promotion": {"auto_promote": True}}))
    assert settings.load("synthetic", Place(env="staging", overrides=layer)).promotion.auto_promote
    with pytest.raises(SettingsError, match="auto_promote must be false in prod"):
        settings.load("synthetic", Place(env="prod", overrides=layer))
    return "startup failure", "configuration refused"
