"""Labels of six customers, worked out on paper. Cutoff 28 April 2015, label month 28 May 2015."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from pipeline_lib.errors import ContractError, SettingsError
from pipeline_lib.ingest.label_families import derive
from pipeline_lib.ingest.labels import label
from pipeline_lib.ingest.load import ingest
from pipeline_lib.ingest.splits import Cutoff, plan
from pipeline_lib.runs import RunContext

CUTOFF, LABEL = date(2015, 4, 28), date(2015, 5, 28)
EVERYBODY_TRAINS = {"train_buckets": 9998, "val_buckets": 1}

CLIPPED_COUNT = math.log(3) + 0.98 * (math.log(4) - math.log(3))
"""99.5 % quantile of ln(1 + additions) = [0, 0, ln 2, ln 3, ln 4]: 0.98 of the way from the fourth to the fifth."""
RISE_1, RISE_2 = math.log(4) - math.log(7 / 3), math.log(4) - math.log(4 / 3)
CLIPPED_RISE = RISE_1 + 0.01 * (RISE_2 - RISE_1)
"""0.5 % quantile of the three trends: customer 1's is clipped up to it."""

EXPECTED: dict[str, list[Any]] = {
    #                              1              2    3    4 (absent) 5 (holds nothing) 6
    "churn_signal":             [1,             0,             1,           None, None, 0],
    "product_stability":        [0.5,           1 / 3,         0.5,         None, None, 0.25],
    "segment_prediction":       [0,             1,             2,           None, None, 1],
    "nba_primary":              [0,             5,             5,           None, 0,    2],
    "cross_sell_count":         [0.0,           math.log(3),   math.log(2), None, 0.0,  CLIPPED_COUNT],
    "will_acquire_deposits":    [0,             1,             0,           None, 0,    0],
    "will_acquire_investments": [0,             0,             0,           None, 0,    1],
    "will_acquire_accounts":    [0,             0,             0,           None, 0,    1],
    "will_acquire_lending":     [0,             0,             0,           None, 0,    1],
    "will_acquire_payments":    [0,             1,             1,           None, 0,    0],
    "next_mcc":                 [2,             0,             0,           None, 1,    0],
    "mcc_diversity_trend":      [CLIPPED_RISE,  RISE_2,        None,        None, None, RISE_2],
    "top_mcc_shift":            [1,             1,             None,        None, None, 0],
}  # fmt: skip


def derived(ctx: RunContext, cutoffs: list[Cutoff] | None = None) -> Any:
    ingested = ingest(ctx)
    days = [date.fromisoformat(day) for day in ingested.facts["snapshots"]]
    through = date.fromisoformat(ingested.facts["loaded_through"])
    planned = cutoffs or plan(days, through, step_months=2, train_cutoffs=1, min_history=4)
    with ctx.objects.scratch() as scratch:
        found = derive(ctx.settings, ingested, planned, scratch)
        return SimpleNamespace(
            labels=pl.read_parquet(found.labels),
            assignment=pl.read_parquet(found.assignment),
            vocabulary=found.vocabulary,
        )


@pytest.fixture(scope="module")
def golden(golden_bank: Any, load_bank: Callable[..., RunContext]) -> Any:
    return derived(load_bank(golden_bank, splits=EVERYBODY_TRAINS))


def test_labels_equal_those_on_paper(golden: Any) -> None:
    rows = golden.labels.filter(pl.col("cutoff_date") == CUTOFF).sort("customer_key")
    assert rows.get_column("customer_key").to_list() == [1, 2, 3, 4, 5, 6]
    found = {
        (task, customer): label
        for task in EXPECTED
        for customer, label in enumerate(rows.get_column(task).to_list(), start=1)
    }
    paper = {(task, customer): label for task, row in EXPECTED.items() for customer, label in enumerate(row, start=1)}
    masked = {cell for cell, label in paper.items() if label is None}
    assert {cell for cell, label in found.items() if label is None} == masked
    known = {cell: label for cell, label in found.items() if cell not in masked}
    assert known == pytest.approx({cell: label for cell, label in paper.items() if cell not in masked}, abs=1e-12)


