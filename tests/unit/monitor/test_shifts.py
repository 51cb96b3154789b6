"""How far two models are apart on the same rows: by key, against the predecessor's deciles, the worst class counts."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from math import inf, nextafter
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import assume, given
from hypothesis import settings as tried
from hypothesis import strategies as st
from scipy import stats

from pipeline_lib import settings
from pipeline_lib.contracts.population import ends_of, frozen_counts, frozen_edges, jsd, psi, quantile_edges
from pipeline_lib.monitor import shifts
from pipeline_lib.monitor.shifts import STATISTICS, Shift
from pipeline_lib.monitor.statistics import auc, average_ranks, mean_shift, rank_correlation
from pipeline_lib.registry.package import Package, PackagedTask
from pipeline_lib.settings import Place

LIMITS = settings.load("synthetic", Place(dataset="synthetic")).monitoring
ROWS = 400
KINDS = {"churn": ("binary", ()), "next": ("multiclass", ("a", "b", "c")), "count": ("regression", ())}
FLOOR = 1e-4
tied = st.lists(st.integers(0, 9), min_size=3, max_size=60).map(lambda values: np.array(values, dtype=np.float64))


def version(by_rules: tuple[str, ...] = (), **changed: Any) -> Package:
    tasks = {
        name: PackagedTask(name, kind, classes, "distil", 3 if name in by_rules else 1, "pass", 0.05)
        for name, (kind, classes) in {**KINDS, **changed}.items()
    }
    return Package("v20261102-00000000", "0" * 64, "complete", tasks, {}, 0, {})


def scores(seed: int = 1, rows: int = ROWS) -> pl.DataFrame:
    random = np.random.default_rng(seed)
    columns = {f"s_{name}": random.uniform(size=rows) for name in ("churn", "count", "next_0", "next_1", "next_2")}
    return keys(rows).with_columns(**{name: pl.Series(values) for name, values in columns.items()})


def keys(rows: int = ROWS) -> pl.DataFrame:
    table = pl.DataFrame({"customer_key": pl.Series(range(rows), dtype=pl.Int32)})
    return table.with_columns(cutoff_date=pl.lit(date(2026, 9, 28)))


def labels(rows: int = ROWS) -> pl.DataFrame:
    """Of every fourth row the label is not known."""
    churn = [None if i % 4 == 0 else i % 2 for i in range(rows)]
    return keys(rows).with_columns(churn=pl.Series(churn, dtype=pl.Int16))


def compare(before: pl.DataFrame, now: pl.DataFrame, older: Package | None = None) -> dict[str, Shift]:
    return shifts.compare(older or version(), version(), before, now, labels(), LIMITS.drift)


def test_a_model_beside_itself_has_not_moved() -> None:
    for shift in compare(scores(), scores()).values():
        assert (shift.rows, shift.psi, shift.jsd, shift.mean_shift) == (ROWS, 0.0, 0.0, 0.0)
        assert shift.rank_correlation == pytest.approx(1)
    assert not list(shifts.alerts(compare(scores(), scores()), "champion", LIMITS.successive))


@tried(deadline=None, max_examples=20)
@given(st.permutations(range(40)), st.permutations(range(40)))
def test_rows_are_matched_by_key_and_never_by_position(one: list[int], two: list[int]) -> None:
    before, now = scores(1, 40), scores(2, 40)
    assert compare(before[one], now[two]) == compare(before, now)


def test_a_row_that_one_of_them_lacks_counts_for_neither() -> None:
    found = compare(scores(1), scores(2)[100:])
    assert found["churn"].rows == ROWS - 100
    assert found == compare(scores(1)[100:], scores(2)[100:])


@pytest.mark.parametrize("missing", [None, float("nan")], ids=["null", "NaN"])
def test_a_row_that_one_of_them_did_not_answer_is_left_out_of_that_task_alone(missing: float | None) -> None:
    gone = pl.when(pl.col("customer_key") < 50).then(missing).otherwise(pl.col("s_churn")).alias("s_churn")
    found = compare(scores(1), scores(2).with_columns(gone))
    assert (found["churn"].rows, found["count"].rows) == (ROWS - 50, ROWS)
    assert found["churn"] == compare(scores(1)[50:], scores(2)[50:])["churn"]


def test_of_several_classes_the_worst_counts() -> None:
    moved = scores().with_columns(s_next_1=1 - pl.col("s_next_1") * 0.2)
    found, alone = compare(scores(), moved)["next"], scores()["s_next_1"].to_numpy()
    assert found.rank_correlation == pytest.approx(-1)
    assert found.mean_shift == pytest.approx(abs((1 - alone * 0.2).mean() - alone.mean()))
    assert found.psi is not None
    assert found.psi > LIMITS.successive.max_psi


def test_a_regression_moves_in_its_own_standard_deviations() -> None:
    wide = scores().with_columns(s_count=pl.col("s_count") * 100)
    moved = wide.with_columns(s_count=pl.col("s_count") + 10)
    assert compare(wide, moved)["count"].mean_shift == pytest.approx(10 / wide["s_count"].to_numpy().std())


def test_the_shift_of_auc_is_that_of_the_labelled_rows() -> None:
    before, now = scores(1), scores(2)
    known = labels()["churn"].is_not_null().to_numpy()
    positive = (labels()["churn"] == 1).fill_null(False).to_numpy()[known]
    expected = abs(
        _pairs(positive, now["s_churn"].to_numpy()[known]) - _pairs(positive, before["s_churn"].to_numpy()[known])
    )
    assert compare(before, now)["churn"].auc_shift == pytest.approx(expected)
    assert compare(before, now)["count"].auc_shift is None


@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("by", [-1e-9, 1e-9, 0.2])
def test_a_constant_predecessor_that_moves_is_seen(value: float, by: float) -> None:
    flat = scores().with_columns(s_churn=pl.lit(value))
    found = compare(flat, flat.with_columns(s_churn=pl.lit(value + by)))["churn"]
    assert found.psi is not None
    assert found.psi > 1
    assert found.rank_correlation is None, "no order can be told of a constant"


def test_what_rules_answer_has_no_model_that_could_move() -> None:
    found = compare(scores(1), scores(2), version(by_rules=("churn",)))["churn"]
    assert (found.rows, found.psi, found.why) == (0, None, "answered by rules in the older version")


@pytest.mark.parametrize("task", [("binary", ("a", "b")), ("regression", ())])
def test_another_kind_or_other_classes_are_not_compared(task: tuple[str, tuple[str, ...]]) -> None:
    assert compare(scores(1), scores(2), version(next=task))["next"].why == "kind or classes differ"


def test_a_task_that_is_new_is_not_compared() -> None:
    older = version()
    without = replace(older, tasks={name: task for name, task in older.tasks.items() if name != "count"})
    assert compare(scores(1), scores(2), without)["count"].why == "the older version has no such task"


@pytest.mark.parametrize("statistic", STATISTICS)
def test_a_limit_itself_is_within_and_what_is_beyond_it_is_an_alert(statistic: str) -> None:
    low, high = shifts.bounds(statistic, LIMITS.successive)
    limit, outwards = (high, inf) if low == -inf else (low, -inf)
    at, beyond = (Shift(ROWS, **{statistic: value}) for value in (limit, nextafter(limit, outwards)))
    assert not list(shifts.alerts({"churn": at}, "anchor", LIMITS.successive))
    (alert,) = shifts.alerts({"churn": beyond}, "anchor", LIMITS.successive)
    assert (alert["against"], alert["task"], alert["statistic"], alert["limit"]) == (
        "anchor",
        "churn",
        statistic,
        limit,
    )


def test_the_limits_are_those_of_the_policy_page() -> None:
    found = {name: shifts.bounds(name, LIMITS.successive) for name in STATISTICS}
    assert found == {"psi": (-inf, 0.2), "jsd": (-inf, 0.1), "auc_shift": (-inf, 0.05), "mean_shift": (-inf, 0.1),
                     "rank_correlation": (0.95, inf)}  # fmt: skip
    assert (LIMITS.drift.feature_psi_warn, LIMITS.drift.feature_psi_critical) == (0.10, 0.25)


@given(tied, st.integers(0, 2**32 - 1))
def test_ranks_areas_and_correlations_are_those_of_the_textbook(values: np.ndarray, seed: int) -> None:
    random = np.random.default_rng(seed)
    other, positive = random.integers(0, 5, len(values)).astype(np.float64), random.random(len(values)) < 0.5
    assert np.array_equal(average_ranks(values), stats.rankdata(values))
    if positive.any() and not positive.all():
        assert auc(positive, values) == pytest.approx(_pairs(positive, values))
    else:
        assert auc(positive, values) is None
    if np.ptp(values) and np.ptp(other):
        assert rank_correlation(values, other) == pytest.approx(stats.spearmanr(values, other).statistic)
    else:
        assert rank_correlation(values, other) is None


def test_a_shift_in_units_of_nothing_is_undefined() -> None:
    flat = np.full(5, 2.0)
    assert mean_shift(flat, flat + 1, in_sd=True) is None
    assert mean_shift(flat, flat + 1, in_sd=False) == 1.0


def test_the_published_divergence_is_reproduced() -> None:
    moved = np.array([0.05, 0.08, 0.1, 0.1, 0.1, 0.1, 0.1, 0.12, 0.12, 0.13])
    assert jsd(np.full(10, 0.1), moved, FLOOR) == pytest.approx(0.0096596820, abs=1e-9)


@given(st.lists(st.floats(-5, 5) | st.just(float("nan")), min_size=1, max_size=80), st.floats(-9, 9))
def test_frozen_bins_hold_every_value_once_and_know_what_the_baseline_never_reached(
    values: list[float], new: float
) -> None:
    data = np.array(values)
    edges = frozen_edges(data, 10)
    counts = frozen_counts(data, edges)
    assert (counts.sum(), len(counts), counts[-1]) == (len(values), len(edges) + 2, np.isnan(data).sum())
    known = data[~np.isnan(data)]
    if len(known):
        low, high = ends_of(known)
        assert low <= known.min() <= known.max() < high
        assert (counts[0], counts[-2]) == (0, 0)
        outside = frozen_counts(np.array([new]), edges)
        assert bool(outside[0] or outside[-2]) == (not low <= new < high)
        assert len(edges) <= 11


@given(st.lists(st.integers(0, 12), min_size=20, max_size=80), st.floats(-0.49, 0.49))
def test_values_that_move_by_less_than_half_a_step_have_not_moved(values: list[int], by: float) -> None:
    """A frequency that is counted again every week is another number for the same category."""
    data = np.array(values, dtype=np.float64)
    assume(len(np.unique(data)) > 1)
    edges = frozen_edges(data, 10)
    assert np.array_equal(frozen_counts(data, edges), frozen_counts(data + by, edges))


@given(st.lists(st.floats(0, 1), min_size=30, max_size=200))
def test_edges_half_way_leave_every_row_of_the_baseline_in_its_decile(values: list[float]) -> None:
    data = np.array(values)
    places = np.unique(np.quantile(data, np.linspace(0, 1, 11)[1:-1]))
    deciles = np.searchsorted(places, data, side="right")
    found = np.searchsorted(quantile_edges(data, 10), data, side="right")
    for decile in np.unique(deciles):
        assert not set(found[deciles == decile]) & set(found[deciles != decile])


def test_a_column_that_is_no_longer_filled_has_moved() -> None:
    values = np.random.default_rng(0).normal(size=1000)
    edges = frozen_edges(values, 10)
    gone = np.where(np.arange(1000) < 300, np.nan, values)
    assert psi(frozen_counts(values, edges), frozen_counts(gone, edges), FLOOR) > 1


def _pairs(positive: np.ndarray, score: np.ndarray) -> float:
    """The share of pairs in which the positive row is ahead, ties half."""
    ahead = np.sign(score[positive][:, None] - score[~positive][None, :])
    return float((ahead + 1).mean() / 2)
