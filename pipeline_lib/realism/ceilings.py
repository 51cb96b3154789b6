"""How hard the synthetic bank is: what raw observables reach on each task, and what anybody could reach.

The observed and the oracle ceiling are measured on the ground truth of the same bank: the observed part of the
event's index, and observed and latent part together. Source: data.md 8.6.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl
from sklearn.metrics import accuracy_score, roc_auc_score
from sklearn.tree import DecisionTreeClassifier

from pipeline_lib.realism.rows import Row, judged, unknown
from pipeline_lib.realism.scores import METRIC, Floats, Sample, grow, sample_of, score
from pipeline_lib.runs import StageOutput
from pipeline_lib.settings.realism import Band, Limit, Realism
from pipeline_lib.settings.tasks import Kind

INDEX_OF = {"churn_signal": "churn"}
PREFIX = "will_acquire_"
JUDGED = ("test",)
RULE_DEPTH = 3
MIN_ROWS = 100
PERMUTATIONS = 6


def ceilings(
    name: str,
    preset: str,
    features: StageOutput,
    labels: StageOutput,
    truth: pl.DataFrame,
    tasks: Mapping[str, Kind],
    policy: Realism,
    seeds: Sequence[int],
) -> list[Row]:
    """One row per task with a band, and the rows about hidden rules of the binary ones.

    Args:
        truth: customer_key, cutoff_date (the month before the event's month) and the columns of the ground truth:
            persona, ``obs_<index>``, ``signal_<index>``.
    """
    rows: list[Row] = []
    for task, band in policy.bands.get(preset, {}).items():
        kind = tasks[task]
        if METRIC[kind] != band.metric:
            raise ValueError(f"realism.yaml: {task} is {kind}, judged by {METRIC[kind]}, found {band.metric}")
        sample = sample_of(features, labels, task)
        rows += _task(f"{name} ({preset})", task, kind, band, sample, truth, policy, seeds)
    return rows


def persona_row(name: str, features: StageOutput, labels: StageOutput, truth: pl.DataFrame, policy: Realism) -> Row:
    """How well observables tell the persona: beyond the limit the generator is a set of types, not of people."""
    sample = sample_of(features, labels, "product_stability")
    at = sample.keys.join(truth, on=["customer_key", "cutoff_date"], how="left", maintain_order="left")
    known = at["persona"].cast(pl.Categorical).to_physical().cast(pl.Float64).to_numpy()
    personas = Sample(sample.x, known, sample.split, sample.keys)
    model = grow(personas, "multiclass", policy.seed)
    x, y = personas.part(*JUDGED)
    accuracy = float(accuracy_score(y, np.asarray(model.predict(x)).argmax(axis=1)))
    return judged("hidden rule", "observables to persona, accuracy", name, accuracy, policy.limits["persona_accuracy"])


def _task(
    subject: str,
    task: str,
    kind: Kind,
    band: Band,
    sample: Sample,
    truth: pl.DataFrame,
    policy: Realism,
    seeds: Sequence[int],
) -> list[Row]:
    few = min(int((sample.split == split).sum()) for split in ("train", "val", *JUDGED))
    if few < MIN_ROWS:
        return [unknown("difficulty", task, subject, f"{few} labelled rows in a split, expected {MIN_ROWS}")]
    reached = [score(grow(sample, kind, seed), *sample.part(*JUDGED), kind) for seed in seeds]
    values = [value for value in reached if value is not None]
    if not values:
        return [unknown("difficulty", task, subject, "the test rows carry one class only")]
    spread = (min(values), max(values))
    mean = float(np.mean(values))
    found = {} if band.observed is None else _true_ceilings(task, sample, truth)
    if not found:
        limit = Limit(low=band.low, high=band.high)
        return [judged("difficulty", f"{task} {band.metric}", subject, mean, limit, spread, f"{len(values)} seeds")]
    observed, oracle = found["obs"], found["signal"]
    limit = Limit(low=observed - policy.slack, high=oracle, fail_above=oracle + policy.over)
    stated = f"observed {observed:.3f} (stated {band.observed}), oracle {oracle:.3f} (stated {band.oracle})"
    note = f"{len(values)} seeds; measured ceilings: {stated}"
    rows = [judged("difficulty", f"{task} auc", subject, mean, limit, spread, note)]
    return rows + _rules(task, subject, sample, truth, observed, policy)


def _true_ceilings(task: str, sample: Sample, truth: pl.DataFrame) -> dict[str, float]:
    """AUC of the observed and of the whole signal of the task's index on the test rows."""
    index = INDEX_OF.get(task, task.removeprefix(PREFIX))
    if f"signal_{index}" not in truth.columns:
        return {}
    at = sample.keys.join(truth, on=["customer_key", "cutoff_date"], how="left", maintain_order="left")
    judged_rows = np.isin(sample.split, JUDGED)
    return {
        part: float(roc_auc_score(sample.y[judged_rows], at[f"{part}_{index}"].to_numpy()[judged_rows]))
        for part in ("obs", "signal")
    }


def _rules(task: str, subject: str, sample: Sample, truth: pl.DataFrame, observed: float, policy: Realism) -> list[Row]:
    """No short rule and no persona may give the label away; labels permuted must give nothing."""
    (x, y), (x_test, y_test) = sample.part("train"), sample.part(*JUDGED)
    tree = DecisionTreeClassifier(max_depth=RULE_DEPTH, random_state=policy.seed).fit(np.nan_to_num(x, nan=-1.0), y)
    rule = float(roc_auc_score(y_test, tree.predict_proba(np.nan_to_num(x_test, nan=-1.0))[:, 1]))
    at = sample.keys.join(truth, on=["customer_key", "cutoff_date"], how="left", maintain_order="left")
    persona = at["persona"].cast(pl.Categorical).to_physical().to_numpy().astype(int)
    permuted = [_permuted(sample, seed) for seed in range(policy.seed, policy.seed + PERMUTATIONS)]
    middle = float(np.mean([value for value in permuted if value is not None]))
    limits = policy.limits
    return [
        judged(
            "hidden rule", f"depth-{RULE_DEPTH} tree to {task}, AUC", subject, rule, Limit(high=observed + policy.over)
        ),
        judged("hidden rule", f"persona to {task}, AUC", subject, _persona_auc(persona, sample), limits["persona_auc"]),
        judged("hidden rule", f"permuted {task}, AUC", subject, middle, limits["permuted_auc"]),
    ]


def _permuted(sample: Sample, seed: int) -> float | None:
    """AUC on test of a booster grown on shuffled labels."""
    y = np.random.default_rng(seed).permutation(sample.y)
    mixed = Sample(sample.x, y, sample.split, sample.keys)
    return score(grow(mixed, "binary", seed), *mixed.part(*JUDGED), "binary")


def _persona_auc(persona: Floats, sample: Sample) -> float:
    """AUC of the persona's own rate, learnt on train rows."""
    train, test = sample.split == "train", np.isin(sample.split, JUDGED)
    size = int(persona.max()) + 1
    rate = np.bincount(persona[train], weights=sample.y[train], minlength=size) / np.maximum(
        np.bincount(persona[train], minlength=size), 1
    )
    return float(roc_auc_score(sample.y[test], rate[persona[test]]))
