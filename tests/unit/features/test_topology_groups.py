"""The three groups of topology on rows with events of their own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import silhouette_score

from pipeline_lib.features.columns import Column
from pipeline_lib.features.generator import Arrays, Generator, GroupUnavailable
from pipeline_lib.features.stream import Events
from pipeline_lib.features.topology import groups
from pipeline_lib.features.topology.cohorts import levels, medians
from tests.unit.features.event_world import make_events, policy, shape
from tests.unit.features.topology_world import FACTORIES, bank, fitted, spending, varied


def test_loops_need_15_events_and_parts_5():
    generator, learnt = fitted("tda_short")
    made = generator.make(spending([varied(n, seed=n) for n in (4, 5, 14, 15, 30)]), learnt, {})
    assert np.isnan(made["tda_short_local_h0_entropy"]).tolist() == [True, False, False, False, False]
    assert np.isnan(made["tda_short_global_h0_mean"]).tolist() == [True, False, False, False, False]
    assert np.isnan(made["tda_short_local_h1_entropy"]).tolist() == [True, True, True, False, False]


def test_five_equal_events_have_a_diagram_without_bars():
    generator, learnt = fitted("tda_short")
    made = generator.make(spending([make_events([3] * 20)] * 2), learnt, {})
    assert made["tda_short_local_h0_entropy"].tolist() == [0.0, 0.0]
    assert np.isnan(made["tda_short_local_h0_mean"]).all()


def test_train_deaths_end_at_1_for_95_of_100():
    generator, learnt = fitted("tda_long")
    # The infinite bar of every row repeats its longest finite one; without it 5 % of the deaths exceed the scale.
    _, found = groups.diagrams(bank(), learnt, policy(), "long")
    offsets, bars = found.offsets, found.values
    keep = np.ones(len(bars), dtype=bool)
    keep[offsets[:-1][np.diff(offsets) > 0]] = False
    parts = bars[keep & (bars[:, 2] == 0)]
    assert np.mean(parts[:, 1] > 1.0) == pytest.approx(0.05, abs=0.002)


@pytest.mark.parametrize("name", FACTORIES)
def test_values_are_the_rows_own(name: str):
    generator, learnt = fitted(name)
    m = bank()
    whole = generator.make(m, learnt, {})
    assert sorted(whole) == sorted(column.name for column in columns_of(generator, learnt))
    picked = np.array([41, 7, 3])
    some = generator.make(
        replace(m, rows=m.rows[picked], profile=m.profile[picked], stream=m.stream.at(picked)), learnt, {}
    )
    for key, values in some.items():
        np.testing.assert_array_equal(values, whole[key][picked])
    assert any(np.isfinite(values).mean() > 0.5 for values in whole.values())


@pytest.mark.parametrize("name", FACTORIES)
def test_the_size_of_a_block_changes_nothing(name: str, monkeypatch: pytest.MonkeyPatch):
    generator, learnt = fitted(name)
    whole = generator.make(bank(), learnt, {})
    monkeypatch.setattr(groups, "BLOCK_ROWS", 7)
    for key, values in generator.make(bank(), learnt, {}).items():
        np.testing.assert_array_equal(values, whole[key])


@pytest.mark.parametrize("name", FACTORIES)
def test_refitting_gives_the_same_arrays(name: str):
    generator, learnt = fitted(name)
    again = generator.fit(bank(), {})
    assert {key: value.tobytes() for key, value in again.items()} == {k: v.tobytes() for k, v in learnt.items()}


@pytest.mark.parametrize("name", FACTORIES)
def test_nothing_to_learn_from_makes_the_group_unavailable(name: str):
    with pytest.raises(GroupUnavailable, match="no customer"):
        FACTORIES[name](shape(), policy()).fit(spending([varied(3), make_events([9] * 40)]), {})


def columns_of(generator: Generator, learnt: Arrays) -> tuple[Column, ...]:
    return generator.columns_of(learnt, {}) if generator.columns_of else generator.columns


def test_the_global_scope_is_the_contrast_with_the_cohort():
    generator, learnt = fitted("tda_long")
    m = bank()
    made = generator.make(m, learnt, {})
    counts = m.stream.window(360, ("spend",)).counts
    age = m.profile["age"].cast(pl.Float64).fill_null(np.nan).to_numpy()
    for row in np.flatnonzero(counts >= 15)[:8]:
        group = 6 if np.isnan(age[row]) else sum(age[row] >= cut for cut in policy().age_cuts)
        held = m.profile["num_products"][int(row)]
        cell = (group, sum(counts[row] >= cut for cut in learnt["activity_cuts"]), (held >= 2) + (held >= 4))
        usual = learnt["cohort_median"][cell][1]
        gap = made["tda_long_local_h0_mean"][row] - made["tda_long_global_h0_mean"][row]
        assert gap == pytest.approx(usual, abs=1e-12)


def test_levels_of_a_cohort_begin_at_their_cut():
    profile = pl.DataFrame({"age": [24, 25, 65, None], "num_products": [1, 2, 3, 4]})
    found = levels(profile, np.array([9, 10, 20, 0]), np.array([10.0, 20.0]), [25, 35, 45, 55, 65])
    assert found.tolist() == [[0, 0, 0], [1, 1, 1], [5, 2, 1], [6, 0, 2]]


def test_small_cohorts_fall_back_to_their_parents():
    cohort = np.array([[0, 0, 0]] * 6 + [[0, 0, 1]] * 2 + [[0, 1, 0]] * 3 + [[1, 2, 2]] * 2)
    values = np.array([1.0] * 6 + [9.0] * 2 + [4.0] * 3 + [8.0] * 2)[:, None]
    table = medians(cohort, values, min_rows=5, age_cuts=[40])[..., 0]
    assert table[0, 0, 0] == 1.0, "large enough by itself"
    assert table[0, 0, 1] == np.median([1.0] * 6 + [9.0] * 2), "age group and activity"
    assert table[0, 1, 0] == np.median([1.0] * 6 + [9.0] * 2 + [4.0] * 3), "age group"
    assert table[1, 2, 2] == table[2, 0, 0] == np.median(values), "all train rows"
    undefined = np.where(values == 1.0, np.nan, values)
    assert medians(cohort, undefined, 5, [40])[0, 0, 0, 0] == 4.0, "undefined values do not count"


def test_a_contrast_that_copies_its_column_leaves_the_schema():
    generator = groups.tda_short(shape(), policy())
    learnt = generator.fit(bank(), {})
    names = [column.name for column in columns_of(generator, learnt)]
    assert len(names) == 12, "60 rows make no cohort of 200"
    assert not any("global" in name for name in names)
    assert sorted(generator.make(bank(), learnt, {})) == sorted(names)
    assert len(columns_of(*fitted("tda_long"))) == len(generator.columns) == 24


def test_columns_name_what_they_come_from():
    columns = {c.name: c for name in FACTORIES for c in FACTORIES[name](shape(), policy()).columns}
    assert len(columns) == 24 + 24 + 10
    assert all(c.kind == "num" and c.needs == ("transaction_event.event_type=spend",) for c in columns.values())
    assert "customer_snapshot.age" in columns["tda_long_global_h1_median"].lineage
    assert "customer_snapshot.age" not in columns["tda_long_local_h1_median"].lineage


def test_ways_to_spend_are_told_apart_by_shape_alone():
    """Gate of features.md 7.3: a silhouette of at least .15."""
    rng = np.random.default_rng(11)

    def person(kind: int) -> Events:
        n = 60
        ages = np.sort(rng.integers(0, 360, n) // 7 * 7 if kind == 0 else rng.integers(0, 360, n))[::-1]
        hours = {0: rng.normal(12, 0.2, n), 1: rng.uniform(0, 24, n), 2: rng.choice([8.0, 20.0], n)}[kind] % 24
        categories = {0: rng.integers(0, 2, n), 1: rng.integers(0, 20, n), 2: rng.choice([0, 19], n)}[kind]
        amounts = np.exp(rng.normal(3, (0.1, 1.0, 0.3)[kind], n))
        return make_events(
            ages.tolist(), amounts.tolist(), categories.tolist(), second=(hours * 3600).astype(int).tolist()
        )

    kinds = np.arange(120) % 3
    m = spending([person(int(kind)) for kind in kinds])
    generator = groups.tda_long(shape(), policy())
    made = generator.make(m, generator.fit(m, {}), {})
    table = np.stack([value for key, value in made.items() if "local" in key], axis=1)
    assert not np.isnan(table).any()
    assert silhouette_score((table - table.mean(axis=0)) / table.std(axis=0), kinds) >= 0.15