def test_status_and_window_are_recorded(golden: Any) -> None:
    rows = golden.labels.filter(pl.col("cutoff_date") == CUTOFF).sort("customer_key")
    assert rows.get_column("label_status").to_list() == ["mature"] * 3 + ["absent"] + ["mature"] * 2
    assert rows.get_column("label_end_date").unique().to_list() == [LABEL]


def test_vocabulary_is_the_train_first_acts_by_frequency_then_index(golden: Any) -> None:
    assert golden.vocabulary.sort("class").get_column("code").to_list() == ["5411", "4111", "5541"]


def test_category_beyond_the_vocabulary_is_masked(golden_bank: Any, load_bank: Callable[..., RunContext]) -> None:
    shipped = load_bank(golden_bank).settings.tasks.tasks["next_mcc"]
    short = shipped.model_copy(update={"classes": 2})
    labels = derived(load_bank(golden_bank, splits=EVERYBODY_TRAINS, tasks={"next_mcc": short})).labels
    rows = labels.filter(pl.col("cutoff_date") == CUTOFF).sort("customer_key")
    assert rows.get_column("next_mcc").to_list() == [None, 0, 0, None, 1, 0]


def test_label_month_not_fully_loaded_is_immature_and_null(
    golden_bank: Any, load_bank: Callable[..., RunContext]
) -> None:
    ctx = load_bank(golden_bank, date(2015, 5, 28), splits=EVERYBODY_TRAINS)
    labels = derived(ctx, [Cutoff("train", CUTOFF, LABEL)]).labels
    assert labels.get_column("label_status").unique().to_list() == ["immature"]
    assert all(labels.get_column(task).null_count() == labels.height for task in EXPECTED)


def test_deceased_customers_are_in_no_split(golden_bank: Any, load_bank: Callable[..., RunContext]) -> None:
    assert 2 not in derived(load_bank(replace(golden_bank, deceased={"2"}))).assignment.get_column("customer_key")


def test_stage_masks_tasks_with_too_few_labels_and_says_why(
    golden_bank: Any, load_bank: Callable[..., RunContext]
) -> None:
    ctx = load_bank(golden_bank, splits=EVERYBODY_TRAINS)
    ingest(ctx)
    stage = label(ctx)
    verdict = stage.facts["tasks"]["will_acquire_payments"]
    assert verdict["status"] == "disabled"
    assert verdict["reason"] == "2 positives and 3 negatives on train, at least 200 of each expected"
    assert (verdict["positives"], verdict["train_rows"], verdict["rate"]) == (2, 5, "0.400000000")
    table = pl.read_parquet(stage.path("label_table.parquet"))
    assert table.get_column("will_acquire_payments").null_count() == table.height
    active = [name for name, v in stage.facts["tasks"].items() if v["status"] == "active"]
    assert active == ["product_stability", "cross_sell_count", "mcc_diversity_trend"]
    assert stage.facts["tasks"].keys() == set(ctx.settings.tasks.names())


def test_task_absent_from_the_source_gives_the_sources_reason(
    golden_bank: Any, load_bank: Callable[..., RunContext]
) -> None:
    others = [name for name in EXPECTED if name != "next_mcc"]
    changes = {"tasks": others, "tasks_absent_because": {"next_mcc": "the set has no transactions"}}
    ctx = load_bank(golden_bank, splits=EVERYBODY_TRAINS, source=changes)
    ingest(ctx)
    assert label(ctx).facts["tasks"]["next_mcc"]["reason"] == "the set has no transactions"


def test_unexplained_task_is_refused(golden_bank: Any, load_bank: Callable[..., RunContext]) -> None:
    ctx = load_bank(golden_bank, source={"tasks": ["churn_signal"]})
    ingest(ctx)
    with pytest.raises(SettingsError, match="next_mcc"):
        label(ctx)


def test_too_little_history_is_refused(golden_bank: Any, load_bank: Callable[..., RunContext]) -> None:
    ctx = load_bank(golden_bank, splits={"min_history_months": 5})
    ingest(ctx)
    with pytest.raises(ContractError, match="at least 10 snapshots"):
        label(ctx)
