"""Leaks of the way features are made, of history's length, of groups and of raw ancestors, as frames."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl

from pipeline_lib.contracts.leakage import TrainingFrame
from pipeline_lib.contracts.leakage.frames import Match, Recheck
from pipeline_lib.features.fit import fingerprint
from pipeline_lib.features.plants.leaky_frames import (
    BINARY,
    SEGMENT,
    FramePlant,
    Vector,
    label,
    relabelled,
    with_feature,
)
from pipeline_lib.settings.source import RawColumn

FEW_CUSTOMERS = 100
HONEST = RawColumn(role="feature", known="at_row_date", feeds=["transaction_event.amount"])


def vocabulary_on_all_rows(frame: TrainingFrame) -> TrainingFrame:
    return _learnt_from(frame, rows=len(frame.raw))


def learnt_from_test(frame: TrainingFrame) -> TrainingFrame:
    return _learnt_from(frame, split="test")


def learnt_after_the_cutoff(frame: TrainingFrame) -> TrainingFrame:
    return _learnt_from(frame, max_event_date=str(frame.keys["cutoff_date"].max()))


def learnt_from_chosen_customers(frame: TrainingFrame) -> TrainingFrame:
    """Train rows, and as many as the policy says, but of the last customers in the order of the hash."""
    train = frame.keys[frame.rows_of("train")]
    chosen = train["customer_key"].unique(maintain_order=True).reverse().head(FEW_CUSTOMERS)
    rows = train.filter(pl.col("customer_key").is_in(chosen.implode()))
    return _learnt_from(replace(frame, fit_customers=FEW_CUSTOMERS), **fingerprint(rows, None))


def scaled_on_other_rows(frame: TrainingFrame) -> TrainingFrame:
    fitted = {**frame.schema["fitted_on"], "rows": len(frame.raw)}
    return replace(frame, schema={**frame.schema, "fitted_on": fitted})


def rows_taken_for_time(frame: TrainingFrame) -> TrainingFrame:
    """A generator runs down the customers as if they were months."""
    return replace(frame, rechecks=(Recheck("alone", 64, ()), Recheck("order", 64, ("hmm_state",))))


def batch_in_a_value(frame: TrainingFrame) -> TrainingFrame:
    """A rank among the customers of the batch."""
    return replace(frame, rechecks=(Recheck("alone", 64, ("income_rank",)), Recheck("order", 64, ())))


def joined_by_position(frame: TrainingFrame) -> TrainingFrame:
    return replace(frame, holdings=(Match("train", 0.12, 0.11, 0.2),))


def holdings_of_the_label_month(frame: TrainingFrame) -> TrainingFrame:
    return replace(frame, holdings=(Match("train", 0.8, 1.0, 0.2),))


def imputed_by_class(frame: TrainingFrame) -> TrainingFrame:
    """Missing income becomes the mean income of the label's class."""
    i = frame.features.index("income")
    scaled, missing = frame.scaled.copy(), np.isnan(frame.raw[:, i])
    scaled[missing, i] = label(frame, BINARY)[missing]
    return replace(frame, scaled=scaled)


def made_up_input(frame: TrainingFrame) -> TrainingFrame:
    return replace(frame, absent={"customer_snapshot.income": "not recorded"})


def zeros_for_a_failed_group(frame: TrainingFrame) -> TrainingFrame:
    group = next(g for g in frame.schema["groups"] if g["name"] == "economics")
    raw = frame.raw.copy()
    raw[:, group["start"] : group["end"]] = 0.0
    return replace(frame, raw=raw)


def other_backend(frame: TrainingFrame) -> TrainingFrame:
    groups = [{**g, "backend": "approximate"} if g["available"] else g for g in frame.schema["groups"]]
    return replace(frame, schema={**frame.schema, "groups": groups})


def silent_loss_of_a_group(frame: TrainingFrame) -> TrainingFrame:
    lost = {**frame.schema["groups"][-1], "name": "lost", "start": 0, "end": 0, "available": False, "why": ""}
    return replace(frame, schema={**frame.schema, "groups": [*frame.schema["groups"], lost]})


