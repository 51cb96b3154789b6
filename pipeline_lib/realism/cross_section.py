"""One month of two banks side by side: distributions and dependence of the profile."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl
from scipy import stats

from pipeline_lib.realism.panel import CATEGORICAL, NUMERIC, PREFIX, Floats, Panel
from pipeline_lib.realism.rows import Row, judged, unknown
from pipeline_lib.settings.realism import Realism

MIN_ROWS = 30


def cross_section(a: Panel, b: Panel, policy: Realism) -> list[Row]:
    """Marginals (KS, total variation) and dependence (Spearman, Cramer's V) of the newest profile of each customer."""
    subject = f"{a.name} / {b.name}"
    rng = np.random.default_rng(policy.seed)
    rows = _marginals(a.profile, b.profile, subject, policy)
    return rows + _dependence(a.profile, b.profile, subject, policy, rng)


def _marginals(a: pl.DataFrame, b: pl.DataFrame, subject: str, policy: Realism) -> list[Row]:
    distances = {
        name: float(stats.ks_2samp(*_both(a, b, name), method="asymp").statistic) for name in _shared_numeric(a, b)
    }
    distances |= {name: total_variation(a[name], b[name]) for name in _shared_categorical(a, b)}
    if not distances:
        return [unknown("marginals", "distance", subject, "no column is known in both banks")]
    listed = ", ".join(f"{name} {value:.3f}" for name, value in sorted(distances.items(), key=lambda kv: -kv[1])[:5])
    values = list(distances.values())
    limits = policy.limits
    return [
        judged("marginals", "mean distance", subject, float(np.mean(values)), limits["marginal_mean"]),
        judged("marginals", "largest distance", subject, max(values), limits["marginal_max"], note=listed),
    ]


def total_variation(a: pl.Series, b: pl.Series) -> float:
    """Half the sum of absolute differences of the shares [0, 1]; nulls are a value of their own."""
    shares = [s.cast(pl.String).fill_null("(null)").value_counts(normalize=True, name="share") for s in (a, b)]
    both = shares[0].join(shares[1], on=a.name, how="full", coalesce=True).fill_null(0.0)
    return float((both["share"] - both["share_right"]).abs().sum()) / 2


def _dependence(a: pl.DataFrame, b: pl.DataFrame, subject: str, policy: Realism, rng: np.random.Generator) -> list[Row]:
    numeric, categorical = _shared_numeric(a, b), _shared_categorical(a, b)
    if len(numeric) < 2:
        return [unknown("dependence", "Spearman", subject, "fewer than two numbers are known in both banks")]
    differences = np.abs(spearman(a, numeric) - spearman(b, numeric))[np.triu_indices(len(numeric), 1)]
    if len(categorical) > 1:
        pairs = [(x, y) for i, x in enumerate(categorical) for y in categorical[i + 1 :]]
        associated = [abs(cramers_v(a, x, y) - cramers_v(b, x, y)) for x, y in pairs]
        differences = np.concatenate([differences, associated])
    interval = interval_of(lambda i, j: _mean_spearman(a[i], b[j], numeric), len(a), len(b), policy.bootstraps, rng)
    limits = policy.limits
    return [
        judged(
            "dependence", "mean difference", subject, float(differences.mean()), limits["dependence_mean"], interval
        ),
        judged("dependence", "largest difference", subject, float(differences.max()), limits["dependence_max"]),
    ]


def spearman(frame: pl.DataFrame, columns: list[str]) -> Floats:
    """Rank correlations [F, F] on the rows where both are known."""
    out = np.eye(len(columns))
    for i, x in enumerate(columns):
        for j in range(i):
            known = frame.select(x, columns[j]).drop_nulls().to_numpy().astype(np.float64)
            constant = len(known) < MIN_ROWS or bool((known.std(axis=0) == 0).any())
            out[i, j] = out[j, i] = 0.0 if constant else stats.spearmanr(known).statistic
    return out


def cramers_v(frame: pl.DataFrame, x: str, y: str) -> float:
    """Cramer's V of two categorical columns [0, 1]; 0 when one of them is constant."""
    table = frame.select(pl.col(x, y).cast(pl.String)).drop_nulls().group_by(x, y).len()
    wide = table.pivot(on=y, index=x, values="len").drop(x).fill_null(0).to_numpy()
    if min(wide.shape, default=0) < 2:
        return 0.0
    return float(stats.contingency.association(wide, method="cramer"))


def interval_of(
    statistic: Callable[[list[int], list[int]], float], n_a: int, n_b: int, times: int, rng: np.random.Generator
) -> tuple[float, float]:
    """95 % percentile interval of a statistic of resampled rows of both banks."""
    drawn = [statistic(list(rng.integers(0, n_a, n_a)), list(rng.integers(0, n_b, n_b))) for _ in range(times)]
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    return float(low), float(high)


def _mean_spearman(a: pl.DataFrame, b: pl.DataFrame, numeric: list[str]) -> float:
    return float(np.abs(spearman(a, numeric) - spearman(b, numeric))[np.triu_indices(len(numeric), 1)].mean())


def _both(a: pl.DataFrame, b: pl.DataFrame, name: str) -> tuple[Floats, Floats]:
    x, y = (frame[name].drop_nulls().to_numpy().astype(np.float64) for frame in (a, b))
    return x, y


def _shared_numeric(a: pl.DataFrame, b: pl.DataFrame) -> list[str]:
    return [name for name in NUMERIC if all(frame[name].drop_nulls().len() >= MIN_ROWS for frame in (a, b))]


def _shared_categorical(a: pl.DataFrame, b: pl.DataFrame) -> list[str]:
    flags = [name for name in a.columns if name.startswith(PREFIX) and name in b.columns]
    profile = [name for name in CATEGORICAL if all(frame[name].drop_nulls().len() >= MIN_ROWS for frame in (a, b))]
    return profile + flags
