"""Students in memory: one row in, served values out, by task and layer.

The models of the manifest's routes are loaded at start, standby twins when they are first needed. Each model's
own feature list must equal the package's, name by name. Source: serving.md 2 and 6; distillation.md 6.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import isfinite
from typing import Any

from pipeline_lib.errors import ContractError, ManifestMismatch, PipelineError
from pipeline_lib.serve import calibrate, transform, trees
from pipeline_lib.serve.bundle import Bundle
from pipeline_lib.serve.lightgbm_c import Booster, Library

log = logging.getLogger(__name__)

DIRECT, RULES = 2, 3
"""Layers below the distilled students (1)."""


class PredictionRefused(PipelineError):
    """The model gives no answer for the row; ``code`` goes into the task's ``layer_reason``."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)
        self.code = code


@dataclass(frozen=True)
class Prediction:
    raw: tuple[float, ...]
    """Model outputs, base score included."""
    served: tuple[float, ...]
    """(p,), K probabilities or (value,): calibrated and clamped."""


@dataclass(frozen=True)
class Range:
    """Where a regression answer may lie [label units]."""

    low: float
    high: float


class Student:
    """One model of one task with its transform and calibrator."""

    def __init__(
        self, library: Library, task: str, kind: str, facts: Mapping[str, Any], inputs: Mapping[str, Any], model: bytes
    ) -> None:
        self.task, self.kind = task, kind
        self.gains = tuple(float(gain) for gain in inputs["gain"])
        self.knows_missing = tuple(bool(known) for known in inputs["knows_missing"])
        self.output_kind = str(facts["output_kind"])
        self.features = tuple(str(name) for name in facts["features"])
        self.calibrator = facts.get("calibrator")
        self._model = model
        self._booster = Booster(library, model, raw=self.output_kind == "raw")
        self.base = _base_scores(facts.get("base_score"), self._booster.outputs)
        if self._booster.features != self.features:
            raise ContractError(f"{task}: the package's feature list is not the model's own")

    def row(self, values: Sequence[float], columns: tuple[str, ...]) -> tuple[list[float], float]:
        """The model's row from a stored row, and the share of its gain on inputs that are not usable [0..1]."""
        where = transform.positions(self.features, columns)
        row = transform.vector(values, where)
        return row, transform.anomaly_share(row, where, self.gains, self.knows_missing)

    def predict(self, row: list[float], allowed: Range | None) -> Prediction:
        """Raises PredictionRefused for an output that is not finite or out of range."""
        output = self._booster.predict(row)
        raw = tuple(value + base for value, base in zip(output, self.base, strict=True))
        if not all(isfinite(value) for value in raw):
            raise PredictionRefused("NON_FINITE", f"{self.task}: {raw}")
        served = calibrate.served(self.kind, self.output_kind, raw, self.calibrator)
        if allowed and not allowed.low <= served[0] <= allowed.high:
            raise PredictionRefused("OUT_OF_RANGE", f"{self.task}: {served[0]} outside [{allowed.low}, {allowed.high}]")
        return Prediction(raw, served)

    @cached_property
    def forest(self) -> trees.Forest:
        """The trees, read when a reason is first asked for."""
        return trees.parse(self._model.decode("utf-8"))


class Predictor:
    """All students of a verified bundle.

    Raises:
        LibraryFailed: the shared library is missing or refuses a model.
        ContractError: a model does not have the package's features.
    """

    def __init__(self, bundle: Bundle, library: Library, range_margin: float) -> None:
        self._bundle, self._library, self._margin = bundle, library, range_margin
        self._tasks = {str(task["name"]): task for task in bundle.manifest["tasks"]}
        self._students: dict[tuple[str, int], Student] = {}
        self.load_errors: dict[str, str] = {}
        for name, task in self._tasks.items():
            if (layer := int(task["serve_layer"])) < RULES:
                self._students[name, layer] = self._load(name, layer)

    def student(self, task: str, layer: int) -> Student:
        """Raises PredictionRefused when the package has no such model or it cannot be loaded."""
        found = self._students.get((task, layer))
        if found is None:
            try:
                found = self._students[task, layer] = self._load(task, layer)
            except (ManifestMismatch, ContractError, KeyError) as error:
                self.load_errors[f"{task}/{layer}"] = type(error).__name__
                raise PredictionRefused("MODEL_MISSING", f"{task} layer {layer}: {error}") from error
        return found

    def predict(self, student: Student, row: list[float]) -> Prediction:
        return student.predict(row, self._range(student.task))

    def _load(self, task: str, layer: int) -> Student:
        facts = json.loads(self._bundle.read(f"students/{task}/student.json"))
        twin = facts["route"] == "distil" and layer == DIRECT
        name = "direct" if twin else "model"
        inputs = json.loads(self._bundle.read(f"students/{task}/inputs.json"))[name]
        model = self._bundle.read(f"students/{task}/{name}.txt")
        kind = str(self._tasks[task]["type"])
        return Student(self._library, task, kind, facts["direct"] if twin else facts, inputs, model)

    def _range(self, task: str) -> Range | None:
        normaliser = self._tasks[task].get("normaliser")
        if not normaliser or normaliser.get("low") is None:
            return None
        low, high = float(normaliser["low"]), float(normaliser["high"])
        slack = self._margin * (high - low)
        return Range(low - slack, high + slack)


def _base_scores(base: Any, outputs: int) -> tuple[float, ...]:
    if base is None or base == []:
        return (0.0,) * outputs
    values = tuple(float(value) for value in base) if isinstance(base, list) else (float(base),)
    if len(values) != outputs:
        raise ContractError(f"{len(values)} base scores for {outputs} outputs")
    return values
