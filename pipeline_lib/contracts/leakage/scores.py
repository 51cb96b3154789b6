"""Results that are too good, or too different from what was declared, to be honest (L12, L24, L30).

Rules over plain values: whoever has the scores calls them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import sqrt

from pipeline_lib.contracts.leakage.text import finding, number
from pipeline_lib.records import Finding
from pipeline_lib.settings.leakage import Leakage

METRICS = {"auc": "max_auc", "macro_f1": "max_f1", "r2": "max_r2"}
REPLICATION = ("replication", "echo")


@dataclass(frozen=True)
class Score:
    """One model's score for one task on held-out rows."""

    model: str
    task: str
    metric: str
    """auc, macro_f1 or r2."""
    value: float
    positives: int = 0
    """Of a binary task; 0 when not known."""
    negatives: int = 0


@dataclass(frozen=True)
class Results:
    """What a run's models achieved, and what its generator promises."""

    scores: tuple[Score, ...]
    oracle: Mapping[str, float]
    """Task -> AUC of a model that knows the latent traits; empty for a real source."""
    fidelity: tuple[Mapping[str, object], ...] = ()
    """Rows of ``fidelity_report.json``: family, metric, value, limit, verdict."""


def too_good(results: Results, limits: Leakage) -> Iterator[Finding]:
    """L12: no AUC, macro F1 or R2 is as high as only a leak makes it."""
    for score in results.scores:
        limit = getattr(limits.scores, METRICS[score.metric])
        if score.value >= limit:
            message = "too good to be true: look at the strongest inputs before anybody uses this model"
            yield finding(
                "L12", score.model, f"validation {score.metric}", score.value, limit, message,
                label=score.task, verdict="WARN",
            )  # fmt: skip


def above_the_oracle(results: Results, limits: Leakage) -> Iterator[Finding]:
    """L12: on a generated bank no AUC exceeds that of a model which knows the latent traits, beyond chance."""
    own, oracle = limits.scores, results.oracle
    for score in results.scores:
        if score.metric != "auc" or score.task not in oracle:
            continue
        excess = score.value - oracle[score.task]
        limit = max(own.above_oracle, own.noise_z * _error(score))
        if excess > limit:
            message = f"the law of this bank allows {number(oracle[score.task])}: the rest is a leak"
            yield finding("L12", score.model, "AUC above the oracle", excess, limit, message, label=score.task)


def rates_as_declared(
    measured: Mapping[str, float], declared: Mapping[str, float], limits: Leakage
) -> Iterator[Finding]:
    """L24: the rate of a label is the one that the generator declares."""
    limit = limits.tables.warn_rate_drift
    for task, expected in declared.items():
        if task not in measured or not expected:
            continue
        drift = abs(measured[task] - expected) / expected
        if drift > limit:
            message = f"measured {number(measured[task])}, declared {number(expected)}: noise or rates have drifted"
            yield finding("L24", "rate", "relative difference", drift, limit, message, label=task, verdict="WARN")


def echoes(results: Results, limits: Leakage) -> Iterator[Finding]:
    """L30: the generator's fidelity report shows neither copies of its source nor an echo of its own laws."""
    for row in results.fidelity:
        if str(row["family"]) in REPLICATION and str(row["verdict"]).lower() == "fail":
            message = "claims of training on synthetic and testing on real rest on an echo"
            value, limit = str(row["value"]), str(row["limit"])
            yield finding("L30", f"{row['family']}: {row['metric']}", "fidelity", value, limit, message, verdict="WARN")


def _error(score: Score) -> float:
    """Standard error of an AUC, the larger of both ends. Source: Hanley and McNeil, 1982, with Q1, Q2 at the value."""
    if not score.positives or not score.negatives:
        return 0.0
    a, p, n = score.value, score.positives, score.negatives
    q1, q2 = a / (2 - a), 2 * a * a / (1 + a)
    return sqrt(max(a * (1 - a) + (p - 1) * (q1 - a * a) + (n - 1) * (q2 - a * a), 0.0) / (p * n))
