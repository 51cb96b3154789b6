"""Students in memory: one row in, served values out, by task and layer.

The models of the manifest's routes are loaded at start, standby twins when they are first needed. Each model's
own feature list must equal the package's, name by name. Source: serving.md 2 and 6; distillation.md 6.

What a function's first answer waits for is imported here and in the modules below: no dataclasses, logging, pathlib
or typing at run time, which together cost more than loading thirteen models (docs/serving-benchmark.md).
"""

from __future__ import annotations

from math import isfinite

from pipeline_lib.errors import ContractError, ManifestMismatch, PipelineError
from pipeline_lib.forest import SUFFIX, layout
from pipeline_lib.serve import calibrate
from pipeline_lib.serve.engine import open_engine
from pipeline_lib.serve.quick_json import loads
from pipeline_lib.serve.transform import Inputs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from pipeline_lib.serve.bundle import Bundle
    from pipeline_lib.serve.engine import Engine, Model

DIRECT, RULES = 2, 3
"""Layers below the distilled students (1)."""


class PredictionRefused(PipelineError):
    """The model gives no answer for the row; ``code`` goes into the task's ``layer_reason``."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)
        self.code = code


class Prediction:
    """``raw``: model outputs, base score included. ``served``: (p,), K probabilities or (value,), calibrated."""

    __slots__ = ("raw", "served")

    def __init__(self, raw: tuple[float, ...], served: tuple[float, ...]) -> None:
        self.raw, self.served = raw, served


class Range:
    """Where a regression answer may lie [label units]."""

    def __init__(self, low: float, high: float) -> None:
        self.low, self.high = low, high


class Student:
    """One model of one task with its transform and calibrator.

    Args:
        facts: the model's part of ``student.json``; inputs: its part of ``inputs.json``. data: ``*.forest``.

    Raises:
        ContractError: the file is no forest, or not of these features.
        LibraryFailed: the engine does not take it.
    """

    def __init__(
        self, engine: Engine, task: str, kind: str, facts: Mapping[str, Any], inputs: Mapping[str, Any], data: bytes
    ) -> None:
        self.task, self.kind = task, kind
        self.output_kind = str(facts["output_kind"])
        self.features = tuple(str(name) for name in facts["features"])
        self.calibrator = facts.get("calibrator")
        forest = layout.Forest(data)
        if forest.features != self.features:
            raise ContractError(f"{task}: the package's feature list is not the model's own")
        if self.output_kind != "raw" and forest.objective == layout.RAW:
            raise ContractError(f"{task}: {self.output_kind} expected of a model that gives raw scores")
        self.forest: Model = engine.model(forest)
        self.base = _base_scores(facts.get("base_score"), forest.outputs)
        self._objective = forest.objective, forest.parameter
        self._inputs = Inputs(self.features, inputs["gain"], inputs["knows_missing"])

    def row(self, values: Sequence[float], columns: tuple[str, ...]) -> tuple[Sequence[float], float]:
        """The model's row from a stored row, and the share of its gain on inputs that are not usable [0..1]."""
        return self._inputs.row(values, columns)

    def predict(self, row: Sequence[float], allowed: Range | None) -> Prediction:
        """Raises PredictionRefused for an output that is not finite or out of range."""
        output = self.forest.raw(row)
        if self.output_kind != "raw":
            output = calibrate.outputs(*self._objective, output)
        raw = tuple([value + base for value, base in zip(output, self.base, strict=True)])
        if not all(map(isfinite, raw)):
            raise PredictionRefused("NON_FINITE", f"{self.task}: {raw}")
        served = calibrate.served(self.kind, self.output_kind, raw, self.calibrator)
        if allowed and not allowed.low <= served[0] <= allowed.high:
            raise PredictionRefused("OUT_OF_RANGE", f"{self.task}: {served[0]} outside [{allowed.low}, {allowed.high}]")
        return Prediction(raw, served)


class Predictor:
    """All students of a verified bundle.

    Args:
        range_margin: how far beyond its training range a regression may answer [share of the range].

    Raises:
        LibraryFailed: there is no engine, or it refuses a model.
        ContractError: a model does not have the package's features.
    """

    def __init__(self, bundle: Bundle, engine: Engine, range_margin: float) -> None:
        self._bundle, self._engine = bundle, engine
        self._tasks = {str(task["name"]): task for task in bundle.manifest["tasks"]}
        self._ranges = {name: _range(task.get("normaliser"), range_margin) for name, task in self._tasks.items()}
        self._students: dict[tuple[str, int], Student] = {}
        self.load_errors: dict[str, str] = {}
        for name, task in self._tasks.items():
            if (layer := int(task["serve_layer"])) < RULES:
                self._students[name, layer] = self._load(name, layer)
        bundle.let_go()

    @classmethod
    def of(cls, bundle: Bundle) -> Predictor:
        """The predictor of a bundle, by its own policy and the best engine there is."""
        # A version that names no library was packaged before versions did: then none may stand in for the kernel.
        engine = open_engine(str(bundle.manifest.get("lightgbm_sha256") or ""))
        return cls(bundle, engine, float(bundle.policy["serving"]["range_margin"]))

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

    def predict(self, student: Student, row: Sequence[float]) -> Prediction:
        return student.predict(row, self._ranges[student.task])

    def _load(self, task: str, layer: int) -> Student:
        facts = loads(self._bundle.read(f"students/{task}/student.json"))
        name = model_name(facts["route"], layer)
        inputs = loads(self._bundle.read(f"students/{task}/inputs.json"))[name]
        kind, own = str(self._tasks[task]["type"]), facts["direct"] if name == "direct" else facts
        return Student(self._engine, task, kind, own, inputs, self._forest(task, name))

    def _forest(self, task: str, name: str) -> bytes:
        path = f"students/{task}/{name}"
        if self._bundle.lists(path + SUFFIX):
            return self._bundle.read(path + SUFFIX)
        # Only here: versions registered before there were compiled forests hold the text alone.
        from pipeline_lib.forest.compiling import compile_text

        return compile_text(self._bundle.read(f"{path}.txt").decode("utf-8"), f"{path}.txt")


def model_name(route: str, layer: int) -> str:
    """Which file of a task answers at a layer: only a distilled student has a twin."""
    return "direct" if route == "distil" and layer == DIRECT else "model"


def _range(normaliser: Mapping[str, Any] | None, margin: float) -> Range | None:
    if not normaliser or normaliser.get("low") is None:
        return None
    low, high = float(normaliser["low"]), float(normaliser["high"])
    slack = margin * (high - low)
    return Range(low - slack, high + slack)


def _base_scores(base: Any, outputs: int) -> tuple[float, ...]:
    if base is None or base == []:
        return (0.0,) * outputs
    values = tuple(float(value) for value in base) if isinstance(base, list) else (float(base),)
    if len(values) != outputs:
        raise ContractError(f"{len(values)} base scores for {outputs} outputs")
    return values
