"""What was found after a kill, and whether everything agrees again: record, registry, target and what serves."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

from pipeline_lib.audit import session
from pipeline_lib.business_time import utc_now
from pipeline_lib.errors import GateCannotJudge
from pipeline_lib.publish import release as releases
from pipeline_lib.registry import check, decisions, pointer, states
from pipeline_lib.serve import local
from pipeline_lib.serve.bundle import open_bundle
from tests.unit.gate.promotion_world import World

YOUNG = timedelta(minutes=3)
"""The dead one's lock has ended, the decision may still be completed."""
LATE = timedelta(minutes=16)


def facts(world: World) -> dict[str, Any]:
    """What the record holds: verdicts by id, and every action by its phases."""
    rows = list(session.rows(world.settings))
    actions: dict[str, set[str]] = {}
    for row in rows:
        if row.header["log_table"] == "log_operation" and row.payload["phase"] != "single":
            actions.setdefault(str(row.payload["action_id"]), set()).add(str(row.payload["phase"]))
    verdicts = [str(r.payload["decision_id"]) for r in rows if r.header["event"] == "promotion_decision"]
    voided = [str(r.payload["details"]["decision_id"]) for r in rows if r.header["event"] == "decision_voided"]
    return {
        "verdicts": dict(Counter(verdicts)),
        "actions": {name: sorted(phases) for name, phases in actions.items()},
        "voided": voided,
    }


def found(world: World, before: dict[str, Any]) -> str:
    """How far the dead process had come, in words."""
    now = facts(world)
    new = sorted(now["verdicts"].keys() - before["verdicts"].keys())
    got = ["verdict" for _ in new]
    got += ["object" for i in new if decisions.find(world.ctx.objects, i)]
    for name in sorted(now["actions"].keys()):
        phases = [p for p in ("intent", "done", "failed") if p in now["actions"][name]]
        got += [p for p in phases if p not in before["actions"].get(name, ())]
    try:
        seen = world.seen
        got.append(f"pointer {seen.generation}")
        documents = states.listed(world.ctx.objects, "champion")
        if seen.version is not None or documents:
            target = world.target.serving()
            got.append("alias agrees" if target == seen.version else "alias behind")
            got.append("documents agree" if documents == [seen.version] else "documents behind")
    except GateCannotJudge:
        got.append("no pointer")
    return ", ".join(got)


def reconciled(world: World, age: timedelta) -> list[list[str]]:
    """Two passes of the reconciler so long after the crash; a third has nothing left to do."""
    passes = [releases.reconcile(world.settings, now=utc_now() + age) for _ in range(2)]
    assert releases.reconcile(world.settings, now=utc_now() + age) == [], passes
    return passes


def require_converged(world: World, before: dict[str, Any], decides: int) -> str:
    """One entry per verdict, nothing lost, nothing doubled, everything agrees; returns the end in words."""
    now = facts(world)
    assert set(now["verdicts"].values()) <= {1}, f"doubled: {now['verdicts']}"
    assert before["verdicts"].keys() <= now["verdicts"].keys(), "a verdict is lost"
    new = now["verdicts"].keys() - before["verdicts"].keys()
    assert len(new) <= decides, f"more verdicts than acts: {sorted(new)}"
    unended = [name for name, phases in now["actions"].items() if "intent" in phases and len(phases) != 2]
    assert not unended, f"announced and not ended, or ended twice: {unended}"
    objects = world.ctx.objects
    assert sorted(s.decision.decision_id for s in decisions.listed(objects)) == sorted(now["verdicts"])
    ends = sorted(_end(world, decision_id, now) for decision_id in new)
    _require_serving(world)
    assert check.examine(world.settings) == []
    _require_intact(world)
    return ", ".join([*ends, f"generation {world.seen.generation} serves"])


def _require_intact(world: World) -> None:
    """The record verifies; one that was never written to has no checkpoint to verify against."""
    session.commit(world.settings)
    report = session.verification(world.settings)
    expected = "INTACT" if next(session.rows(world.settings), None) else "INCOMPLETE"
    findings = [finding for one in report.to_dict()["checks"] for finding in one["findings"]]
    assert (report.verdict, findings) == (expected, []), (report.verdict, findings)


def _end(world: World, decision_id: str, now: dict[str, Any]) -> str:
    """What became of one verdict: exactly one thing."""
    stored = decisions.get(world.ctx.objects, decision_id)
    if not stored.decision.changes_champion:
        return stored.decision.decision
    phases = now["actions"].get(f"swap-{decision_id}", [])
    effects = {"done": "took effect", "failed": "voided" if decision_id in now["voided"] else "taken back"}
    ends = [word for phase, word in effects.items() if phase in phases]
    assert len(ends) == 1, f"{decision_id}: {phases}"
    return ends[0]


def _require_serving(world: World) -> None:
    """Pointer, documents, target and the function's own loading name one version; generations have no gap."""
    seen = world.seen
    documents = states.listed(world.ctx.objects, "champion")
    assert documents == ([seen.version] if seen.version else []), documents
    assert world.target.serving() == seen.version
    past = [int(key[-13:-5]) for key in world.ctx.objects.list(pointer.PAST)]
    assert past == list(range(1, seen.generation + 1)), past
    if seen.version is None or seen.pointer is None:
        return
    world.target.check(seen.version)
    at_home = world.settings.place.model_copy(update={"root": f"file://{world.settings.place.home}/store"})
    environment = local.environment(world.settings.model_copy(update={"place": at_home}))  # tables are not asked for
    bundle = open_bundle(Path(environment["SERVE_BUNDLE"]), environment["SERVE_MANIFEST_SHA256"])
    assert (bundle.version, bundle.manifest_sha256) == (seen.version, seen.pointer.manifest_sha256)
