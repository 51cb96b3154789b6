"""How long a customer's history is must not tell the split (L28)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pipeline_lib.contracts.leakage.evidence import spread
from pipeline_lib.contracts.leakage.frames import Ints, TrainingFrame
from pipeline_lib.contracts.leakage.statistics import Floats, pearson, psi, ranks, spearman, without_nan
from pipeline_lib.contracts.leakage.text import finding, graded
from pipeline_lib.records import Finding
from pipeline_lib.settings.leakage import Leakage

LATER = ("val", "test")


def length_does_not_tell_the_split(frame: TrainingFrame, limits: Leakage) -> Iterator[Finding]:
    """L28: PSI of the length of history, and, at full length, of the columns that follow it.

    The length itself only warns: a wave of new customers moves it without any leak, and it is capped. At full length
    nothing of it may remain; a column that still moves counts from the bank's first day on.
    """
    own = limits.length
    if own.column not in frame.features:
        return
    length = frame.raw[:, frame.features.index(own.column)].astype(np.float64)
    train = frame.rows_of("train")
    for split in LATER:
        value = psi(length[train], length[frame.rows_of(split)], own.bins)
        if value > own.warn_psi:
            message = f"customers of {split} have longer or shorter histories than those of train"
            yield finding("L28", own.column, f"PSI train to {split}", value, own.warn_psi, message, verdict="WARN")
        yield from _at_full_length(frame, length, train, split, limits)


def _at_full_length(
    frame: TrainingFrame, length: Floats, train: Ints, split: str, limits: Leakage
) -> Iterator[Finding]:
    own, later = limits.length, frame.rows_of(split)
    full, full_later = train[length[train] == own.cap], later[length[later] == own.cap]
    if min(len(full), len(full_later)) < own.min_full_rows:
        return
    some = spread(train, limits.derived.tree_rows)
    driven = np.abs(pearson(ranks(without_nan(frame.raw[some])), ranks(length[some][:, None])))[:, 0]
    for i in np.flatnonzero(driven >= own.driven):
        known = ~np.isnan(frame.raw[train, i])  # being undefined in a short history follows the length by itself
        if abs(spearman(frame.raw[train, i][known].astype(np.float64), length[train][known])) < own.driven:
            continue
        value = psi(frame.raw[full, i].astype(np.float64), frame.raw[full_later, i].astype(np.float64), own.bins)
        if value > own.warn_psi:
            limit, verdict = graded(value > own.fail_psi, own.fail_psi, own.warn_psi)
            message = f"among customers with {own.cap} months, it still tells train from {split}"
            name = f"PSI train to {split} at full length"
            yield finding("L28", frame.features[int(i)], name, value, limit, message, verdict=verdict)
