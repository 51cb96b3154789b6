"""Differences between scenarios: paired by seed and by customer, with the wider of two intervals, against a floor.

    d_s      = metric(scenario, seed s) - metric(reference, seed s)
    (i)      mean d  +-  t_{S-1} sd(d) / sqrt(S)
    (ii)     resample seeds, then customers within them; the same customers for both; percentiles of the mean
    real     0 outside the wider interval, Holm-adjusted p < 1 - level, and |mean d| > factor x sd of the floor

Source: teacher.md section 19; Holm, "A simple sequentially rejective multiple test procedure", 1979.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from pipeline_lib.teacher.ablation.judged import TaskAnswers, headline

Reals = NDArray[np.floating]
_CHUNK = 200  # resamples held at once: memory is this times the judged rows


@dataclass(frozen=True)
class Measured:
    """A scenario's metrics by seed: the ``point`` on all judged rows, and ``resampled`` (R,) over customers."""

    point: Mapping[int, Mapping[str, float]]
    resampled: Mapping[int, Mapping[str, Reals]]

    def spread(self, metric: str) -> float | None:
        """Standard deviation over seeds. None with fewer than two."""
        found = [values[metric] for values in self.point.values()]
        return float(np.std(found, ddof=1)) if len(found) > 1 else None


@dataclass(frozen=True)
class Effect:
    """``low`` and ``high`` are the wider interval; None where one seed allows none."""

    scenario: str
    against: str
    metric: str
    seeds: int
    mean: float
    low: float | None
    high: float | None
    t_interval: tuple[float, float] | None
    customer_interval: tuple[float, float]
    p: float
    p_holm: float
    floor: float | None
    verdict: str
    """better, worse, null (an interval that holds 0, or below the floor), unjudged, or not concluded."""


class Customers:
    """The same resamples of customers for every run that was judged on the same rows."""

    def __init__(self, resamples: int, seed: int) -> None:
        self._resamples, self._seed = resamples, seed
        self._kept: tuple[bytes, NDArray[np.uint8]] | None = None

    def measure(
        self, customers: NDArray[np.int64], tasks: Sequence[TaskAnswers], left_out: str
    ) -> tuple[dict[str, float], dict[str, Reals]]:
        """Metrics on all rows, and on every resample (R,). ``customers`` (n,) of the rows."""
        once = headline(tasks, np.ones((1, len(customers))), left_out)
        times = self._times(customers)
        parts = [
            headline(tasks, times[start : start + _CHUNK].astype(np.float32), left_out)
            for start in range(0, self._resamples, _CHUNK)
        ]
        point = {name: float(value[0]) for name, value in once.items()}
        return point, {name: np.concatenate([part[name] for part in parts]) for name in point}

    def _times(self, customers: NDArray[np.int64]) -> NDArray[np.uint8]:
        """How often each row is drawn in each resample: as often as its customer. (R, n)."""
        key = customers.tobytes()
        if self._kept is None or self._kept[0] != key:
            names, owner = np.unique(customers, return_inverse=True)
            rng, n = np.random.default_rng(self._seed), len(names)
            drawn = (np.bincount(rng.integers(n, size=n), minlength=n) for _ in range(self._resamples))
            self._kept = key, np.stack([times[owner].astype(np.uint8) for times in drawn])
        return self._kept[1]


def effect(
    name: str,
    scenario: Measured,
    against: str,
    reference: Measured,
    metric: str,
    level: float,
    rng: np.random.Generator,
) -> Effect:
    """Of a scenario over the seeds both have; Holm and the floor come later."""
    seeds = sorted(set(scenario.point) & set(reference.point))
    d = np.array([scenario.point[s][metric] - reference.point[s][metric] for s in seeds])
    by_customer = np.stack([scenario.resampled[s][metric] - reference.resampled[s][metric] for s in seeds])  # (S, R)
    drawn = rng.integers(len(seeds), size=(len(seeds), by_customer.shape[1]))  # seeds of every resample
    boot = np.take_along_axis(by_customer, drawn, axis=0).mean(0)
    boot = boot[~np.isnan(boot)]
    tail = 100 * (1 - level) / 2
    low, high = np.percentile(boot, [tail, 100 - tail]) if len(boot) else (np.nan, np.nan)
    p_boot = 2 * min((np.sum(boot <= 0) + 1) / (len(boot) + 1), (np.sum(boot >= 0) + 1) / (len(boot) + 1))
    t_interval, p_t = _student(d, level)
    wider: tuple[float | None, float | None] = (None, None)
    if t_interval:
        wider = max((t_interval, (float(low), float(high))), key=lambda ends: ends[1] - ends[0])
    p = float(min(1.0, max(p_boot, p_t)))
    return Effect(name, against, metric, len(seeds), float(d.mean()), *wider, t_interval, (float(low), float(high)),
                  p, p, None, "unjudged")  # fmt: skip


def judge(effects: Sequence[Effect], floors: Mapping[str, float | None], level: float, factor: float) -> list[Effect]:
    """Holm over the effects of one metric in one family, then the verdicts."""
    found: list[Effect] = []
    for metric in dict.fromkeys(e.metric for e in effects):
        own = [e for e in effects if e.metric == metric]
        adjusted = holm([e.p for e in own])
        found += [
            replace(e, p_holm=p, floor=floors[metric], verdict=_verdict(e, p, floors[metric], level, factor))
            for e, p in zip(own, adjusted, strict=True)
        ]
    return found


def holm(p: Sequence[float]) -> list[float]:
    """Adjusted p-values in the given order."""
    order = np.argsort(p, kind="stable")
    steps = np.maximum.accumulate([(len(p) - i) * p[k] for i, k in enumerate(order)])
    out = np.empty(len(p))
    out[order] = np.minimum(steps, 1.0)
    return [float(v) for v in out]


def _student(d: Reals, level: float) -> tuple[tuple[float, float] | None, float]:
    """Interval and two-sided p of the mean of paired differences. None and 1 with fewer than two seeds."""
    if len(d) < 2:
        return None, 1.0
    error = float(d.std(ddof=1)) / np.sqrt(len(d))
    reach = float(stats.t.ppf(0.5 + level / 2, len(d) - 1)) * error
    if error == 0:
        return (float(d.mean()), float(d.mean())), 1.0 if d.mean() == 0 else 0.0
    p = 2 * float(stats.t.sf(abs(d.mean()) / error, len(d) - 1))
    return (float(d.mean()) - reach, float(d.mean()) + reach), p


def _verdict(e: Effect, p_holm: float, floor: float | None, level: float, factor: float) -> str:
    if e.low is None or e.high is None or floor is None or np.isnan(e.mean):
        return "unjudged"
    real = (e.low > 0 or e.high < 0) and p_holm < 1 - level and abs(e.mean) > factor * floor
    return ("better" if e.mean > 0 else "worse") if real else "null"
