"""Choose columns, grow, calibrate: from a task's rows to a finished student and its hard-label twin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from pipeline_lib.distill import answer, booster, calibration, columns, isotonic, metrics
from pipeline_lib.distill.booster import Model, Recipe
from pipeline_lib.distill.columns import Selection
from pipeline_lib.distill.frame import Rows, TaskFrame
from pipeline_lib.distill.metrics import Reals
from pipeline_lib.distill.objective import clip_of, objective_of
from pipeline_lib.settings.distillation import Distillation

ROWS_PER_THREAD = 50_000
"""With fewer rows a second thread waits more than it works. Models do not depend on the number of threads."""
ROUNDS_ARE_NOT_TREE_PARAMETERS = {"rounds", "probe_rounds", "patience"}


@dataclass(frozen=True)
class Built:
    """A finished student and its answers on the ``fidelity`` rows."""

    model: Model
    calibrator: Mapping[str, Any]
    raw: Reals
    """Before the calibrator, base score included."""
    served: Reals
    """After the calibrator."""


@dataclass(frozen=True)
class Workshop:
    """Everything that growing trees for one task needs."""

    frame: TaskFrame
    policy: Distillation
    threads: int

    def selection(self, distil: bool, mandatory: Mapping[str, str], absent: Mapping[str, str]) -> Selection:
        """Rank all columns by a probe student of the same objective, keep the useful and the mandatory ones."""
        chosen = self.policy.feature_selection
        gains = booster.gains(self._grow(self.frame, distil, probe=True))
        kept = columns.select(
            gains, cumulative=chosen.cumulative, least=chosen.min, most=chosen.max, mandatory=mandatory
        )
        total = sum(gains.values())
        return Selection(kept, sum(gains[c] for c in kept) / total if total > 0 else 0.0, absent)

    def build(self, frame: TaskFrame, distil: bool) -> Built:
        """Grow on ``fit`` and ``stop``, calibrate on ``calib``, answer the ``fidelity`` rows."""
        model = self._grow(frame, distil, probe=False)
        calib, judged = frame.parts["calib"], frame.parts["fidelity"]
        calibrator = fit_calibrator(frame, answer.raw_score(frame.kind, model, calib.x), calib, self.policy)
        raw = answer.raw_score(frame.kind, model, judged.x)
        return Built(model, calibrator, raw, answer.served(frame.kind, calibrator, raw))

    def _grow(self, frame: TaskFrame, distil: bool, probe: bool) -> Model:
        how = self._recipe(frame, distil, probe)
        fit, stop = frame.parts["fit"], None if probe else frame.parts["stop"]
        if distil:
            clip = self._clip(frame)
            objective = objective_of(frame.kind, self.policy.hard_weight, self.policy.temperature, clip)
            return booster.grow_distilled(how, objective, frame.columns, fit, stop)
        return booster.grow_direct(how, frame.kind, len(frame.classes), frame.columns, fit, stop)

    def _clip(self, frame: TaskFrame) -> float | None:
        sigmas, fit = self.policy.hard_clip.get(frame.task), frame.parts["fit"]
        return None if sigmas is None or frame.kind != "regression" else clip_of(fit.y, fit.teacher, sigmas)

    def _recipe(self, frame: TaskFrame, distil: bool, probe: bool) -> Recipe:
        trees, budget = self.policy.lgbm_of(frame.task), self.policy.budget
        cap = (
            budget.leaf_caps.get(frame.task, budget.leaf_cap)
            if distil
            else budget.twin_leaf_caps.get(frame.task, budget.twin_leaf_cap)
        )
        per_round = max(1, len(frame.classes)) if frame.kind == "multiclass" else 1
        return booster.recipe(
            trees=trees.model_dump(exclude=ROUNDS_ARE_NOT_TREE_PARAMETERS),
            rounds=trees.probe_rounds if probe else trees.rounds,
            patience=trees.patience,
            leaf_cap=trees.probe_rounds * trees.num_leaves * per_round if probe else cap,
            classes=per_round,
            seed=metrics.seed_of(frame.task, self.policy.seed) % 2**31,
            threads=max(1, min(self.threads, len(frame.parts["fit"]) // ROWS_PER_THREAD)),
        )


def with_columns(frame: TaskFrame, kept: tuple[str, ...]) -> TaskFrame:
    """The same rows with fewer columns."""
    at = [frame.columns.index(name) for name in kept]
    parts = {
        name: replace(rows, x=rows.x[:, at].copy()) if rows.x.shape[1] else rows for name, rows in frame.parts.items()
    }
    return replace(frame, columns=kept, parts=parts)


def fit_calibrator(frame: TaskFrame, raw: Reals, calib: Rows, settings: Distillation) -> dict[str, Any]:
    """The calibrator the policy names for this task; ``none`` for tasks in no list."""
    policy = settings.calibration
    if frame.kind == "binary" and frame.task in policy.tasks:
        seed = metrics.seed_of(f"{frame.task}|isotonic", settings.seed)
        return isotonic.better(raw, calib, policy.isotonic, seed) or calibration.fit_binary(raw, calib.y)
    if frame.kind == "multiclass" and frame.task in policy.ovr_tasks:
        return calibration.fit_one_vs_rest(
            answer.served(frame.kind, calibration.NONE, raw), calib.y, policy.min_class_rows
        )
    if frame.kind == "regression" and frame.task in policy.linear_tasks:
        return calibration.fit_linear(raw, calib.y)
    return dict(calibration.NONE)
