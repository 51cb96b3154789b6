"""The stage ``gate``: one verdict on this run's challenger, in the record before the stage ends.

A run that was judged keeps its verdict: a rerun of the same date, package and settings replays it, even when the
champion has moved since, so that its manifest is the same. A dry run judges in full, is recorded as
``gate_dry_run`` and has no effect. Being unable to judge is an error and leaves everything as it was.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pipeline_lib.business_time import utc_now
from pipeline_lib.errors import GateCannotJudge, SettingsError
from pipeline_lib.gate import advice, attempt, evidence, ladder, policy_trace, verdict
from pipeline_lib.gate.attempt import Attempt, Mode
from pipeline_lib.gate.hooks import Hook, counterfactual
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

PAGES = frozenset({"CHAMPION_UNLOADABLE", "CHAMPION_UNSCORABLE"})
"""Codes that somebody must look at now."""
CHAMPION_INVALID = "METRIC_INVALID: champion"
"""What serves answers something that admits no metric: also to be looked at now."""


@dataclass(frozen=True)
class _Asked:
    """What the caller brings."""

    started_by: str | None
    hooks: Sequence[Hook]
    smoke: Probe
    now: datetime


def decide(
    ctx: RunContext,
    mode: Mode = "evaluate",
    *,
    started_by: str | None = None,
    promotable: bool | None = None,
    hooks: Sequence[Hook] = (),
    smoke: Probe = complete_and_loadable,
    now: datetime | None = None,
) -> StageOutput:
    """Judge the run's package against the champion.

    Args:
        mode: what is asked for; ``attempt.identify`` may make a dry run of it, never the other way.
        started_by: who started the run by hand; that person may not approve it.
        promotable: whether it was said that the run may change the champion. None, for a run of the schedule, is
            a yes unless somebody started it.
        hooks: vetoes of compliance, asked after the competition and before the counterfactual one.
        smoke: raises when a verified package does not answer.
        now: the moment of judging.

    Raises:
        GateCannotJudge: evidence missing, stale or not comparable, or the registry is corrupt: no verdict.
        AuditError: the verdict's row is not durable: no verdict.
    """
    package, score, labels = ctx.read("package"), ctx.read("score"), ctx.read("labels")
    sha256, said = str(package.facts["manifest_sha256"]), advice.collect(ctx)
    this = attempt.identify(ctx, sha256, mode, started_by=started_by, promotable=promotable)
    asked = _Asked(started_by, hooks, smoke, now or utc_now())

    def make(out: Out) -> None:
        kept = decisions.recall(ctx.objects, this.judged)
        if kept is None:
            kept = _judged(ctx, str(package.facts["version"]), this, score, labels, said, asked)
        _describe(out, this, Decision(**kept["decision"]))

    sources = {"mode": this.mode} | ({"attempt": str(this.judged.attempt)} if this.judged.attempt else {})
    return ctx.produce("gate", make, [package, score, labels, *said.sources], sources)


def _judged(
    ctx: RunContext,
    version: str,
    this: Attempt,
    score: StageOutput,
    labels: StageOutput,
    said: advice.Advice,
    asked: _Asked,
) -> dict[str, Any]:
    """Climb the ladder, record the verdict, and remember it for reruns."""
    began, policy = time.monotonic(), ctx.settings.promotion
    trial = _trial(ctx, version, this.judged, score, labels, said, asked)
    if this.mode == "evaluate":
        policy_trace.trace(ctx.settings)
    climb = ladder.climb(trial.questions())
    took = time.monotonic() - began
    if took > policy.verdict_timeout_s:
        raise GateCannotJudge("TIMED_OUT", f"judging took {took:.1f} s, limit {policy.verdict_timeout_s:g} s")
    if took > policy.verdict_alarm_s:
        log.warning("judging took %.1f s, expected at most %g s", took, policy.verdict_alarm_s)
    real = this.mode == "evaluate"
    decision = verdict.decision(
        trial,
        this.judged,
        climb,
        said,
        started_by=asked.started_by,
        tests_this_year=_tests_this_year(ctx, trial) if real else None,
        duration_us=int(took * 1e6) if real else None,
        config_hash=ctx.settings.config_hash,
    )
    _require_unmoved(ctx, trial, real)
    if decision.reason_code in PAGES or decision.reason.startswith(CHAMPION_INVALID):
        log.critical("page on-call: %s", decision.reason)
    if not real:
        return _keep_dry_run(ctx.settings, ctx.objects, this.judged, decision)
    stored = decisions.record(ctx.settings, ctx.objects, decision)
    _mark(ctx.objects, trial.state, stored)
    log.info("%s: %s", stored.decision.decision, stored.decision.reason)
    return decisions.remember(ctx.objects, this.judged, stored.to_dict())


def _trial(
    ctx: RunContext,
    version: str,
    judged: Judged,
    score: StageOutput,
    labels: StageOutput,
    said: advice.Advice,
    asked: _Asked,
) -> Trial:
    settings, objects, keys = ctx.settings, ctx.objects, KeyFolder(ctx.settings.place.keys)
    _require_production_size(settings)
    seen = pointer.read(objects, keys)
    evidence.require_fresh(score, seen.version, seen.generation, asked.now, settings.promotion.bundle_max_age_days)
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
        hooks=[*asked.hooks, *counterfactual(said.mode, said.counterfactual)],
        smoke=asked.smoke,
    )


def _require_unmoved(ctx: RunContext, trial: Trial, real: bool) -> None:
    """What the verdict rests on has not changed while it was made. Raises GateCannotJudge CHAMPION_CHANGED."""
    moved = pointer.read(ctx.objects, trial.keys)
    if moved.tag != trial.seen.tag:
        raise GateCannotJudge(
            "CHAMPION_CHANGED", f"{trial.seen.version} when judging began, {moved.version} now; score again"
        )
    if real and attempt.is_older(ctx):
        raise GateCannotJudge("CHAMPION_CHANGED", "a newer run was judged while this one was; run it again")


def _tests_this_year(ctx: RunContext, trial: Trial) -> int | None:
    """Primary tests of the year of this run's date, this one included; None when it made none."""
    if (trial.found.get("significance") or {}).get("p") is None:
        return None
    before = (stored.decision.body for stored in decisions.listed(ctx.objects))
    return 1 + verdict.tests_of_year(before, str(ctx.logical_date.year))


def _keep_dry_run(settings: Settings, objects: Objects, judged: Judged, decision: Decision) -> dict[str, Any]:
    """One operation row with the whole verdict; nothing that could take effect."""
    rows.operation(
        settings,
        "gate_dry_run",
        f"gate_dry_run:{decision.decision_id}",
        object_type="version",
        object_id=decision.challenger_version,
        reason=decision.reason,
        action_id=decision.decision_id,
        details=rows.verdict_payload(decision),
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


def _describe(out: Out, this: Attempt, decision: Decision) -> None:
    out.path("comparison.md").write_text(comparison_markdown(decision, this.why_dry), encoding="utf-8")
    out.facts.update(
        mode=this.mode,
        why_dry_run=this.why_dry,
        decision_id=decision.decision_id,
        decision=decision.decision,
        reason_code=decision.reason_code,
        reason=decision.reason,
        challenger_version=decision.challenger_version,
        champion_version=decision.champion_version,
    )


def _require_production_size(settings: Settings) -> None:
    policy = settings.promotion
    if settings.place.env == "prod" and policy.min_gate_rows < policy.powered_gate_rows:
        raise SettingsError(
            f"promotion: min_gate_rows is {policy.min_gate_rows} in prod, needs {policy.powered_gate_rows}"
        )