def constant_group(frame: TrainingFrame) -> TrainingFrame:
    """One row computed for everybody, the topology of the population; flags and who has no value differ as before."""
    raw, group = frame.raw.copy(), next(g for g in frame.schema["groups"] if g["name"] == "economics")
    for i in frame.measured(group):
        known = ~np.isnan(raw[:, i])
        raw[known, i] = raw[known, i][:1]
    return replace(frame, raw=raw)


def constant_column(frame: TrainingFrame) -> TrainingFrame:
    return with_feature(frame, "global_a", np.full(len(frame.raw), 3.0))


def uncapped_history(frame: TrainingFrame) -> TrainingFrame:
    """Months since the bank's first snapshot."""
    i = frame.features.index("months_observed")
    raw = frame.raw.copy()
    raw[:, i] = _months(frame)
    return replace(frame, raw=raw)


def lifetime_counter(frame: TrainingFrame) -> TrainingFrame:
    """Purchases since the bank's first day: capped months, and still the later the cutoff, the more."""
    i = frame.features.index("months_observed")
    short = np.random.default_rng(13).integers(1, 12, len(frame.raw))
    length = np.where(np.random.default_rng(14).random(len(frame.raw)) < 0.3, short, 12).astype(np.float64)
    raw = frame.raw.copy()
    raw[:, i] = length
    counted = length * 10 + np.where(length == 12, 20 * _months(frame), 0) + _noise(frame)
    return with_feature(replace(frame, raw=raw), "purchases_ever", counted)


def group_that_gives_the_label(frame: TrainingFrame) -> TrainingFrame:
    """Eight weak parts of the label: none is a copy, together they are."""
    grown = frame
    for k in range(8):
        grown = with_feature(grown, f"part_{k}", label(frame, BINARY) + 0.48 * _noise(frame, k))
    return grown


def segment_by_two_columns(frame: TrainingFrame) -> TrainingFrame:
    """The segment split over two columns: neither has it, a tree of both does."""
    code = label(frame, SEGMENT)
    once = with_feature(frame, "tariff_a", (code == 1).astype(np.float64))
    return with_feature(once, "tariff_b", (code == 2).astype(np.float64))


def segment_behind_a_group(frame: TrainingFrame) -> TrainingFrame:
    """A harmless name and lineage; the group it reads was computed from the segment."""
    hidden = with_feature(frame, "cluster_mean", _noise(frame), ["customer_segment.segment"])
    shown = with_feature(hidden, "taste_3", _noise(frame, 1), ["transaction_event.mcc_idx"])
    columns = list(shown.schema["columns"])
    columns[-2] = {**columns[-2], "group": "hidden"}
    columns[-1] = {**columns[-1], "ancestors": ["hidden"]}
    return replace(shown, schema={**shown.schema, "columns": columns})


def dominant_column(frame: TrainingFrame) -> TrainingFrame:
    """The length of the sales call: known when the answer is."""
    half = relabelled(frame, BINARY, np.random.default_rng(11).integers(0, 2, len(frame.raw)).astype(np.float64))
    return with_feature(half, "talk_seconds", np.exp(1.6 * label(half, BINARY) + 1.2 * _noise(frame)))


def defined_for_buyers(frame: TrainingFrame) -> TrainingFrame:
    """Days before the contract: only those who get one have it, and some who get it later."""
    later = np.random.default_rng(12).random(len(frame.raw)) < 0.1
    days = np.where((label(frame, BINARY) == 1) | later, 20 + 5 * _noise(frame), np.nan)
    return with_feature(frame, "days_before_contract", days)


def undeclared_ancestor(frame: TrainingFrame) -> TrainingFrame:
    return _declared(frame, {"bank": {"amount": HONEST}}, only_amount=False)


def outcome_as_ancestor(frame: TrainingFrame) -> TrainingFrame:
    return _declared(frame, {"bank": {"amount": HONEST.model_copy(update={"known": "after_outcome"})}})


def ancestor_of_a_later_year(frame: TrainingFrame) -> TrainingFrame:
    last = frame.keys["cutoff_date"].max()
    return _declared(frame, {"bank": {"amount": HONEST.model_copy(update={"known_from": last})}})


def key_as_only_ancestor(frame: TrainingFrame) -> TrainingFrame:
    return _declared(frame, {"bank": {"amount": HONEST.model_copy(update={"role": "key"})}})


