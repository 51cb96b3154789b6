"""Which layer answers each task, and why: first match wins, and the reason is recorded. Source: serving.md 4.

Whatever happens to a model, the task is answered: Layer 1, else 2, else 3. The manifest decides the route; nothing
here judges a metric.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from pipeline_lib.serve import transform
from pipeline_lib.serve.bundle import Bundle
from pipeline_lib.serve.kernel import LibraryFailed
from pipeline_lib.serve.predictor import RULES, Prediction, PredictionRefused, Predictor, Student
from pipeline_lib.serve.rules import Named, RuleAnswer, RuleBook, Task

DEADLINE = "DEADLINE"
"""Layer reason of a task whose turn came too late."""
FAILED = frozenset({"MODEL_MISSING", "PREDICT_FAILED", "NON_FINITE", "OUT_OF_RANGE", "INPUT_ANOMALY", DEADLINE})
"""Layer reasons of a task that could not be answered as its manifest says."""


def never() -> bool:
    return False


@dataclass(frozen=True)
class Row:
    """One customer's features in stored order."""

    values: Sequence[float]
    columns: tuple[str, ...]
    schema_hash: str


@dataclass(frozen=True)
class Overrides:
    """What outranks the manifest for this request: a reason for every task, for some, or for those that come late."""

    all_tasks: str | None = None
    tasks: Mapping[str, str] = field(default_factory=dict)
    late: Callable[[], bool] = never
    """Whether the time for predicting is over; asked before each task."""
    raw_only: bool = False
    """Rules may read nothing that a model made: the customer has opted out."""

    def reason(self, task: str) -> str | None:
        return self.all_tasks or self.tasks.get(task) or (DEADLINE if self.late() else None)


@dataclass(frozen=True)
class Seen:
    """What rules may look at, put together once per answer and only when a rule is asked."""

    row: Row | None
    given: Named
    raw_only: bool

    @cached_property
    def named(self) -> Named:
        own = transform.named(self.row.values, self.row.columns) if self.row else {}
        return {**own, **self.given}


@dataclass(frozen=True)
class TaskAnswer:
    task: str
    kind: str
    layer: int
    layer_reason: str
    values: tuple[float, ...]
    """(p,), K probabilities or (value,); empty when not even a base rate is known."""
    prediction: Prediction | None = None
    student: Student | None = None
    row: tuple[float, ...] | None = None
    """The model's own row, for attribution."""
    rule: RuleAnswer | None = None
    base: tuple[float, ...] = ()
    """What the rule started from."""


@dataclass(frozen=True)
class Models:
    """Everything that can answer a task. ``predictor`` is None when the models were refused."""

    bundle: Bundle
    rule_book: RuleBook
    tasks: Mapping[str, Task]
    predictor: Predictor | None
    refused: str | None
    """Why there is no predictor; a layer reason."""
    anomaly_gain_share: float

    def serve_layer(self, task: str) -> tuple[int, str]:
        facts = next(t for t in self.bundle.manifest["tasks"] if t["name"] == task)
        return int(facts["serve_layer"]), str(facts["serve_reason"])

    def answer(self, row: Row | None, overrides: Overrides, given: Named | None = None) -> dict[str, TaskAnswer]:
        """Every task of the package, in its order.

        Args:
            given: what rules may read beside the row, by name.
        """
        seen = Seen(row, given or {}, overrides.raw_only)
        return {name: self._one(task, seen, overrides.reason(name)) for name, task in self.tasks.items()}

    def _one(self, task: Task, seen: Seen, override: str | None) -> TaskAnswer:
        row = seen.row
        layer, reason = self.serve_layer(task.name)
        if row is None:
            return self._by_rule(task, seen, override or "COLD_START")
        if override or layer == RULES:
            return self._by_rule(task, seen, override or reason)
        if self.predictor is None:
            return self._by_rule(task, seen, self.refused or "MODELS_REFUSED")
        for candidate in range(layer, RULES):
            try:
                return self._by_model(self.predictor, task, row, candidate, reason)
            except PredictionRefused as error:
                reason = error.code
                if error.code == "INPUT_ANOMALY":
                    break
            except LibraryFailed:
                reason = "PREDICT_FAILED"
        return self._by_rule(task, seen, reason)

    def _by_model(self, predictor: Predictor, task: Task, row: Row, layer: int, reason: str) -> TaskAnswer:
        student = predictor.student(task.name, layer)
        inputs, unusable = student.row(row.values, row.columns)
        if unusable > self.anomaly_gain_share:
            raise PredictionRefused("INPUT_ANOMALY", task.name)
        prediction = predictor.predict(student, inputs)
        return TaskAnswer(
            task.name, task.kind, layer, reason, prediction.served, prediction, student, tuple(inputs)
        )  # fmt: skip

    def _by_rule(self, task: Task, seen: Seen, reason: str) -> TaskAnswer:
        answer = self.rule_book.answer(task, seen.named, raw_only=seen.raw_only)
        return TaskAnswer(task.name, task.kind, RULES, reason, answer.values, rule=answer, base=task.base)
