"""What is known of a row at all: masks and confidences for experts and reports, no values of their own.

A row whose mask for a group is 0 is NaN in that group, so it does not enter the group's statistics.
Source: features.md 12.4; bits that are 1 for everybody (deepfm, causal, ot) are left out.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pipeline_lib.features.columns import EVENT, SNAPSHOT, Column, Floats, Values, event_type
from pipeline_lib.features.generator import Generator, Shape
from pipeline_lib.features.inputs import usable_categories
from pipeline_lib.features.material import Material
from pipeline_lib.settings.features import YEAR_DAYS, Features

AFTER = (
    "economics", "hmm_journey", "hmm_lifecycle", "hmm_behavior", "tda_short", "tda_long", "multidisciplinary",
    "gmm_clustering",
)  # fmt: skip
DEFINED = {
    "valid_hmm_journey": "hmm_journey_",
    "valid_hmm_lifecycle": "hmm_lifecycle_",
    "valid_hmm_behavior": "hmm_behavior_",
    "valid_econ": "spending_risk",
    "valid_wave": "wave_",
    "valid_gmm": "gmm_prob_",
}
"""Mask -> prefix of the columns whose being defined it tells."""
CONFIDENT = {"conf_tda_short": "tda_short_", "conf_tda_long": "tda_long_"}
_EVENTS = (f"{EVENT}.event_date",)
_SPEND = (event_type("spend"),)


def generator(shape: Shape, policy: Features) -> Generator:
    panel = (f"{SNAPSHOT}.snapshot_date",)
    # A source without a category that customers choose has no event to know a row by.
    streamed = _EVENTS if len(usable_categories(shape.categories)) else ()
    own = (
        Column("valid_txn", "mask", _EVENTS, _SPEND, lookback_days=policy.recent_days),
        *(Column(name, "mask", (*_EVENTS, f"{SNAPSHOT}.snapshot_date")) for name in DEFINED),
        *(Column(name, "mask", _EVENTS, _SPEND) for name in CONFIDENT),
        Column("avail_lightgcn", "mask", (*((f"{EVENT}.mcc_idx",) if streamed else ()), *panel)),
        Column("avail_hgcn", "mask", _EVENTS, _SPEND, lookback_days=YEAR_DAYS),
        Column("avail_temporal", "mask", (*streamed, *panel), lookback_days=YEAR_DAYS),
        Column("avail_perslay", "mask", _EVENTS, _SPEND),
    )
    return Generator(
        own,
        lambda m, learnt, made: _make(m, policy, made),
        after=AFTER,
        block="mask",
        columns_of=lambda learnt, known: tuple(column for column in own if _has_source(column.name, known)),
    )


def _has_source(mask: str, known: Mapping[str, Column]) -> bool:
    prefix = ("tda_",) if mask == "avail_perslay" else ({**DEFINED, **CONFIDENT}.get(mask, ""),)
    return prefix == ("",) or any(name.startswith(prefix) for name in known)


def _make(m: Material, policy: Features, made: Values) -> Values:
    found: Values = {name: _defined(made, prefix, len(m)) for name, prefix in DEFINED.items() if _any(made, prefix)}
    spans = {"conf_tda_short": policy.topology.short.days, "conf_tda_long": policy.topology.long.days}
    for name, prefix in CONFIDENT.items():
        if _any(made, prefix):
            purchases = m.windows.last("n", spans[name])
            found[name] = np.searchsorted(policy.availability.confidence, purchases, side="right").astype(np.float64)
    confidences = [found[name] for name in CONFIDENT if name in found]
    if confidences:
        found["avail_perslay"] = (np.max(confidences, axis=0) >= 1).astype(np.float64)
    recent, year = m.windows.last("n", policy.recent_days), m.windows.last("n", YEAR_DAYS)
    return {
        **found,
        "valid_txn": (recent >= policy.availability.min_events).astype(np.float64),
        "avail_lightgcn": (m.history.held_now.any(axis=1) | _used_any(m)).astype(np.float64),
        "avail_hgcn": (year > 0).astype(np.float64),
        "avail_temporal": _any_day(m),
    }


def _any(made: Values, prefix: str) -> bool:
    return any(name.startswith(prefix) for name in made)


def _defined(made: Values, prefix: str, rows: int) -> Floats:
    own = [~np.isnan(values) for name, values in made.items() if name.startswith(prefix)]
    defined: Floats = np.any(own, axis=0).astype(np.float64)
    return defined


def _used_any(m: Material) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    used = np.zeros(len(m), dtype=np.bool_)
    used[m.category_use["row_id"].unique().to_numpy()] = True
    return used


def _any_day(m: Material) -> Floats:
    """Any event, or any product added or dropped, in the year up to the cutoff."""
    moved = (m.history.added + m.history.dropped).sum(axis=1) > 0
    events = m.stream.high > m.stream.low if m.stream else np.zeros(len(m), dtype=np.bool_)
    days: Floats = (moved | events).astype(np.float64)
    return days
