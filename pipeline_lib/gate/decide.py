"""The stage ``gate``: one verdict on this run's challenger, in the record before the stage ends.

A run that was judged keeps its verdict: a rerun of the same date, package and settings replays it, even when the
champion has moved since, so that its manifest is the same. ``dry_run`` (backfills) judges in full, is recorded as
``gate_dry_run`` and has no effect. Being unable to judge is an error and leaves everything as it was.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Literal

from pipeline_lib.business_time import utc_now
from pipeline_lib.errors import GateCannotJudge, SettingsError
from pipeline_lib.gate import evidence, ladder
from pipeline_lib.gate.render import comparison_markdown
from pipeline_lib.gate.trial import Trial, verified
from pipeline_lib.keys import KeyFolder
from pipeline_lib.objects import Objects
from pipeline_lib.records import Decision
from pipeline_lib.registry import decisions, pointer, rows, states
from pipeline_lib.registry.decisions import Judged
from pipeline_lib.registry.smoke import Probe, complete_and_loadable
from pipeline_lib.runs import Out, RunContext, StageOutput
from pipeline_lib.settings import Settings

log = logging.getLogger(__name__)

Mode = Literal["evaluate", "dry_run"]
NO_COUNTERFACTUAL = {"verdict": "UNAVAILABLE", "reason": "no propensities are logged"}
PAGES = frozenset({"CHAMPION_UNLOADABLE", "CHAMPION_UNSCORABLE", "REGISTRY_CORRUPT"})
"""Codes that somebody must look at now."""


def decide(
    ctx: RunContext,
    mode: Mode = "evaluate",
    *,
    started_by: str | None = None,
    hooks: Sequence[ladder.Hook] = (),
    smoke: Probe = complete_and_loadable,
    now: datetime | None = None,
) -> StageOutput:
    """Judge the run's package against the champion.

    Args:
        started_by: who started the run by hand; that person may not approve it.
        hooks: vetoes of compliance, asked after the competition.
        smoke: raises when a verified package does not answer.
        now: the moment of judging.

    Raises:
        GateCannotJudge: evidence missing, stale or not comparable, or the registry is corrupt: no verdict.
        AuditError: the verdict's row is not durable: no verdict.
    """
    package, score, labels = ctx.read("package"), ctx.read("score"), ctx.read("labels")
    judged = _next_attempt(ctx, str(package.facts["manifest_sha256"]), mode)

    def make(out: Out) -> None:
        kept = decisions.recall(ctx.objects, judged)
        if kept is None:
            trial = _trial(ctx, str(package.facts["version"]), judged, score, labels, hooks, smoke, now or utc_now())
            kept = _conclude(ctx, trial, judged, started_by)
        _describe(out, mode, Decision(**kept["decision"]))

    sources = {"mode": mode} | ({"attempt": str(judged.attempt)} if judged.attempt else {})
    return ctx.produce("gate", make, [package, score, labels], sources)


def _next_attempt(ctx: RunContext, manifest_sha256: str, mode: Mode) -> Judged:
    """The identity of this run's verdict; one that expired, was voided or failed is followed by another attempt."""
    judged = Judged(
        dataset=ctx.dataset,
        logical_date=ctx.logical_date.isoformat(),
        manifest_sha256=manifest_sha256,
        mode=mode,
        config_hash=ctx.settings.config_hash,
    )
    while (kept := decisions.recall(ctx.objects, judged)) and decisions.over(
        ctx.objects, kept["decision"]["decision_id"]
    ):
        judged = replace(judged, attempt=judged.attempt + 1)
    return judged


def _trial(
    ctx: RunContext,
    version: str,
    judged: Judged,
    score: StageOutput,
    labels: StageOutput,
    hooks: Sequence[ladder.Hook],
    smoke: Probe,
    now: datetime,
) -> Trial:
    settings, objects, keys = ctx.settings, ctx.objects, KeyFolder(ctx.settings.place.keys)
    _require_production_size(settings)
    seen = pointer.read(objects, keys)
    evidence.require_fresh(score, seen.version, seen.generation, now, settings.promotion.bundle_max_age_days)
    package, why_not = verified(objects, keys, version, judged.manifest_sha256)
    return Trial(
        policy=settings.promotion,
        kinds={name: task.kind for name, task in settings.tasks.tasks.items()},
        objects=objects,
        keys=keys,
        version=version,
        package=package,
        why_not=why_not,
        state=states.read(objects, version)["state"],
        seen=seen,
        bundle=evidence.collect(score, labels, settings.tasks.names(), objects),
        hooks=hooks,
        smoke=smoke,
    )


