"""Scores that only a leak explains: judged when teacher and students are trained, before anybody compares them.

A rule over plain values each, as in the other checks; this file reads the values. Source: data.md L12, L30.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import polars as pl

from pipeline_lib.contracts import leakage
from pipeline_lib.contracts.leakage import Coverage, Results, Score
from pipeline_lib.features import leak_plots
from pipeline_lib.features.check import publish
from pipeline_lib.features.leak_inputs import KEYS
from pipeline_lib.records import Finding
from pipeline_lib.runs import RunContext, StageOutput
from pipeline_lib.settings import Settings

METRIC = {"binary": "auc", "multiclass": "macro_f1", "regression": "r2"}
STUDENT = {"auc": "auc_student", "macro_f1": "f1_student", "r2": "r2_student"}
TEACHER_PART, STUDENT_PART = ("split", "val"), ("part", "fidelity")


def check_scores(ctx: RunContext) -> StageOutput:
    """Judge the scores of teacher and students.

    Raises:
        LeakageError: a score exceeds what the law of a generated bank allows; the stage has no manifest then.
    """
    labels, teacher, distilled = (ctx.read(stage) for stage in ("labels", "teacher", "distill"))

    def judge() -> tuple[Coverage, list[Finding]]:
        scores = tuple(_scores(ctx.settings, labels, teacher, distilled))
        results = Results(scores, oracle_of(ctx.settings))
        return leakage.judge_scores(f"{ctx.dataset} {ctx.logical_date} scores", results, ctx.settings.leakage)

    return publish(ctx, "check_scores", judge, [labels, teacher, distilled], leak_plots.of_scores)


def oracle_of(settings: Settings) -> dict[str, float]:
    """Task -> AUC of a model that knows the latent traits; stated for the benchmark rates of a generated bank."""
    source = settings.source
    if source.generator is None or source.params.get("rates") != "benchmark":
        return {}
    bands = settings.realism.bands.get(str(source.params.get("preset")), {})
    return {task: band.oracle for task, band in bands.items() if band.oracle is not None}


def _scores(settings: Settings, labels: StageOutput, teacher: StageOutput, distilled: StageOutput) -> Iterator[Score]:
    metrics = json.loads(teacher.path("metrics.json").read_bytes())["tasks"]
    fidelity = json.loads(distilled.path("fidelity.json").read_bytes())["tasks"]
    counts = {place: _positives(labels, *place) for place in (TEACHER_PART, STUDENT_PART)}
    for task, spec in settings.tasks.tasks.items():
        metric = METRIC[spec.kind]
        found = {
            ("teacher", TEACHER_PART): metrics.get(task, {}).get("val", {}).get(metric),
            ("student", STUDENT_PART): fidelity.get(task, {}).get("metrics", {}).get(STUDENT[metric]),
        }
        for (model, place), value in found.items():
            if value is not None:
                positives, negatives = counts[place].get(task, (0, 0))
                yield Score(model, task, metric, float(value), positives, negatives)


def _positives(labels: StageOutput, column: str, wanted: str) -> Mapping[str, tuple[int, int]]:
    """Binary task -> rows with and without the event among the rows of a split or part."""
    rows = pl.read_parquet(labels.path("split_assignment.parquet")).filter(pl.col(column) == wanted)
    table = pl.read_parquet(labels.path("label_table.parquet")).join(rows.select(KEYS), on=KEYS, how="semi")
    facts: Mapping[str, Any] = labels.facts["tasks"]
    binary = [name for name, fact in facts.items() if fact["kind"] == "binary" and name in table.columns]
    return {name: (int((table[name] == 1).sum()), int((table[name] == 0).sum())) for name in binary}
