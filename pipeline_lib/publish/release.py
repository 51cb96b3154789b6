"""The stage ``publish`` and what the DAGs and people use of the release: ``release``, ``reconcile``."""

from __future__ import annotations

from pipeline_lib.errors import RequestRefused
from pipeline_lib.publish.effect import release
from pipeline_lib.publish.reconcile import reconcile
from pipeline_lib.publish.steps import ReleaseResult
from pipeline_lib.publish.targets import Target, open_target
from pipeline_lib.registry import decisions
from pipeline_lib.registry.decisions import StoredDecision
from pipeline_lib.registry.smoke import Probe, complete_and_loadable
from pipeline_lib.runs import Out, RunContext, StageOutput

__all__ = ["ReleaseResult", "publish", "reconcile", "release"]


def publish(
    ctx: RunContext,
    decision_id: str | None = None,
    *,
    target: Target | None = None,
    probe: Probe = complete_and_loadable,
) -> StageOutput:
    """The stage ``publish``: release what this run's verdict allows, or say that nothing was released.

    Args:
        decision_id: the verdict to act on; without one the gate's, or the human's answer to it.

    Raises:
        RequestRefused: the decision is not about this run's challenger.
        ActivationFailed, PromotionUnrecorded, GateCannotJudge: as ``release``.
    """
    gate = ctx.read("gate")
    stored = _verdict_of(ctx, gate, decision_id)
    target = target or open_target(ctx.settings.place.target)

    def make(out: Out) -> None:
        acts = stored is not None and stored.decision.changes_champion
        if stored is not None and acts:
            release(ctx.settings, stored.decision, stored.receipt, target=target, probe=probe)
        out.facts |= {
            "version": gate.facts["challenger_version"],
            "target": target.name,
            "activated": acts,
            "decision": stored.decision.decision if stored else gate.facts["decision"],
        }

    return ctx.produce("publish", make, [gate], {"decision": stored.decision.decision_id} if stored else None)


def _verdict_of(ctx: RunContext, gate: StageOutput, decision_id: str | None) -> StoredDecision | None:
    """The decision to act on; None for a dry run, which has none."""
    if gate.facts["mode"] == "dry_run":
        return None
    stored = decisions.get(ctx.objects, decision_id or gate.facts["decision_id"])
    if stored.decision.decision == "await_signoff":
        stored = decisions.find(ctx.objects, decisions.signoff_id(stored.decision.decision_id)) or stored
    if stored.decision.challenger_version != gate.facts["challenger_version"]:
        raise RequestRefused(
            f"decision {stored.decision.decision_id} is about {stored.decision.challenger_version}, "
            f"this run's challenger is {gate.facts['challenger_version']}"
        )
    return stored
