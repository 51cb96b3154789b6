"""A verdict computed again from its row in the record and its evidence, and from nothing else.

What rests on signatures (is the package ours, does the champion load) is taken as recorded; fidelity, competition,
vetoes and posture are asked again, in the same order, of the recorded statistics, the bundle of the recorded digest
and the recorded limits. Then every number, code and word is compared. Source: promotion.md sections 11 and 16.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from functools import partial
from typing import Any

from pipeline_lib.audit import session
from pipeline_lib.canonical import with_decimals
from pipeline_lib.errors import RequestRefused
from pipeline_lib.gate import evidence, floor, ladder, trial, verdict
from pipeline_lib.gate.hooks import Asked, weigh
from pipeline_lib.gate.limits import Limits
from pipeline_lib.gate.measure import TaskShape
from pipeline_lib.gate.sets import TaskSets
from pipeline_lib.objects import Objects, open_objects
from pipeline_lib.records import Decision
from pipeline_lib.registry import rows
from pipeline_lib.settings import Settings

LAST_DIGIT = Decimal("1e-9")
"""Reals are recorded with nine decimals; another machine may round the last one differently."""
COLUMNS = ("gate_path", "comparison", "significance", "task_sets")
AS_RECORDED = ("preflight", "override", "champion", "champion_loads")


@dataclass(frozen=True)
class Recomputed:
    decision: Decision
    values: int
    """How many recorded values were computed again."""
    differences: tuple[tuple[str, Any, Any], ...]
    """Where, what the record says, what came out now."""


def recompute(settings: Settings, decision_id: str) -> Recomputed:
    """Compute a verdict of the gate again.

    Raises:
        RequestRefused: the record has no such verdict, or a person made it: there is nothing to compute.
        GateCannotJudge: its evidence is gone or has other bytes.
        ChainBroken: the record is not what was written.
    """
    recorded, before = _recorded(settings, decision_id)
    body = recorded.body
    if (steps := tuple(step["step"] for step in body["gate_path"])) != ladder.STEPS or recorded.trigger != "auto":
        basis = f"; it rests on {body['basis_decision_id']}" if body["basis_decision_id"] else ""
        raise RequestRefused(f"decision {decision_id} was made by {recorded.operator} ({', '.join(steps)}){basis}")
    if lacking := [step["step"] for step in body["gate_path"] if _reached(step) and step["limit"] is None]:
        raise RequestRefused(f"the row of {decision_id} names no limits of {', '.join(lacking)}: it is older than that")
    columns, climb = again(recorded, open_objects(settings.place.root))
    if columns.get("significance"):
        tested = columns["significance"]["p"] is not None
        count = before + 1 if before is not None and tested else None
        columns["significance"] = {**columns["significance"], "tests_this_year": count}
    fresh = {**columns, "decision": climb.decision, "reason": f"{climb.answer.code}: {climb.answer.reason}"}
    said = {**{name: body[name] for name in COLUMNS}, "decision": recorded.decision, "reason": recorded.reason}
    old, new = (dict(_leaves(with_decimals(part))) for part in (said, fresh))
    different = [(at, old.get(at), new.get(at)) for at in sorted(old | new) if not _equal(old.get(at), new.get(at))]
    return Recomputed(recorded, len(new), tuple(different))


def again(recorded: Decision, objects: Objects) -> tuple[dict[str, Any], ladder.Climb]:
    """The columns and the climb, from the row and the evidence.

    Raises:
        GateCannotJudge: the evidence is gone or has other bytes.
    """
    body, found = recorded.body, dict.fromkeys(COLUMNS)
    said = {step["step"]: step for step in body["gate_path"]}
    passed: list[str] = []

    def kept(step: Mapping[str, Any]) -> ladder.Answer:
        decided = recorded.decision if step["outcome"] == "decided" else None
        reason = recorded.reason.removeprefix(f"{recorded.reason_code}: ")
        return ladder.Answer(step["code"], reason, decided, step["value"], step["limit"])

    def fidelity() -> ladder.Answer:
        expected = said["fidelity"]["limit"]["expected"]
        return floor.ask([floor.TaskFidelity.recorded(row) for row in body["fidelity"]], expected)

    def competition() -> ladder.Answer:
        bundle = evidence.reopen(objects, body["bundle_digest"])
        if not bundle.has_champion:
            return kept(said["competition"])
        columns, answer, reason = _competition(bundle, said["competition"], body["task_sets"])
        found.update(columns)
        passed.append(reason)
        return answer

    questions: list[ladder.Question] = [(step, partial(kept, said[step])) for step in AS_RECORDED]
    questions += [
        ("fidelity", fidelity),
        ("competition", competition),
        ("hooks", lambda: weigh([Asked.recorded(row) for row in body["hooks"]])),
        ("posture", lambda: ladder.posture(body["auto_promote"], passed[0])),
    ]
    climb = ladder.climb(questions)
    return {**found, "gate_path": list(climb.path)}, climb


def _competition(
    bundle: evidence.Bundle, step: Mapping[str, Any], recorded: Mapping[str, Any]
) -> tuple[dict[str, Any], ladder.Answer, str]:
    """Step 4 on the recorded task sets; which tasks are too weak is found again."""
    tables, limits = bundle.open(), Limits.recorded(step["limit"])
    shapes = {row["task"]: TaskShape(row["kind"], row["classes"]) for row in recorded["shapes"]}
    weak = evidence.unpowered(tables.labels, {task: shape.kind for task, shape in shapes.items()}, limits.min_positives)
    sets = {name: tuple(tasks) for name, tasks in recorded.items() if name != "shapes"}
    strong = tuple(task for task in shapes if task not in weak and task not in sets["contract_changed"])
    compared = TaskSets(**{**sets, "compared": strong, "unpowered": weak})
    found = trial.judge(tables, compared, shapes, limits)
    return trial.columns_of(found, compared, shapes), trial.answer(found, limits), trial.passed(found)


def _recorded(settings: Settings, decision_id: str) -> tuple[Decision, int | None]:
    """The verdict as the record holds it, and how many primary tests its year had seen before; None for a dry run."""
    verdicts = [
        (str(row.header["ts"]), rows.verdict_from(row.payload)) for row in session.rows(settings, [rows.PROMOTIONS])
    ]
    for at, decision in verdicts:
        if decision.decision_id == decision_id:
            year = str(decision.body["run_id"]).rpartition("/")[2][:4]
            return decision, verdict.tests_of_year((d.body for ts, d in verdicts if ts < at), year)
    for row in session.rows(settings, ["log_operation"]):
        if (row.header["event"], row.payload["action_id"]) == ("gate_dry_run", decision_id):
            return rows.verdict_from(row.payload["details"]), None
    raise RequestRefused(f"the record has no verdict {decision_id}")


def _reached(step: Mapping[str, Any]) -> bool:
    return step["step"] in ("fidelity", "competition") and step["outcome"] != "skipped"


def _leaves(value: Any, at: str = "") -> Iterator[tuple[str, Any]]:
    """Path -> value of everything in a plain structure that is no container."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _leaves(item, f"{at}.{name}" if at else name)
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from _leaves(item, f"{at}[{index}]")
    else:
        yield at, value


def _equal(old: Any, new: Any) -> bool:
    if old == new:
        return True
    try:
        return isinstance(old, str) and isinstance(new, str) and abs(Decimal(old) - Decimal(new)) <= LAST_DIGIT
    except InvalidOperation:  # words
        return False