def weight_as_ancestor(frame: TrainingFrame) -> TrainingFrame:
    return _declared(frame, {"bank": {"amount": HONEST.model_copy(update={"role": "weight"})}})


def _declared(
    frame: TrainingFrame, raw: Mapping[str, Mapping[str, RawColumn]], only_amount: bool = True
) -> TrainingFrame:
    """The frame as of a source with these raw columns; every feature comes from the amount of the events."""
    lineage = ["transaction_event.amount"] if only_amount else ["customer_snapshot.age"]
    columns = [{**column, "lineage": lineage, "ancestors": []} for column in frame.schema["columns"]]
    return replace(frame, raw_columns=raw, schema={**frame.schema, "columns": columns})


def _learnt_from(frame: TrainingFrame, **facts: Any) -> TrainingFrame:
    """The frame with another fingerprint of what its models and vocabularies were learnt from."""
    return replace(frame, schema={**frame.schema, "fit_sample": {**frame.schema["fit_sample"], **facts}})


def _months(frame: TrainingFrame) -> Vector:
    """Months from the first snapshot that any row counts to the row's cutoff."""
    days: Any = frame.keys["cutoff_date"].to_numpy()
    months = (days - days.min()).astype("timedelta64[D]").astype(np.float64) / 30.44
    counted: Vector = np.round(months) + 13.0
    return counted


def _noise(frame: TrainingFrame, seed: int = 0) -> Vector:
    return np.random.default_rng(30 + seed).normal(size=len(frame.raw))


MAKER_PLANTS = (
    FramePlant("vocabulary fitted on all rows", "L09", "rows", vocabulary_on_all_rows),
    FramePlant("model learnt from test rows", "L09", "split", learnt_from_test),
    FramePlant("model learnt from events after the cutoff", "L09", "max_event_date", learnt_after_the_cutoff),
    FramePlant("model learnt from chosen customers", "L09", "keys_sha256", learnt_from_chosen_customers),
    FramePlant("scaler that claims other rows", "L09", "rows", scaled_on_other_rows),
    FramePlant("rows taken for time", "L21", "rows made again: order", rows_taken_for_time),
    FramePlant("value depends on the batch", "L23", "rows made again: alone", batch_in_a_value),
    FramePlant("joined by position", "L22", "share of rows equal to the snapshot", joined_by_position),
    FramePlant(
        "holdings of the label month", "L06", "share of rows equal to the label date", holdings_of_the_label_month
    ),
    FramePlant("imputed by the label's class", "L26", "spread of imputed values", imputed_by_class),
    FramePlant("input the source does not have", "L27", "lineage", made_up_input),
    FramePlant("zeros for a failed group", "L27", "values that are not zero", zeros_for_a_failed_group),
    FramePlant("another backend in silence", "L27", "backend", other_backend),
    FramePlant("group lost in silence", "L27", "status", silent_loss_of_a_group),
    FramePlant("one row for everybody", "L13", "AUC of the group", constant_group),
    FramePlant("one value for everybody", "L13", "share of the top value", constant_column, "WARN"),
    FramePlant("history without a cap", "L28", "months in the longest history", uncapped_history),
    FramePlant("counter since the first day", "L28", "PSI train to test at full length", lifetime_counter),
    FramePlant("label in parts of one group", "L12", "AUC of one group", group_that_gives_the_label),
    FramePlant("segment in two columns", "L29", "tree macro F1", segment_by_two_columns),
    FramePlant("segment behind another group", "L29", "lineage", segment_behind_a_group),
    FramePlant("column that beats all others", "R05", "AUC beyond all others", dominant_column),
    FramePlant("defined for buyers only", "R06", "AUC of being defined", defined_for_buyers),
    FramePlant("raw column nobody declared", "R01", "declared raw columns", undeclared_ancestor),
    FramePlant("raw column of the outcome", "R01", "declaration", outcome_as_ancestor),
    FramePlant("raw figures of a later year", "R01", "declaration", ancestor_of_a_later_year),
    FramePlant("raw key as a value", "R01", "declared values", key_as_only_ancestor),
    FramePlant("sample weight as a value", "R01", "declaration", weight_as_ancestor),
)
