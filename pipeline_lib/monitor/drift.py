"""Drift of served scores against the scores the champion was judged on (PSI per task)."""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl

from pipeline_lib.errors import ObjectMissing
from pipeline_lib.keys import KeyFolder
from pipeline_lib.monitor import reading, served
from pipeline_lib.monitor.reading import Reading
from pipeline_lib.monitor.statistics import Array, histogram, psi, quantile_edges
from pipeline_lib.registry import pointer
from pipeline_lib.runs import RunContext
from pipeline_lib.settings import Settings
from pipeline_lib.settings.monitoring import Drift

SERVICE = "drift_monitor"


def nightly(settings: Settings) -> list[dict[str, object]]:
    """Read, record and return tonight's drift readings."""
    start, answers = served.window(settings)
    baseline, why = champion_scores(settings)
    current = {task: [a.scores[task] for a in answers if task in a.scores] for task in baseline}
    readings = [read(task, baseline[task], np.asarray(current[task]), settings.monitoring.drift) for task in baseline]
    if not readings:
        readings = [Reading("drift", "all tasks", "psi", None, "UNKNOWN", len(answers), why)]
    rows = [one.to_dict() for one in readings]
    reading.record(settings, SERVICE, "drift_window", start, rows)
    return rows


def read(task: str, baseline: Array, current: Array, limits: Drift) -> Reading:
    """PSI of one task's scores on baseline-quantile bins."""
    n = min(len(baseline), len(current))
    if n < limits.min_rows:
        cause = f"{len(current)} served and {len(baseline)} baseline scores, {limits.min_rows} of each are needed"
        return Reading("drift", task, "psi", None, "UNKNOWN", n, cause)
    edges = quantile_edges(baseline, limits.bins)
    value = psi(histogram(baseline, edges), histogram(current, edges), limits.floor)
    if value >= limits.fail_psi:
        return Reading("drift", task, "psi", value, "FAIL", n, f"psi {value:.4f} >= {limits.fail_psi}")
    if value >= limits.warn_psi:
        return Reading("drift", task, "psi", value, "WARN", n, f"psi {value:.4f} >= {limits.warn_psi}")
    return Reading("drift", task, "psi", value, "OK", n)


def champion_scores(settings: Settings) -> tuple[dict[str, Array], str]:
    """Task -> scores of the champion when it was judged; empty, and why, when there are none."""
    here = RunContext.open(settings, date.min)
    champion = pointer.read(here.objects, KeyFolder(settings.place.keys))
    if champion is None:
        return {}, "nothing is served yet"
    day = champion.version[1:9]
    run = RunContext.open(settings, date(int(day[:4]), int(day[4:6]), int(day[6:])))
    try:
        frame = pl.read_parquet(run.read("score").path("challenger.parquet"))
    except ObjectMissing:
        return {}, f"the run that made {champion.version} has no scores here"
    single = [name for name in frame.columns if name.startswith("s_") and not name.rsplit("_", 1)[-1].isdigit()]
    return {name.removeprefix("s_"): frame[name].drop_nulls().drop_nans().to_numpy() for name in single}, ""
