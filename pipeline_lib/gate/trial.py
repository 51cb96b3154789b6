"""One challenger on trial: everything a verdict is computed from, and the ladder's questions about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pipeline_lib.errors import GateCannotJudge, ManifestMismatch, ObjectMissing, PipelineError, SignatureInvalid
from pipeline_lib.gate import compare, evidence, floor, ladder, sets, significance
from pipeline_lib.gate.hooks import Hook, ask, weigh
from pipeline_lib.gate.limits import Limits
from pipeline_lib.gate.measure import METRIC_OF, TaskShape, measure
from pipeline_lib.gate.metrics import Floats, Measured
from pipeline_lib.gate.sets import TaskSets
from pipeline_lib.gate.table import metric_name
from pipeline_lib.keys import KeyFolder
from pipeline_lib.objects import Objects
from pipeline_lib.registry import versions
from pipeline_lib.registry.package import Package, PackagedTask
from pipeline_lib.registry.pointer import Seen
from pipeline_lib.registry.smoke import Probe
from pipeline_lib.settings.promotion import Promotion


@dataclass(frozen=True)
class Trial:
    policy: Promotion
    kinds: Mapping[str, str]
    """Task -> kind, of every task of the policy."""
    objects: Objects
    keys: KeyFolder
    version: str
    package: Package | None
    why_not: str
    """Why the challenger does not verify, when it does not."""
    state: str
    seen: Seen
    bundle: evidence.Bundle
    """Sealed: opened by the competition alone."""
    hooks: Sequence[Hook]
    smoke: Probe
    found: dict[str, Any] = field(default_factory=dict)
    """Columns of the verdict's row, filled by the steps that were reached."""

    def questions(self) -> list[ladder.Question]:
        """The ladder of section 4."""
        return [
            ("preflight", lambda: ladder.preflight(self.package, self.why_not, self.state)),
            ("override", ladder.not_forced),
            ("champion", self._champion_known),
            ("champion_loads", self._champion_loads),
            ("fidelity", lambda: floor.ask(self.fidelity, list(self.kinds))),
            ("competition", self._competition),
            ("hooks", self._hooks),
            ("posture", lambda: ladder.posture(self.policy.auto_promote, self.found["passed"])),
        ]

    @property
    def fidelity(self) -> tuple[floor.TaskFidelity, ...]:
        return floor.of_package(self.package, self.policy.max_kl)

    @property
    def challenger(self) -> Package:
        assert self.package is not None, "preflight decides when there is no package"
        return self.package

    def _champion_known(self) -> ladder.Answer:
        if self.seen.version is not None:
            return ladder.Answer("HAS_CHAMPION", f"{self.seen.version} serves", value=self.seen.version)
        with versions.opened(self.objects, self.keys, self.version) as copy:
            try:
                self.smoke(copy)
                failure = None
            except PipelineError as error:
                failure = f"{type(error).__name__}: {error}"
        layers = {task.name: task.layer for task in self.challenger.tasks.values()}
        failed = {t.task: f"{t}, now layer {layers[t.task]}" for t in self.fidelity if t.diverges}
        needs_signoff = self.policy.bootstrap_requires_signoff
        return ladder.bootstrap(self.challenger, list(self.kinds), failure, needs_signoff, failed)

    def _champion_loads(self) -> ladder.Answer:
        assert self.seen.pointer is not None, "the step before decides when there is no champion"
        champion, why_not = verified(
            self.objects, self.keys, str(self.seen.version), str(self.seen.pointer.manifest_sha256)
        )
        if champion is None:
            return ladder.reject("CHAMPION_UNLOADABLE", why_not)
        self.found["champion"] = champion
        return ladder.Answer("CHAMPION_LOADS", f"{champion.version} verifies", value=champion.sha256)

    def _competition(self) -> ladder.Answer:
        """Step 4. Up to here nobody has read a score."""
        if not self.bundle.has_champion:
            why = f"the bundle has no outputs of {self.seen.version}"
            return ladder.reject("CHAMPION_UNSCORABLE", why, limit=Limits.of(self.policy).to_dict())
        evidence.require_size(self.bundle, self.policy.min_gate_rows)
        tables, limits, champion = self.bundle.open(), Limits.of(self.policy), self.found["champion"]
        weak = powered(tables, self.kinds, limits)
        compared = sets.task_sets(list(self.kinds), champion.tasks, self.challenger.tasks, weak)
        shapes = shapes_of(self.challenger.tasks, compared)
        found = judge(tables, compared, shapes, limits)
        self._keep(found, compared, shapes)
        return answer(found, limits)

    def _keep(self, found: compare.Competition, compared: TaskSets, shapes: Mapping[str, TaskShape]) -> None:
        self.found.update(columns_of(found, compared, shapes))
        self.found["passed"] = passed(found)

    def _hooks(self) -> ladder.Answer:
        asked = ask(self.hooks, self.version, self.policy.hook_timeout_s)
        self.found["hooks"] = [one.to_dict() for one in asked]
        return weigh(asked)


