"""What was learnt, was learnt from train rows; columns are alive; nothing after the cutoff (L06, L08, L09, L13)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date
from hashlib import sha256
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from pipeline_lib.contracts.leakage.frames import Matrix, TrainingFrame
from pipeline_lib.contracts.leakage.text import Verdict, finding
from pipeline_lib.records import Finding
from pipeline_lib.settings.leakage import Leakage

MIN_MEASURED = 2
"""Measured columns without which a constant group is no sign of a broadcast row."""


def fitted_on_train(frame: TrainingFrame, limits: Leakage) -> Iterator[Finding]:
    """L09: what was learnt (``fit_sample``) was learnt from the train rows of the customers the policy says, the
    first in the order of the hash; what was scaled (``fitted_on``) from all train rows.
    """
    train = frame.keys[frame.rows_of("train")]
    sample = frame.schema.get("fit_sample", {})
    most = frame.fit_customers
    yield from _other_rows("fit_sample", sample, _first_customers(train, most))
    yield from _other_rows("fitted_on", frame.schema.get("fitted_on", {}), train)


def _other_rows(what: str, claimed: Mapping[str, Any], rows: pl.DataFrame) -> Iterator[Finding]:
    """Where a fingerprint is not that of ``rows``, which have to be those that were fitted on."""
    keys = rows.select("customer_key", "cutoff_date").sort("customer_key", "cutoff_date")
    found = {
        "split": "train",
        "customers": keys["customer_key"].n_unique(),
        "rows": len(keys),
        "keys_sha256": sha256(keys.write_csv(include_header=False).encode()).hexdigest(),
    }
    for name, value in found.items():
        if claimed.get(name) != value:
            message = "fitted on other rows than the train rows that the policy says"
            yield finding("L09", what, name, str(claimed.get(name)), str(value), message)
    newest, cutoff = claimed.get("max_event_date"), keys["cutoff_date"].max()
    if newest and isinstance(cutoff, date) and date.fromisoformat(newest) > cutoff:
        message = "something was fitted on events after the last train cutoff"
        yield finding("L09", what, "max_event_date", newest, f"<= {cutoff}", message)


def scaler_fitted_on_train(frame: TrainingFrame, limits: Leakage) -> Iterator[Finding]:
    """L08: stored mean and scale are those of the train rows (sample deviation, NaN left out; an embedding has one
    scale for all of its columns, their root mean square).
    """
    train = frame.raw[frame.rows_of("train")]
    columns = frame.schema["columns"]
    for i, column in enumerate(columns):
        mean, std = 0.0, 1.0
        if column["kind"] == "num":
            mean, std = _mean_and_deviation(train[:, i].astype(np.float64))
        elif column["kind"] == "emb":
            std = _root_mean_square(train[:, [c["group"] == column["group"] and c["kind"] == "emb" for c in columns]])
        std = std if std >= frame.min_std else 1.0
        for name, stored, expected in (("mean", column["mean"], mean), ("std", column["std"], std)):
            gap = abs(stored - expected) / max(abs(mean), std)
            if gap > limits.fitted.tolerance:
                message = f"stored {stored:.6g}, train rows give {expected:.6g}"
                what = f"relative difference of {name}"
                yield finding("L08", column["name"], what, f"{gap:.3e}", limits.fitted.tolerance, message)


def _mean_and_deviation(values: npt.NDArray[np.float64]) -> tuple[float, float]:
    known = values[~np.isnan(values)]
    return (float(known.mean()), float(known.std(ddof=1))) if len(known) >= 2 else (0.0, 1.0)


def _root_mean_square(values: npt.NDArray[np.float32]) -> float:
    known = values[~np.isnan(values)].astype(np.float64)
    return float(np.sqrt((known**2).mean())) if len(known) else 1.0


def scaled_with_stored_scaler(frame: TrainingFrame, limits: Leakage) -> Iterator[Finding]:
    """L08: x_norm is the stored scaling applied to feature_matrix, in every split, and finite (L13)."""
    for i, column in enumerate(frame.schema["columns"]):
        z = (frame.raw[:, i].astype(np.float64) - column["mean"]) / column["std"]
        if column["kind"] == "num":
            z = np.clip(z, -frame.clip_z, frame.clip_z)
        z = np.where(np.isnan(z), column["fill"], z)
        bad = int((~np.isfinite(frame.scaled[:, i])).sum())
        if bad:
            yield finding("L13", column["name"], "values not finite", bad, 0, "x_norm has NaN or infinite values")
            continue
        gap = float(np.abs(frame.scaled[:, i] - z).max(initial=0.0))
        if gap > limits.fitted.transform_tolerance:
            message = "x_norm was not made with the stored mean and standard deviation"
            limit = limits.fitted.transform_tolerance
            yield finding("L08", column["name"], "largest difference in x_norm", gap, limit, message)


def columns_are_alive(frame: TrainingFrame, limits: Leakage) -> Iterator[Finding]:
    """L13: a column has more than one value on train; one alone may be a fact about the bank."""
    train = frame.raw[frame.rows_of("train")]
    for i, column in enumerate(frame.schema["columns"]):
        distinct, top = _distinct_and_top(train[:, i])  # NaN counts as one value
        if distinct <= 1 or top >= limits.fitted.top_share:
            message = f"{distinct} distinct values on {len(train)} train rows; group {column['group']}"
            limit = limits.fitted.top_share
            yield finding("L13", column["name"], "share of the top value", top, limit, message, verdict="WARN")


def groups_say_something(frame: TrainingFrame, limits: Leakage) -> Iterator[Finding]:
    """L13: a group that measured one value per column for everybody says nothing: AUC exactly one half.

    Undefined values are left out: one value for all who have any is one row broadcast, too. Nobody having any is
    a WARN, and so is a group with a single measured column: a small bank can be like that.
    """
    train = frame.raw[frame.rows_of("train")]
    for group in frame.schema.get("groups", ()):
        alike = _one_value_for_all(frame, group, train, limits.fitted.top_share)
        block = train[:, group["start"] : group["end"]]
        silent = block.size and ((block == block[0]) | (np.isnan(block) & np.isnan(block[0]))).all()
        if alike or silent:
            names = ", ".join(alike[:3]) or "no measured column"
            message = f"every column of the group is constant on train, {len(alike)} measured: {names}"
            verdict: Verdict = "FAIL" if len(alike) >= MIN_MEASURED else "WARN"
            yield finding("L13", group["name"], "AUC of the group", 0.5, "not exactly 0.5", message, verdict=verdict)


def _one_value_for_all(frame: TrainingFrame, group: Mapping[str, Any], train: Matrix, top_share: float) -> list[str]:
    """The measured columns with defined values, when each of them has one value for everybody; else none."""
    names = []
    for i in frame.measured(group):
        known = train[~np.isnan(train[:, i]), i]
        if len(known) >= 2:
            if _distinct_and_top(known)[1] < top_share:
                return []
            names.append(frame.features[int(i)])
    return names


def _distinct_and_top(values: Matrix) -> tuple[int, float]:
    """Distinct values and the share of the most frequent one; (0, 1.0) of nothing."""
    _, counts = np.unique(values, return_counts=True)
    return len(counts), float(counts.max() / len(values)) if len(values) else 1.0


def sequences_end_at_cutoff(frame: TrainingFrame, limits: Leakage) -> Iterator[Finding]:
    """L06: no step of a sequence lies after the cutoff."""
    late = int((frame.asof_gap < 0).sum())
    if late:
        worst = float(frame.asof_gap.min())
        message = f"{late} rows have a step after their cutoff, the worst {-worst:.0f} days"
        yield finding("L06", "asof_gap", "smallest days to the cutoff", worst, ">= 0", message)


def _first_customers(train: pl.DataFrame, most: int | None) -> pl.DataFrame:
    """The rows of the ``most`` train customers with the smallest shuffle keys, whatever the order of the rows."""
    if most is None or most >= train["customer_key"].n_unique():
        return train
    order = train.select("shuffle_key", "customer_key").unique().sort("shuffle_key", "customer_key").head(most)
    return train.join(order, on="customer_key", how="semi")
