"""One challenger on trial: everything a verdict is computed from, and the ladder's questions about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline_lib.errors import GateCannotJudge, ManifestMismatch, ObjectMissing, PipelineError, SignatureInvalid
from pipeline_lib.gate import compare, evidence, ladder, significance
from pipeline_lib.gate.measure import LOWER_IS_BETTER, METRIC_OF, Measured, TaskShape, measure
from pipeline_lib.keys import KeyFolder
from pipeline_lib.objects import Objects
from pipeline_lib.registry import versions
from pipeline_lib.registry.package import Package, PackagedTask
from pipeline_lib.registry.pointer import Seen
from pipeline_lib.registry.smoke import Probe
from pipeline_lib.settings.promotion import Promotion

Measures = Mapping[str, Measured]


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
    hooks: Sequence[ladder.Hook]
    smoke: Probe
    found: dict[str, Any] = field(default_factory=dict)
    """Columns of the verdict's row, filled by the steps that were reached."""

    def questions(self) -> list[ladder.Question]:
        """The ladder of section 4. Forcing is another function; here step 1 says that nobody forces."""
        return [
            ("preflight", lambda: ladder.preflight(self.package, self.why_not, self.state)),
            ("override", lambda: ladder.Answer("NOT_FORCED", "the run asks for a verdict")),
            ("champion", self._champion_known),
            ("champion_loads", self._champion_loads),
            ("fidelity", self._fidelity),
            ("competition", self._competition),
            ("hooks", self._hooks),
            ("posture", lambda: ladder.posture(self.policy.auto_promote, self.found["passed"])),
        ]

    @property
    def challenger(self) -> Package:
        assert self.package is not None, "preflight decides when there is no package"
        return self.package

    @property
    def champion_tasks(self) -> Mapping[str, PackagedTask]:
        champion: Package = self.found["champion"]
        return champion.tasks

    def _champion_known(self) -> ladder.Answer:
        if self.seen.version is not None:
            return ladder.Answer("HAS_CHAMPION", f"{self.seen.version} serves", value=self.seen.version)
        with versions.opened(self.objects, self.keys, self.version) as copy:
            try:
                self.smoke(copy)
                failure = None
            except PipelineError as error:
                failure = f"{type(error).__name__}: {error}"
        signoff = self.policy.bootstrap_requires_signoff
        return ladder.bootstrap(self.challenger, list(self.kinds), failure, signoff)

    def _champion_loads(self) -> ladder.Answer:
        assert self.seen.pointer is not None, "the step before decides when there is no champion"
        champion, why_not = verified(
            self.objects, self.keys, str(self.seen.version), str(self.seen.pointer.manifest_sha256)
        )
        if champion is None:
            return ladder.reject("CHAMPION_UNLOADABLE", why_not)
        self.found["champion"] = champion
        return ladder.Answer("CHAMPION_LOADS", f"{champion.version} verifies", value=champion.sha256)

    def _fidelity(self) -> ladder.Answer:
        return ladder.fidelity(self.challenger, list(self.kinds), self.policy.max_kl)

    def _competition(self) -> ladder.Answer:
        if self.bundle.champion is None:
            return ladder.reject("CHAMPION_UNSCORABLE", f"the bundle has no outputs of {self.seen.version}")
        evidence.require_size(self.bundle, self.policy.min_gate_rows)
        sets = self._task_sets()
        found = judge(self.bundle, sets, self.kinds, self.challenger.tasks, limits_of(self.policy))
        weak = self.bundle.rows < self.policy.powered_gate_rows
        self.found["task_sets"] = {name: list(value) for name, value in vars(sets).items()}
        self.found["comparison"] = [row.to_dict() for row in found.comparison]
        self.found["significance"] = {**found.significance, "rows": self.bundle.rows, "underpowered": weak}
        self.found["passed"] = found.reason + ("; underpowered: a development bundle" if weak else "")
        return ladder.competition(found)

    def _task_sets(self) -> compare.TaskSets:
        weak = evidence.unpowered(self.bundle, self.kinds, self.policy.min_positives)
        strong = [task for task, kind in self.kinds.items() if kind == "binary" and task not in weak]
        if len(strong) < self.policy.min_powered_tasks:
            raise GateCannotJudge(
                "BUNDLE_TOO_SMALL",
                f"{len(strong)} binary tasks have {self.policy.min_positives} rows of each class "
                f"({', '.join(strong) or 'none'}), min_powered_tasks is {self.policy.min_powered_tasks}",
            )
        return compare.task_sets(list(self.kinds), self.champion_tasks, self.challenger.tasks, weak)

    def _hooks(self) -> ladder.Answer:
        answer, self.found["hooks"] = ladder.hooks(self.hooks, self.version)
        return answer


def judge(
    bundle: evidence.Bundle,
    sets: compare.TaskSets,
    kinds: Mapping[str, str],
    tasks: Mapping[str, PackagedTask],
    limits: compare.Limits,
) -> compare.Competition:
    """Measure both models on the bundle and compare them: all a verdict's numbers, from the bundle alone."""
    assert bundle.champion is not None, "asked only when there is a champion"
    shapes = {task: TaskShape(kinds[task], len(tasks[task].classes)) for task in sets.compared}
    old, new = (measure(outputs, bundle.labels, shapes) for outputs in (bundle.champion, bundle.challenger))
    gain, harms = _tests(old, new, kinds, sets.compared)
    values = [{task: found.value for task, found in side.items()} for side in (old, new)]
    return compare.compete(kinds, sets, values[0], values[1], gain, harms, limits)


def limits_of(policy: Promotion) -> compare.Limits:
    return compare.Limits(
        min_improvement=policy.min_improvement,
        max_degradation=policy.max_degradation,
        abs_tolerance=policy.abs_tolerance,
        significance_level=policy.significance_level,
        harm_test=policy.harm_test,
        harm_loss=policy.harm_loss,
    )


def verified(objects: Objects, keys: KeyFolder, version: str, sha256: str) -> tuple[Package | None, str]:
    """The package if it is the one of that manifest hash and verifies, else why it does not."""
    try:
        package = versions.verify(objects, keys, version)
    except (ObjectMissing, ManifestMismatch, SignatureInvalid) as error:
        return None, f"{type(error).__name__}: {error}"
    if package.sha256 != sha256:
        return None, f"{version}: its manifest hashes to {package.sha256}, expected {sha256}"
    return package, ""


def _tests(
    old: Measures, new: Measures, kinds: Mapping[str, str], compared: Sequence[str]
) -> tuple[significance.OneSided | None, dict[str, significance.OneSided]]:
    """Primary test over the binary tasks and one guard per task; a task that was not measured has none."""
    measured = [task for task in compared if old[task].influence is not None and new[task].influence is not None]
    differences = {task: new[task].influence - old[task].influence for task in measured}  # type: ignore[operator]
    deltas = {task: new[task].value - old[task].value for task in measured}  # type: ignore[operator]
    harms = {}
    for task in measured:
        sign = 1 if METRIC_OF[kinds[task]] in LOWER_IS_BETTER else -1
        harms[task] = significance.harm(sign * deltas[task], sign * differences[task])
    binary = [task for task in compared if kinds[task] == "binary"]
    if not binary or not set(binary) <= set(measured):
        return None, harms
    delta = sum(deltas[task] for task in binary) / len(binary)
    return significance.gain(delta, [differences[task] for task in binary]), harms
