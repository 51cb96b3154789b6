"""Where features say they come from, and what they are called (L01 names, L04, L14, L17, L25, L29)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline_lib.contracts.leakage.frames import Ints, Matrix, TrainingFrame
from pipeline_lib.contracts.leakage.statistics import correlation_of, ranks, standard, without_nan
from pipeline_lib.contracts.leakage.text import finding
from pipeline_lib.records import Finding
from pipeline_lib.settings.leakage import Leakage

SEGMENT = "customer_segment"


def sources_are_allowed(frame: TrainingFrame, limits: Leakage) -> Iterator[Finding]:
    """L25, L29, L17: every feature declares its sources, all of them in tables known before the cutoff."""
    forbidden, known = set(limits.lineage.forbidden_tables), set(limits.lineage.known_tables)
    for column in frame.schema["columns"]:
        if not column["lineage"]:
            message = "a feature without lineage cannot be judged"
            yield finding("L25", column["name"], "lineage", "none", "at least one source", message, verdict="UNJUDGED")
        for source in frame.ancestors(column):
            table, _, name = source.partition(".")
            if table in forbidden:
                check = "L29" if table == SEGMENT else "L25"
                message = f"descends from {source}"
                yield finding(check, column["name"], "lineage", source, f"not {table}", message)
            elif name in limits.lineage.forbidden_columns:
                message = f"descends from {source}, which is written after the fact or holds the answer"
                yield finding("L17", column["name"], "lineage", source, f"not {name}", message)
            elif table not in known:
                message = f"{table} is not a table that features may read"
                yield finding("L25", column["name"], "lineage", source, ", ".join(sorted(known)), message)


def forbidden_files_stay_closed(frame: TrainingFrame, limits: Leakage) -> Iterator[Finding]:
    """L04: the feature stage opened no file of labels, segment or ground truth."""
    if not frame.opened:
        message = "the feature stage does not say what it opened"
        yield finding("L04", "features", "files opened", 0, "> 0", message, verdict="UNJUDGED")
    forbidden = set(limits.lineage.forbidden_tables) - {"split_assignment"}
    for name in frame.opened:
        table = name.split("/")[1].removesuffix(".parquet")
        if table in forbidden:
            yield finding("L04", name, "opened by features", "yes", "no", "a generator could read the answer")


def names_are_not_labels(frame: TrainingFrame, limits: Leakage) -> Iterator[Finding]:
    """L01, L03, L14: no feature is called like a label, the ground truth or an identifier."""
    patterns = (
        ("L01", limits.names.labels, "a name that only a label has"),
        ("L03", limits.names.ground_truth, "a name of the generator's ground truth"),
        ("L14", limits.names.identifiers, "a name that only an identifier has"),
    )
    for name in frame.features:
        for check, pattern, message in patterns:
            if re.search(pattern, name.lower()):
                yield finding(check, name, "name", name, pattern, message)
        if name in frame.labels.columns:
            yield finding("L01", name, "name", name, "not the name of a label", "a label among the features")


def no_identifier(frame: TrainingFrame, limits: Leakage) -> Iterator[Finding]:
    """L14: no feature names the customer: not by lineage, not by unique whole numbers, not by following key or row."""
    at = _newest_cutoff(frame)
    if len(at) < limits.min_rows:
        message = "too few rows at one cutoff"
        yield finding("L14", "features", "rows", len(at), limits.min_rows, message, verdict="UNJUDGED")
        return
    key = frame.keys["customer_key"].to_numpy()[at].astype(np.float64)
    order = standard(ranks(np.stack([key, np.arange(len(at), dtype=np.float64)], axis=1)))
    for i, column in enumerate(frame.schema["columns"]):
        values = frame.raw[at, i]  # one column at a time: a copy of all of them outgrows memory
        near = correlation_of(standard(ranks(without_nan(values[:, None]))), order)[0]
        yield from _identifier_lineage(column, limits)
        yield from _like_an_identifier(column, values, np.abs(near), limits)


def _identifier_lineage(column: dict[str, Any], limits: Leakage) -> Iterator[Finding]:
    for source in column["lineage"]:
        if source.rpartition(".")[2] in limits.lineage.identifier_columns:
            message = "a key used as a value"
            yield finding("L14", column["name"], "lineage", source, "not a key", message)


def _like_an_identifier(
    column: dict[str, Any], values: Matrix, near: npt.NDArray[np.float64], limits: Leakage
) -> Iterator[Finding]:
    """Nearly unique values that are whole numbers, or that follow the key or the row number."""
    own, known = limits.identifiers, values[~np.isnan(values)]
    share = len(np.unique(known)) / len(values)
    if share < own.distinct_share:
        return
    for what, r in zip(("customer_key", "row number"), near, strict=True):
        if r >= own.rank_correlation:
            message, name = f"unique values that follow the {what}", f"|Spearman| with {what}"
            yield finding("L14", column["name"], name, float(r), own.rank_correlation, message)
    money = any(source.rpartition(".")[2] in own.money_columns for source in column["lineage"])
    if np.array_equal(known, np.round(known)) and not money:
        message = "whole numbers that differ from row to row"
        yield finding("L14", column["name"], "distinct values per row", share, own.distinct_share, message)


def _newest_cutoff(frame: TrainingFrame) -> Ints:
    """Train rows at the newest train cutoff, in row order."""
    train = frame.rows_of("train")
    days = frame.keys["cutoff_date"].to_numpy()[train]
    return train[days == days.max()] if len(train) else train