def powered(tables: evidence.Tables, kinds: Mapping[str, str], limits: Limits) -> tuple[str, ...]:
    """Tasks too weak to compare; raises GateCannotJudge BUNDLE_TOO_SMALL when too few binary ones are left."""
    weak = evidence.unpowered(tables.labels, kinds, limits.min_positives)
    strong = [task for task, kind in kinds.items() if kind == "binary" and task not in weak]
    if len(strong) < limits.min_powered_tasks:
        raise GateCannotJudge(
            "BUNDLE_TOO_SMALL",
            f"{len(strong)} binary tasks have {limits.min_positives} rows of each class "
            f"({', '.join(strong) or 'none'}), min_powered_tasks is {limits.min_powered_tasks}",
        )
    return weak


def shapes_of(tasks: Mapping[str, PackagedTask], compared: TaskSets) -> dict[str, TaskShape]:
    """Kind and class list of every task that could be compared; both models have the same."""
    known = (*compared.compared, *compared.unpowered)
    return {task: TaskShape(tasks[task].kind, len(tasks[task].classes)) for task in compared.expected if task in known}


def judge(
    tables: evidence.Tables, compared: TaskSets, shapes: Mapping[str, TaskShape], limits: Limits
) -> compare.Competition:
    """Measure both models on the rows and compare them: all a verdict's numbers, from the bundle alone."""
    shapes = {task: shapes[task] for task in compared.compared}
    old, new = (measure(outputs, tables.labels, shapes) for outputs in (tables.champion, tables.challenger))
    differences = _differences(old, new)
    kinds = {task: shape.kind for task, shape in shapes.items()}
    customers = tables.customers
    errors = {name: significance.standard_error(d, customers) for name, d in _by_metric(kinds, differences).items()}
    values = [{task: found.value for task, found in side.items()} for side in (old, new)]
    return compare.compete(kinds, compared, values[0], values[1], errors, tables.rows, limits)


def answer(found: compare.Competition, limits: Limits) -> ladder.Answer:
    """Step 4 as the ladder hears it; the limits go with it, so that a verdict can be computed again from its row."""
    primary = found.comparison[0].relative
    return ladder.Answer(found.code, found.reason, None if found.passed else "reject", primary, limits.to_dict())


def columns_of(found: compare.Competition, compared: TaskSets, shapes: Mapping[str, TaskShape]) -> dict[str, Any]:
    """The columns of the verdict's row that the competition fills."""
    listed = [{"task": task, "kind": shape.kind, "classes": shape.classes} for task, shape in shapes.items()]
    return {
        "task_sets": {**{name: list(value) for name, value in vars(compared).items()}, "shapes": listed},
        "comparison": [row.to_dict() for row in found.comparison],
        "significance": dict(found.significance),
    }


def passed(found: compare.Competition) -> str:
    """The reason of whoever clears the ladder."""
    return found.reason + ("; underpowered: a development bundle" if found.significance["underpowered"] else "")


def verified(objects: Objects, keys: KeyFolder, version: str, sha256: str) -> tuple[Package | None, str]:
    """The package if it is the one of that manifest hash and verifies, else why it does not."""
    try:
        package = versions.verify(objects, keys, version)
    except (ObjectMissing, ManifestMismatch, SignatureInvalid) as error:
        return None, f"{type(error).__name__}: {error}"
    if package.sha256 != sha256:
        return None, f"{version}: its manifest hashes to {package.sha256}, expected {sha256}"
    return package, ""


def _differences(old: Mapping[str, Measured], new: Mapping[str, Measured]) -> dict[str, Floats]:
    """Task -> challenger's minus champion's row influences, (N,); a task that was not measured has none."""
    found = {}
    for task, measured in new.items():
        before = old[task].influence
        if measured.influence is not None and before is not None:
            found[task] = measured.influence - before
    return found


def _by_metric(kinds: Mapping[str, str], differences: Mapping[str, Floats]) -> dict[str, Floats]:
    """Name of a metric -> what each row adds to its difference, (N,); tasks are averaged before anything is squared."""
    found = {metric_name(kinds[task], task): difference for task, difference in differences.items()}
    for kind, metric in METRIC_OF.items():
        tasks = [task for task in kinds if kinds[task] == kind]
        if tasks and set(tasks) <= differences.keys():
            found[f"avg_{metric}"] = np.mean(np.stack([differences[task] for task in tasks]), axis=0)  # (T, N) -> (N,)
    return found
