"""How far one model's scores are from another's on the same rows, task by task. Plain arrays in, no I/O.

Source: distillation.md 12. Compared by row key, never by position; what is undefined is None and raises no alert.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from math import inf
from typing import Any

import numpy as np
import polars as pl

from pipeline_lib.contracts.population import histogram, jsd, psi, quantile_edges
from pipeline_lib.monitor.statistics import Array, auc, mean_shift, rank_correlation
from pipeline_lib.registry.package import Package, PackagedTask
from pipeline_lib.settings.monitoring import Drift, Successive

KEYS = ["customer_key", "cutoff_date"]
STATISTICS = ("psi", "jsd", "auc_shift", "mean_shift", "rank_correlation")


@dataclass(frozen=True)
class Shift:
    """One task, the newer model against the older. Of several classes the worst; ``why``: nothing was compared."""

    rows: int
    """Rows that both models answered."""
    psi: float | None = None
    jsd: float | None = None
    """Divergence of the two distributions of scores [bit]."""
    auc_shift: float | None = None
    """Without sign, binary tasks only."""
    mean_shift: float | None = None
    """Without sign [probability; standard deviations of the older model's score if a regression]."""
    rank_correlation: float | None = None
    """Spearman's, of the two scores of a row."""
    why: str | None = None

    def to_dict(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if name != "why" or value is not None}


def compare(
    older: Package, newer: Package, before: pl.DataFrame, now: pl.DataFrame, labels: pl.DataFrame, bins: Drift
) -> dict[str, Shift]:
    """Every task of the newer version.

    Args:
        before, now: scores of the older and the newer version, ``s_<task>`` or ``s_<task>_<k>`` by row key.
        labels: the tasks' labels by row key; null = not known.
    """
    both = now.join(before, on=KEYS, how="inner", suffix="__before").join(labels, on=KEYS, how="left").sort(KEYS)
    return {name: _task(older.tasks.get(name), task, both, bins) for name, task in newer.tasks.items()}


def alerts(shifts: Mapping[str, Shift], against: str, limits: Successive) -> Iterator[dict[str, Any]]:
    """One alert for each statistic of each task that is beyond its limit: {against, task, statistic, value, limit}."""
    for task, shift in shifts.items():
        for name in STATISTICS:
            value, (low, high) = getattr(shift, name), bounds(name, limits)
            if value is not None and not low <= value <= high:
                limit = low if value < low else high
                yield {"against": against, "task": task, "statistic": name, "value": value, "limit": limit}


def bounds(statistic: str, limits: Successive) -> tuple[float, float]:
    """Between which values a statistic raises no alert, both included."""
    highest = {
        "psi": limits.max_psi,
        "jsd": limits.max_jsd,
        "auc_shift": limits.max_auc_shift,
        "mean_shift": limits.max_prediction_shift,
    }
    return (-inf, highest[statistic]) if statistic in highest else (limits.min_rank_correlation, inf)


def _task(older: PackagedTask | None, newer: PackagedTask, both: pl.DataFrame, bins: Drift) -> Shift:
    if why := _not_comparable(older, newer):
        return Shift(0, why=why)
    names = [f"s_{newer.name}_{k}" for k in range(len(newer.classes))] or [f"s_{newer.name}"]
    wanted = [*names, *(f"{name}__before" for name in names)]
    answered = both.with_columns(pl.col(wanted).fill_nan(None)).drop_nulls(wanted)
    if not answered.height:
        return Shift(0, why="no row was answered by both")
    pairs = [(_values(answered[f"{name}__before"]), _values(answered[name])) for name in names]
    one = [_scores(before, now, newer.kind, bins) for before, now in pairs]
    return Shift(
        rows=answered.height,
        psi=_worst(one, "psi", max),
        jsd=_worst(one, "jsd", max),
        auc_shift=_auc_shift(answered, newer, *pairs[0]),
        mean_shift=_worst(one, "mean_shift", max),
        rank_correlation=_worst(one, "rank_correlation", min),
    )


def _not_comparable(older: PackagedTask | None, newer: PackagedTask) -> str | None:
    if older is None:
        return "the older version has no such task"
    if (older.kind, older.classes) != (newer.kind, newer.classes):
        return "kind or classes differ"
    by_rules = [side for side, task in (("older", older), ("newer", newer)) if not task.has_model]
    return f"answered by rules in the {' and the '.join(by_rules)} version" if by_rules else None


def _scores(before: Array, now: Array, kind: str, bins: Drift) -> dict[str, float | None]:
    edges = quantile_edges(before, bins.bins)
    counted = histogram(before, edges), histogram(now, edges)
    return {
        "psi": psi(*counted, bins.floor),
        "jsd": jsd(*counted, bins.floor),
        "mean_shift": mean_shift(before, now, in_sd=kind == "regression"),
        "rank_correlation": rank_correlation(before, now),
    }


def _auc_shift(rows: pl.DataFrame, task: PackagedTask, before: Array, now: Array) -> float | None:
    """|AUC now - AUC before| on the labelled rows of a binary task."""
    if task.kind != "binary" or task.name not in rows.columns:
        return None
    known = rows[task.name].is_not_null().to_numpy()
    positive = (rows[task.name] == 1).fill_null(False).to_numpy()[known]
    old, new = auc(positive, before[known]), auc(positive, now[known])
    return None if old is None or new is None else abs(new - old)


def _worst(found: list[dict[str, float | None]], name: str, pick: Callable[[list[float]], float]) -> float | None:
    known = [value for one in found if (value := one[name]) is not None]
    return pick(known) if known else None


def _values(scores: pl.Series) -> Array:
    return np.asarray(scores.to_numpy(), dtype=np.float64)
