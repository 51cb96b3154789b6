"""Honest columns that look a little like a leak, and must pass."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from pipeline_lib.contracts.leakage import frame_findings, table_findings
from pipeline_lib.features.fit import fingerprint
from pipeline_lib.features.plants.leaky_frames import label, relabelled, with_feature


@pytest.fixture(scope="module")
def frame(frame):
    """Judged against the labels that the columns below resemble; the clean twin of all labels is in test_plants."""
    return replace(frame, tasks={name: frame.tasks[name] for name in ("will_acquire_lending", "nba_primary")})


def failures(frame, limits) -> list[str]:
    return [str(f) for f in frame_findings(frame, limits) if f.verdict != "WARN"]


def test_a_rare_flag_beside_a_rare_label_is_no_copy(small, frame):
    """Both are 0 in 95 of 100 rows, so they are equal in nearly all; that is no copy."""
    rng = np.random.default_rng(5)
    rare = relabelled(frame, "will_acquire_lending", (rng.random(len(frame.raw)) < 0.05).astype(float))
    flag = with_feature(rare, "rare_flag", (rng.random(len(frame.raw)) < 0.005).astype(float))
    assert not failures(flag, small.settings.leakage)


def test_whole_amounts_of_money_are_no_identifier(small, frame):
    whole = np.random.default_rng(6).permutation(len(frame.raw)).astype(float)
    limits = small.settings.leakage
    assert not failures(with_feature(frame, "sum_of_amounts", whole, ["transaction_event.amount"]), limits)
    named = failures(with_feature(frame, "sum_of_amounts", whole, ["transaction_event.event_date"]), limits)
    assert any("L14 FAIL: sum_of_amounts: distinct values per row" in text for text in named)


def test_tenure_may_follow_the_customer_key(small, frame):
    """Keys are given in the order in which customers came."""
    key = frame.keys["customer_key"].to_numpy()
    assert not failures(with_feature(frame, "months_here", np.round(key / 50.0)), small.settings.leakage)


def test_a_feature_that_finds_one_class_is_a_warning(small, frame):
    """Age finds the pensioners; a column that is the class itself is a copy."""
    rng, limits = np.random.default_rng(8), small.settings.leakage
    near = (label(frame, "nba_primary") == 3) + 0.4 * rng.normal(size=len(frame.raw))
    found = frame_findings(with_feature(frame, "age_like", near), limits)
    assert [f.verdict for f in found if f.column == "age_like" and f.check == "L11"] == ["WARN"]


@pytest.mark.parametrize("seed", range(5))
def test_chance_differences_between_sides_are_no_drift(small, tables, seed: int):
    rng = np.random.default_rng(seed)
    drawn = pl.Series("will_acquire_accounts", (rng.random(len(tables.labels)) < 0.1).astype(np.int16))
    found = table_findings(replace(tables, labels=tables.labels.with_columns(drawn)), small.settings.leakage)
    assert not [f for f in found if f.check == "L02"]


def test_a_label_that_everybody_has_accuses_no_column(small, frame):
    """Without a second outcome, a column that nobody has is no sign of it."""
    always = relabelled(frame, "will_acquire_lending", np.ones(len(frame.raw)))
    empty = with_feature(always, "not_defined", np.full(len(frame.raw), np.nan))
    assert not [f for f in frame_findings(empty, small.settings.leakage) if f.check == "R06"]


def test_a_fit_on_the_first_customers_of_the_hash_is_what_the_policy_says(small, frame):
    """Fewer than all, and all train rows of each of them; one row or one customer less is another fit."""
    train = frame.keys[frame.rows_of("train")]
    first = sorted(train.select("shuffle_key", "customer_key").unique().rows())[:100]
    rows = train.filter(pl.col("customer_key").is_in([key for _, key in first]))

    def judged(sample: pl.DataFrame) -> list[tuple[str, str]]:
        newest = sample["cutoff_date"].max()
        fitted = replace(frame, fit_customers=100, schema={**frame.schema, "fit_sample": fingerprint(sample, newest)})
        return [(f.column, f.statistic) for f in frame_findings(fitted, small.settings.leakage) if f.check == "L09"]

    assert judged(rows) == []
    assert {("fit_sample", "rows"), ("fit_sample", "keys_sha256")} <= set(judged(rows[1:]))
    assert ("fit_sample", "customers") in judged(rows.filter(pl.col("customer_key") != first[0][1]))


def test_one_constant_column_of_a_group_is_a_warning_and_all_of_them_a_failure(small, frame):
    group = next(g for g in frame.schema["groups"] if g["name"] == "txn_rolling")
    places = frame.measured(group)

    def judged(constant) -> set[tuple[str, str]]:
        raw = frame.raw.copy()
        raw[:, constant] = 1.0
        found = frame_findings(replace(frame, raw=raw), small.settings.leakage)
        return {(f.column, f.verdict) for f in found if f.check == "L13" and f.statistic != "values not finite"}

    some, every = judged(places[:-1]), judged(places)
    assert ("txn_rolling", "FAIL") not in some
    assert (frame.features[places[0]], "WARN") in some
    assert ("txn_rolling", "FAIL") in every
