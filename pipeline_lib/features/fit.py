"""Everything that is learnt from data, learnt from train rows alone: ``split == "train"`` up to their cutoffs.

Source: features.md 3 (fit), data.md L09.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date

import numpy as np
import polars as pl

from pipeline_lib.errors import ContractError
from pipeline_lib.features.columns import EVENT, MERCHANT, SNAPSHOT, TIME_OF_DAY, event_type
from pipeline_lib.features.events import EventStore
from pipeline_lib.features.inputs import usable_categories
from pipeline_lib.features.material import Fitted, Material
from pipeline_lib.settings.features import Features

ENCODED = ("country", "channel", "province_id")


def fit(
    m: Material,
    store: EventStore,
    types: Mapping[str, Sequence[str]],
    unavailable: Mapping[str, str],
    policy: Features,
) -> Fitted:
    """Learn shares, cuts, vocabulary and scales from the train rows of ``m``.

    Raises:
        ContractError: there is no train row.
    """
    train = m.rows.filter(pl.col("split") == "train")["row_id"]
    if train.is_empty():
        raise ContractError("split_assignment has no row with split = train: nothing can be fitted")
    profile = m.profile.filter(pl.col("row_id").is_in(train.implode()))
    used = m.category_use.filter(pl.col("row_id").is_in(train.implode()))
    facts = store.facts()
    scale = store.channel_scale(policy.sequence.scale_quantile)
    return Fitted(
        shares={name: _shares(profile[name]) for name in ENCODED},
        income_cuts=_cuts(profile["income"], policy.income_levels),
        top_categories=_top(used, usable_categories(m.categories), policy.top_categories),
        edge_scale=_edge_scale(used),
        channel_scale={name: float(max(value or 0, 1)) for name, value in scale.items()},
        absent=_absent(unavailable, facts, types),
        max_event_date=_newest(facts),
    )


def _shares(values: pl.Series) -> dict[str, float]:
    counts = values.drop_nulls().cast(pl.String).value_counts().sort(values.name)
    total = int(counts["count"].sum())
    return {str(value): count / total for value, count in counts.iter_rows()}


def _cuts(income: pl.Series, levels: int) -> list[float]:
    """Inner quantiles that separate ``levels`` groups; equal ones collapse."""
    known = np.sort(income.drop_nulls().to_numpy())
    if not len(known):
        return []
    places = [int(len(known) * k / levels) for k in range(1, levels)]
    return sorted({float(known[place]) for place in places})


def _top(used: pl.DataFrame, known: pl.DataFrame, count: int) -> list[int]:
    """Most used categories of the recent window, ties by mcc_idx."""
    recent = used.join(known, on="mcc_idx").group_by("mcc_idx").agg(pl.col("n_recent").sum())
    ranked = recent.filter(pl.col("n_recent") > 0).sort(["n_recent", "mcc_idx"], descending=[True, False])
    return [int(idx) for idx in ranked["mcc_idx"][:count]]


def _edge_scale(used: pl.DataFrame) -> float:
    counts = used.sort("row_id", "mcc_idx")["n_year"].to_numpy()
    return float(np.log1p(counts).mean()) if len(counts) else 1.0


def _absent(unavailable: Mapping[str, str], facts: pl.DataFrame, types: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Inputs that this source does not have, with the reason; names as ``table.column``."""
    stated = {name if "." in name else f"{SNAPSHOT}.{name}": why for name, why in unavailable.items()}
    seen = set(facts["event_type"])
    found = {
        event_type(name): f"train has no event of type {', '.join(sorted(wanted)) or '(none named)'}"
        for name, wanted in sorted(types.items())
        if not seen & set(wanted)
    }
    if not facts["timed"].sum():
        found[TIME_OF_DAY] = "the source's events carry a date and no time"
    found[MERCHANT] = f"{EVENT} has no merchant"
    return dict(sorted({**found, **stated}.items()))


def _newest(facts: pl.DataFrame) -> date | None:
    newest = facts["newest"].max()
    return newest if isinstance(newest, date) else None
