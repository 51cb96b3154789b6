"""Scores that only a leak explains, and a generator that repeats its source."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pipeline_lib.contracts.leakage import Results, Score
from pipeline_lib.contracts.leakage.text import Verdict

TASK = "will_acquire_accounts"
HONEST = Results(
    scores=(
        Score("teacher", TASK, "auc", 0.71, 150, 2800),
        Score("student", "product_stability", "r2", 0.21),
        Score("student", "segment_prediction", "macro_f1", 0.52),
    ),
    oracle={TASK: 0.771},
    fidelity=({"family": "replication", "metric": "exact duplicates", "value": 0.0, "limit": "<= 0.001",
               "verdict": "PASS"},),
)  # fmt: skip


@dataclass(frozen=True)
class ScorePlant:
    """``statistic`` is the one the check must name."""

    name: str
    check: str
    statistic: str
    plant: Callable[[], Results]
    verdict: Verdict = "FAIL"


def above_the_oracle() -> Results:
    """Better than a model that knows the latent traits."""
    return Results((Score("teacher", TASK, "auc", 0.90, 400, 8000),), HONEST.oracle)


def too_good() -> Results:
    return Results((Score("student", "segment_prediction", "macro_f1", 0.98),), {})


def copies_of_the_source() -> Results:
    row = {"family": "replication", "metric": "exact duplicates", "value": 0.03, "limit": "<= 0.001"}
    return Results((), {}, ({**row, "verdict": "FAIL"},))


SCORE_PLANTS = (
    ScorePlant("better than the oracle", "L12", "AUC above the oracle", above_the_oracle),
    ScorePlant("too good to be true", "L12", "validation macro_f1", too_good, "WARN"),
    ScorePlant("generator repeats its source", "L30", "fidelity", copies_of_the_source, "WARN"),
)
