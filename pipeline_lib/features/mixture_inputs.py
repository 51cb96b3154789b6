"""What gmm_clustering clusters: 40 continuous columns of other groups, standardised on train.

A column that the source lacks is left out and the list of those used is part of the fit; nothing is put in its
place. Source: features.md 6.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline_lib.features.columns import Floats, Values, ratio
from pipeline_lib.features.generator import Arrays, GroupUnavailable, packed, unpacked
from pipeline_lib.features.heavy_tails import heavy_tailed
from pipeline_lib.settings.feature_groups.assembly import HeavyTails
from pipeline_lib.settings.feature_groups.mixture import Mixture

AFTER = (
    "demographics", "txn_behavior", "derived_temporal", "txn_rolling", "economics", "tda_long", "tda_short",
    "phase_transition",
)  # fmt: skip
_ROLLING = ("sum", "mean", "std", "count", "active_days")
PER_MONTH = {"total_acquisitions": "months_observed", "total_churns": "months_observed"}
"""Inputs that enter divided by another column."""
INPUTS = (
    "monthly_txns", "avg_amount", "monthly_spend", "unique_mcc", "unique_merchants", "ratio_morning",
    "ratio_afternoon", "ratio_evening", "recency_days", "frequency", "monetary", "stability", "refund_ratio",
    *(f"roll_{days}d_{name}" for days in (30, 90) for name in _ROLLING),
    "permanent_income_avg", "transitory_income_volatility", "income_elasticity", "spending_risk",
    *(f"tda_{window}_local_{dim}_entropy" for window in ("short", "long") for dim in ("h0", "h1")),
    "pt_total_topological_change", "spending_diversification",
    "age", "income",
    "num_products", "total_acquisitions", "total_churns", "product_diversity", "tenure_months",
)  # fmt: skip


def sources_of(names: Sequence[str]) -> list[str]:
    """Every column that is read for these inputs."""
    return [*names, *sorted({PER_MONTH[name] for name in names if name in PER_MONTH})]


def fit_inputs(made: Values, own: Mixture, heavy: HeavyTails) -> Arrays:
    """Names, log flags, means and standard deviations [D] of the inputs that exist and are continuous on train.

    Raises:
        GroupUnavailable: fewer than ``own.min_inputs`` of them.
    """
    there = [name for name in INPUTS if all(source in made for source in sources_of([name]))]
    values = {name: column for name in there if _distinct(column := _input(made, name)) >= own.min_distinct}
    if len(values) < own.min_inputs:
        raise GroupUnavailable(
            f"{len(values)} of {len(INPUTS)} inputs exist and are continuous on train ({', '.join(values) or 'none'}), "
            f"expected at least {own.min_inputs}"
        )
    logged = np.array([heavy_tailed(column, heavy) for column in values.values()])
    x = _logged(np.stack(list(values.values()), axis=1), logged)
    return {"inputs": packed(list(values)), "logged": logged, "mean": np.nanmean(x, axis=0), "sd": np.nanstd(x, axis=0)}


def standardised(made: Values, learnt: Arrays, own: Mixture) -> tuple[Floats, Floats]:
    """z-scores, clipped, the train mean where a value is not defined [R, D], and the share of such values [R]."""
    raw = np.stack([_input(made, name) for name in unpacked(learnt["inputs"])], axis=1)
    z = np.clip((_logged(raw, learnt["logged"]) - learnt["mean"]) / learnt["sd"], -own.clip_z, own.clip_z)
    return np.nan_to_num(z, nan=0.0), np.isnan(raw).mean(axis=1)


def _input(made: Values, name: str) -> Floats:
    return ratio(made[name], made[PER_MONTH[name]]) if name in PER_MONTH else made[name]


def _logged(x: Floats, logged: Floats) -> Floats:
    """ln1p of the columns whose flag is set; below 0, where train never was, they count as 0."""
    return np.where(logged, np.log1p(np.maximum(x, 0.0)), x)


def _distinct(values: Floats) -> int:
    return len(np.unique(values[~np.isnan(values)]))
