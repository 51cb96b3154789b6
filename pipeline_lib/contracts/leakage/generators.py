"""How features were made: rows made again in another way, silent fallbacks, imputation (L06, L21-L23, L26-L28)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pipeline_lib.contracts.leakage.fitted import MIN_MEASURED
from pipeline_lib.contracts.leakage.frames import TrainingFrame
from pipeline_lib.contracts.leakage.text import finding
from pipeline_lib.records import Finding
from pipeline_lib.settings.leakage import Leakage

RECHECKS = {
    "order": ("L21", "rows in another order gave other values: rows are taken for time, or joined by position"),
    "alone": ("L23", "a row alone gave another value than in the batch: it depends on other customers"),
}
"""How rows were made again -> what a difference means."""


def rows_are_not_time(frame: TrainingFrame, limits: Leakage) -> Iterator[Finding]:
    """L21, L22, L23: the same rows made alone or in another order are the same bits."""
    for way, (check, meaning) in RECHECKS.items():
        found = [r for r in frame.rechecks if r.name == way]
        for recheck in found:
            for column in recheck.differing:
                yield finding(check, column, f"rows made again: {way}", "different", "bit-exact", meaning)
        if not sum(r.rows for r in found):
            message = f"the feature stage made no row again ({way})"
            yield finding(check, "features", "rows made again", 0, "> 0", message, verdict="UNJUDGED")


def joined_by_key(frame: TrainingFrame, limits: Leakage) -> Iterator[Finding]:
    """L22: held products among the features are those of the row's own customer, whatever the order of the tables."""
    for match in frame.holdings:
        if match.at_cutoff < limits.tables.holdings_match and match.at_cutoff >= match.at_label:
            message = "the row holds another customer's or another day's products: a join by position"
            limit = limits.tables.holdings_match
            yield finding(
                "L22",
                f"holdings ({match.split})",
                "share of rows equal to the snapshot",
                match.at_cutoff,
                limit,
                message,
            )


def holdings_are_of_the_cutoff(frame: TrainingFrame, limits: Leakage) -> Iterator[Finding]:
    """L06, L17: held products among the features are those at the cutoff and not those at the label date."""
    for match in frame.holdings:
        if match.at_label > match.at_cutoff:
            message = f"holdings at the label date; {match.moved:.4f} of the rows differ between the two dates"
            limit = f"<= {match.at_cutoff:.4f} (cutoff)"
            yield finding(
                "L06",
                f"holdings ({match.split})",
                "share of rows equal to the label date",
                match.at_label,
                limit,
                message,
            )


def history_is_capped(frame: TrainingFrame, limits: Leakage) -> Iterator[Finding]:
    """L06, L28: no history counts more months than the cap, in any split."""
    own = limits.length
    if own.column not in frame.features:
        return
    longest = float(np.nanmax(frame.raw[:, frame.features.index(own.column)], initial=0.0))
    if longest > own.cap:
        message = "an uncapped history tells how late the cutoff is, and with it the split"
        yield finding("L28", own.column, "months in the longest history", longest, own.cap, message)


def imputed_with_a_constant(frame: TrainingFrame, limits: Leakage) -> Iterator[Finding]:
    """L26: an undefined value becomes one constant of its column, the same in every row, class and split."""
    missing = np.isnan(frame.raw)
    for i in np.flatnonzero(missing.any(axis=0)):
        filled = frame.scaled[missing[:, i], i]
        spread = float(np.nanmax(filled) - np.nanmin(filled)) if len(filled) else 0.0
        if spread > limits.fitted.transform_tolerance:
            message = (
                "undefined values were filled by group: the group, or the rows it was learnt on, reaches the value"
            )
            limit = limits.fitted.transform_tolerance
            yield finding("L26", frame.features[int(i)], "spread of imputed values", spread, limit, message)


def absent_inputs_feed_nothing(frame: TrainingFrame, limits: Leakage) -> Iterator[Finding]:
    """L26, L27: what the source lacks is in no feature: no imputed column, no zeros in place of a failure."""
    for column in frame.schema["columns"]:
        for source in column["lineage"]:
            if source in frame.absent:
                message = f"{source} is not in this source ({frame.absent[source]}), so its values were made up"
                yield finding("L27", column["name"], "lineage", source, "available", message)


def no_silent_fallback(frame: TrainingFrame, limits: Leakage) -> Iterator[Finding]:
    """L27: a group is there with its declared backend, or is said to be missing with the reason; zeros are neither."""
    for group in frame.schema.get("groups", ()):
        width = group["end"] - group["start"]
        if group["available"] != (width > 0) or (not width and not group["why"]):
            message = "a group without columns must say why; one with columns must be available"
            yield finding(
                "L27", group["name"], "status", f"{width} columns, why {group['why']!r}", "consistent", message
            )
        if not width:
            continue
        block = frame.raw[:, frame.measured(group)]
        if block.shape[1] >= MIN_MEASURED and not np.nan_to_num(block).any():
            message = f"all {block.shape[1]} measured columns are zero or undefined: a failure was replaced"
            yield finding("L27", group["name"], "values that are not zero", 0, "> 0", message)


def backends_are_declared(frame: TrainingFrame, limits: Leakage) -> Iterator[Finding]:
    """L27: the backend that computed a group is one of those declared."""
    for group in frame.schema.get("groups", ()):
        backend = group.get("backend")
        if group["available"] and backend is not None and backend not in limits.lineage.backends:
            message = "another backend than declared: other numbers without anybody saying so"
            yield finding("L27", group["name"], "backend", backend, ", ".join(limits.lineage.backends), message)