def _conclude(ctx: RunContext, trial: Trial, judged: Judged, started_by: str | None) -> dict[str, Any]:
    """Climb the ladder, record the verdict, and remember it for reruns."""
    began = time.monotonic_ns()
    climb = ladder.climb(trial.questions())
    took_us = (time.monotonic_ns() - began) // 1000
    decision = _decision(trial, judged, climb, started_by, took_us, ctx.settings.config_hash)
    moved = pointer.read(ctx.objects, trial.keys)
    if moved.tag != trial.seen.tag:
        raise GateCannotJudge(
            "CHAMPION_CHANGED", f"{trial.seen.version} when judging began, {moved.version} now; score again"
        )
    if decision.reason_code in PAGES:
        log.critical("page on-call: %s", decision.reason)
    if judged.mode == "dry_run":
        return _keep_dry_run(ctx.settings, ctx.objects, judged, decision)
    stored = decisions.record(ctx.settings, ctx.objects, decision)
    _mark(ctx.objects, trial.state, stored)
    log.info("%s: %s", stored.decision.decision, stored.decision.reason)
    return decisions.remember(ctx.objects, judged, stored.to_dict())


def _decision(
    trial: Trial, judged: Judged, climb: ladder.Climb, started_by: str | None, took_us: int, config_hash: str
) -> Decision:
    champion, found = trial.seen.pointer, trial.found
    identity = [judged.manifest_sha256, trial.seen.generation, trial.bundle.digest, config_hash, judged.mode]
    manifest = trial.package.body if trial.package else {}
    body = rows.verdict_body(
        manifest_sha256=judged.manifest_sha256,
        run_id=f"{judged.dataset}/{judged.logical_date}",
        model_digest_challenger=judged.manifest_sha256,
        model_digest_champion=champion.manifest_sha256 if champion else None,
        approvals=[{"actor_ref": started_by, "method": "started_run", "at": None}] if started_by else [],
        gate_path=list(climb.path),
        bundle_digest=trial.bundle.digest,
        auto_promote=trial.policy.auto_promote,
        fidelity=_fidelity_rows(trial),
        training_snapshot_hash=manifest.get("data_snapshot_id"),
        drift=manifest.get("drift_summary"),
        counterfactual=NO_COUNTERFACTUAL,
        duration_us=took_us if judged.mode == "evaluate" else None,  # a dry run's row has the same bytes again
        **{column: found.get(column) for column in ("task_sets", "comparison", "significance", "hooks")},
    )
    return Decision(
        decision_id=decisions.decision_id(*identity, *([judged.attempt] if judged.attempt else [])),
        decision=climb.decision,
        reason_code=climb.answer.code,
        reason=f"{climb.answer.code}: {climb.answer.reason}",
        trigger="auto",
        operator=None,
        challenger_version=trial.version,
        champion_version=trial.seen.version,
        champion_generation=trial.seen.generation,
        config_hash=config_hash,
        body=body,
    )


def _fidelity_rows(trial: Trial) -> list[dict[str, Any]]:
    tasks = trial.package.tasks.values() if trial.package else ()
    return [
        {"task": t.name, "route": t.route, "verdict": t.fidelity, "kl": t.kl, "floor": trial.policy.max_kl}
        for t in tasks
    ]


def _keep_dry_run(settings: Settings, objects: Objects, judged: Judged, decision: Decision) -> dict[str, Any]:
    """One operation row with the whole verdict; nothing that could take effect."""
    verdict = rows.verdict_payload(decision)
    rows.operation(
        settings,
        "gate_dry_run",
        f"gate_dry_run:{decision.decision_id}",
        object_type="version",
        object_id=decision.challenger_version,
        reason=decision.reason,
        action_id=decision.decision_id,
        details=verdict,
    )
    return decisions.remember(objects, judged, {"decision": decision.to_dict()})


def _mark(objects: Objects, state: str, stored: decisions.StoredDecision) -> None:
    """Show a rejection on the version's document; the champion's and a retired one's stay as they are."""
    decision, at = stored.decision, datetime.fromisoformat(stored.recorded_at)
    if decision.decision != "reject":
        return
    steps = ("registered", "rejected") if state in ("expired", "superseded") else ("rejected",)
    if steps[0] not in states.ALLOWED[state]:
        return
    for step in steps:
        states.move(objects, decision.challenger_version, step, rows.SERVICE, decision.decision_id, at)


def _describe(out: Out, mode: Mode, decision: Decision) -> None:
    out.path("comparison.md").write_text(comparison_markdown(decision), encoding="utf-8")
    facts: Mapping[str, Any] = {
        "mode": mode,
        "decision_id": decision.decision_id,
        "decision": decision.decision,
        "reason_code": decision.reason_code,
        "reason": decision.reason,
        "challenger_version": decision.challenger_version,
        "champion_version": decision.champion_version,
    }
    out.facts.update(facts)


def _require_production_size(settings: Settings) -> None:
    policy = settings.promotion
    if settings.place.env == "prod" and policy.min_gate_rows < policy.powered_gate_rows:
        raise SettingsError(
            f"promotion: min_gate_rows is {policy.min_gate_rows} in prod, needs {policy.powered_gate_rows}"
        )
