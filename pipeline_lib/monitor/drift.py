"""Drift of served scores against the scores the champion was judged on (PSI per task), and of served features.

Rules' answers have no model that could drift and are left out on both sides. Source: monitoring.md 3.
"""

from __future__ import annotations

import numpy as np

from pipeline_lib.contracts.population import histogram, psi, quantile_edges
from pipeline_lib.monitor import baseline, feature_drift, reading, served
from pipeline_lib.monitor.reading import Reading
from pipeline_lib.monitor.statistics import Array
from pipeline_lib.settings import Settings
from pipeline_lib.settings.monitoring import Drift

SERVICE, EVENT = "drift_monitor", "drift_window"


def nightly(settings: Settings) -> list[dict[str, object]]:
    """Read, record and return tonight's drift readings."""
    window, base = served.window(settings), baseline.of_champion(settings)
    answers = [answer for answer in window.answers if answer.version == base.version]
    readings = [
        read(task, scores, np.array([a.scores[task] for a in answers if task in a.scores]), settings.monitoring.drift)
        for task, scores in base.scores.items()
    ]
    if not readings:
        why = base.why_not or f"no task of {base.version} has a model"
        readings = [Reading("drift", "all tasks", "psi", None, "UNKNOWN", len(answers), why)]
    moved = feature_drift.of_champion(settings)
    readings.append(feature_drift.reading(settings, SERVICE, base.version, moved, window.end))
    about = {
        "model_version": base.version,
        "baseline_id": base.bundle_digest,
        "features": moved.summary(settings.monitoring.drift),
    }
    return reading.record(settings, SERVICE, EVENT, window, readings, about)


def read(task: str, base: Array, current: Array, limits: Drift) -> Reading:
    """PSI of one task's scores on baseline-quantile bins."""
    n = min(len(base), len(current))
    if n < limits.min_rows:
        cause = f"{len(current)} served and {len(base)} baseline scores, {limits.min_rows} of each are needed"
        return Reading("drift", task, "psi", None, "UNKNOWN", n, cause)
    edges = quantile_edges(base, limits.bins)
    value = psi(histogram(base, edges), histogram(current, edges), limits.floor)
    if value >= limits.fail_psi:
        return Reading("drift", task, "psi", value, "FAIL", n, f"psi {value:.4f} >= {limits.fail_psi}")
    if value >= limits.warn_psi:
        return Reading("drift", task, "psi", value, "WARN", n, f"psi {value:.4f} >= {limits.warn_psi}")
    return Reading("drift", task, "psi", value, "OK", n)
