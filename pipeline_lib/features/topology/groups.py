"""The groups tda_short, tda_long and phase_transition: what they learn from train rows and what they declare.

A block of rows is computed at a time, so memory does not grow with their number. Source: features.md 7.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from time import monotonic
from typing import Literal

import numpy as np

from pipeline_lib.features.columns import EVENT, SNAPSHOT, Column, Floats, Values, event_type
from pipeline_lib.features.generator import Arrays, Generator, GroupUnavailable, Ragged, Shape
from pipeline_lib.features.material import Material
from pipeline_lib.features.series.blocks import in_blocks, joined, stream_of
from pipeline_lib.features.stream import Stream, Window
from pipeline_lib.features.topology import phase
from pipeline_lib.features.topology.cloud import Ints, fit_scales
from pipeline_lib.features.topology.cohorts import activity_cuts, levels, medians
from pipeline_lib.features.topology.diagrams import KEYS, Diagrams, raw_diagrams
from pipeline_lib.settings.feature_groups.topology import Span
from pipeline_lib.settings.features import Features

log = logging.getLogger(__name__)
BLOCK_ROWS = 2000
SAY_EVERY = 5.0
"""Seconds between two lines of progress."""
SCALE_QUANTILE = 0.95
Name = Literal["short", "long"]
_SPEND = (event_type("spend"),)
_EVENT = tuple(f"{EVENT}.{name}" for name in ("amount", "mcc_idx", "event_ts"))
_COHORT = tuple(f"{SNAPSHOT}.{name}" for name in ("age", "num_products"))
_NOTHING = "train has no customer with five different acts of spending in the window"


def tda_short(shape: Shape, policy: Features) -> Generator:
    return _tda("short", policy)


def tda_long(shape: Shape, policy: Features) -> Generator:
    return _tda("long", policy)


def phase_transition(shape: Shape, policy: Features) -> Generator:
    own = policy.topology

    def make(m: Material, learnt: Arrays, made: Values) -> Values:
        blocks = _watched(m, "phase_transition")
        return joined([phase.columns(halves(stream, learnt), learnt, own.half_points) for _, stream in blocks])

    def fit(m: Material, made: Values) -> Arrays:
        stream = stream_of(m).at(_fit_rows(len(m), own.fit_rows))
        learnt = fit_scales(_spending(stream, own.long).events)
        raw = halves(stream, learnt)
        if not len(raw.deaths()):
            raise GroupUnavailable(f"{_NOTHING}'s halves")
        return {**learnt, **phase.fit_phase(raw, own.half_points, SCALE_QUANTILE)}

    def halves(stream: Stream, learnt: Arrays) -> phase.Halves:
        return phase.halves(_spending(stream, own.long), own.half_points, own.quarter_points, learnt)

    columns = tuple(Column(name, "num", _EVENT, _SPEND, lookback_days=own.long.days) for name in phase.NAMES)
    return Generator(columns, make, fit, backend="ripser")


def diagrams(m: Material, learnt: Arrays, policy: Features, name: Name) -> tuple[Values, Ragged]:
    """The 24 columns, and for the teacher the bars (birth, death, dimension) [K, 3] of every row."""
    span = policy.topology.span(name)
    values, parts = [], []
    for own, found in blocks(m, learnt, policy, name):
        values.append(own)
        parts.append(found.listed(span.max_bars))
    counts = np.concatenate([np.diff(offsets) for offsets, _ in parts])
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return joined(values), Ragged(offsets, np.concatenate([bars for _, bars in parts]))


def blocks(m: Material, learnt: Arrays, policy: Features, name: Name) -> Iterator[tuple[Values, Diagrams]]:
    """The 24 columns and the diagrams of a window, a block of rows at a time: both cost one pass."""
    span = policy.topology.span(name)
    for rows, stream in _watched(m, f"tda_{name}"):
        raw = raw_diagrams(_spending(stream, span), span.max_points, learnt)
        found = raw.normalised(float(learnt["scale"][0]))
        cohort = levels(m.profile[rows], found.events, learnt["activity_cuts"], policy.age_cuts)
        usual = learnt["cohort_median"][tuple(cohort.T)]
        values, copies = _values(name, found.statistics(), usual), _copies(name, learnt["cohort_median"])
        yield {key: value for key, value in values.items() if key not in copies}, found


def _tda(name: Name, policy: Features) -> Generator:
    own, span = policy.topology, policy.topology.span(name)

    def make(m: Material, learnt: Arrays, made: Values) -> Values:
        return joined([values for values, _ in blocks(m, learnt, policy, name)])

    def fit(m: Material, made: Values) -> Arrays:
        rows = _fit_rows(len(m), own.fit_rows)
        window = _spending(stream_of(m).at(rows), span)
        learnt = fit_scales(window.events)
        raw = raw_diagrams(window, span.max_points, learnt)
        if not len(raw.h0.death):
            raise GroupUnavailable(_NOTHING)
        scale = float(np.quantile(raw.h0.death, SCALE_QUANTILE))
        cuts = activity_cuts(raw.events)
        cohort = levels(m.profile[rows], raw.events, cuts, policy.age_cuts)
        local = np.stack(list(raw.normalised(scale).statistics().values()), axis=1)
        usual = medians(cohort, local, own.cohort_min_rows, policy.age_cuts)
        return {**learnt, "scale": np.array([scale]), "activity_cuts": cuts, "cohort_median": usual}

    def kept(learnt: Arrays, known: Mapping[str, Column]) -> tuple[Column, ...]:
        copies = _copies(name, learnt["cohort_median"])
        return tuple(column for column in _columns(name, span) if column.name not in copies)

    return Generator(
        _columns(name, span),
        make,
        fit,
        make_listed=lambda m, learnt, made: diagrams(m, learnt, policy, name),
        columns_of=kept,
        backend="ripser",
    )


def _columns(name: Name, span: Span) -> tuple[Column, ...]:
    return tuple(
        Column(f"tda_{name}_{scope}_{key}", "num", lineage, _SPEND, lookback_days=span.days)
        for scope, lineage in (("local", _EVENT), ("global", (*_EVENT, *_COHORT)))
        for key in KEYS
    )


def _values(name: Name, local: dict[str, Floats], usual: Floats) -> Values:
    """The customer's own statistics, and how they differ from his cohort's medians [R, 12]."""
    own = {f"tda_{name}_local_{key}": value for key, value in local.items()}
    compared = {f"tda_{name}_global_{key}": value - usual[:, k] for k, (key, value) in enumerate(local.items())}
    return own | compared


def _copies(name: Name, usual: Floats) -> set[str]:
    """Contrasts whose median is the same in every cohort: the local column once more. They leave the schema."""
    low, high = (reach.reduce(usual.reshape(-1, usual.shape[-1]), axis=0) for reach in (np.fmin, np.fmax))
    return {f"tda_{name}_global_{key}" for key, same in zip(KEYS, ~(high > low), strict=True) if same}


def _spending(stream: Stream, span: Span) -> Window:
    return stream.window(span.days, ("spend",))


def _fit_rows(rows: int, most: int) -> Ints:
    """At most so many of the train rows, evenly spread over their order (cutoff, then shuffle key)."""
    return np.unique(np.linspace(0, rows - 1, min(most, rows)).astype(np.int64))


def _watched(m: Material, what: str) -> Iterator[tuple[Ints, Stream]]:
    """Blocks of rows; says every few seconds how far it is."""
    said, done = monotonic(), 0
    for rows, stream in in_blocks(m, BLOCK_ROWS):
        yield rows, stream
        done += len(rows)
        if monotonic() - said >= SAY_EVERY:
            said = monotonic()
            log.info("%s: %s of %s rows", what, done, len(m))
