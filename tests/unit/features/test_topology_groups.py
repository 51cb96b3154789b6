"""Clouds, cohorts and the three groups of topology on rows with events of their own."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import silhouette_score

from pipeline_lib.features.generator import Arrays, Generator, GroupUnavailable
from pipeline_lib.features.material import Material
from pipeline_lib.features.stream import Events
from pipeline_lib.features.topology import groups
from pipeline_lib.features.topology.cloud import clouds, confidence, fit_scales, part, sampled
from pipeline_lib.features.topology.cohorts import medians
from pipeline_lib.features.topology.phase import NAMES, PHASES, phase_of, phase_scores, transition_probability
from tests.unit.features.event_world import make_events, material, policy, shape, some_bank

ROWS = 60
FACTORIES = {
    "tda_short": groups.tda_short,
    "tda_long": groups.tda_long,
    "phase_transition": groups.phase_transition,
}


def with_profile(m: Material) -> Material:
    rng = np.random.default_rng(8)
    ages = pl.Series([None, *rng.integers(18, 90, len(m) - 1).tolist()], dtype=pl.Int16)
    held = rng.integers(0, 7, len(m)).astype(np.int8)
    return replace(m, profile=m.profile.with_columns(ages.alias("age"), pl.Series("num_products", held)))


@cache
def bank() -> Material:
    return with_profile(some_bank(ROWS))


@cache
def fitted(name: str) -> tuple[Generator, Arrays]:
    generator = FACTORIES[name](shape(), small_cohorts())
    return generator, generator.fit(bank(), {})


def small_cohorts():
    own = policy()
    return own.model_copy(update={"topology": own.topology.model_copy(update={"cohort_min_rows": 5})})


def spending(rows: list[Events]) -> Material:
    return with_profile(material(rows))


def varied(n: int, seed: int = 0, days: int = 90, timed: bool = True) -> Events:
    """n different events within some days."""
    rng = np.random.default_rng(seed)
    return make_events(
        sorted(rng.integers(0, days, n).tolist(), reverse=True),
        np.round(np.exp(rng.normal(3, 1, n)), 2).tolist(),
        rng.integers(0, 20, n).tolist(),
        second=rng.integers(0, 86_400, n).tolist() if timed else None,
    )


def test_coordinates_have_about_unit_variance_per_variable():
    events = varied(5000, days=360)
    window = material([events]).stream.window(360, ("spend",))
    points = clouds(window, 5000, fit_scales(window.events)).points[0]
    variance = points.var(axis=0, ddof=1)
    assert [variance[0], variance[1], variance[2:4].sum(), variance[4:].sum()] == pytest.approx([1] * 4, abs=0.02)


def test_categories_rank_by_their_frequency_and_unseen_ones_come_last():
    ranks = fit_scales(make_events([0] * 10, mcc=[3] * 6 + [1] * 4))["mcc_rank"]
    assert ranks[[3, 1, 7]].tolist() == [0.3, 0.8, 1.0]


def test_a_source_without_hours_has_four_coordinates():
    window = material([varied(40, timed=False)]).stream.window(90)
    learnt = fit_scales(window.events)
    assert learnt["hour_radius"][0] == 0.0
    assert (clouds(window, 60, learnt).points[0, :, 4:] == 0).all()
    timed = fit_scales(varied(40))
    assert timed["hour_radius"][0] == 1.0
    assert (clouds(window, 60, timed).points[0, :, 4:] == 0).all(), "an event without a time lies at the centre"


def test_samples_are_spread_over_time():
    crowd = make_events([85] * 300 + list(range(79, -1, -2)), amounts=np.arange(1, 341).tolist())
    window = material([crowd, varied(20)]).stream.window(90, ("spend",))
    kept = sampled(window, np.array([50, 50]))
    assert kept.counts.tolist() == [50, 20]
    buckets = np.bincount((89 - kept.age[:50]) * 10 // 90, minlength=10)
    # Ten buckets in turn: the oldest has 300 events, the others four or five each, and these give all they have.
    assert buckets.tolist() == [10, 4, 5, 4, 5, 4, 5, 4, 5, 4]
    even = material([make_events(sorted(list(range(90)) * 4, reverse=True))]).stream.window(90)
    assert np.bincount((89 - sampled(even, np.array([60])).age) * 10 // 90).tolist() == [6] * 10


def test_a_sample_does_not_depend_on_the_order_of_events_or_on_the_batch():
    events = varied(200)
    order = np.lexsort((np.random.default_rng(3).random(200), events.day))
    alone, turned = (material([e]).stream.window(90) for e in (events, events.take(order)))
    both = material([varied(90, seed=4), events]).stream.window(90)
    cap = np.array([60])
    first = np.sort(sampled(alone, cap).events.amount)
    assert np.array_equal(first, np.sort(sampled(turned, cap).events.amount))
    assert np.array_equal(first, np.sort(sampled(both, np.array([60, 60])).events.amount[60:]))


def test_parts_of_a_window_count_their_own_days():
    window = material([make_events([359, 180, 179, 0])]).stream.window(360)
    late, early = part(window, 0, 180), part(window, 180, 360)
    assert (late.age.tolist(), early.age.tolist(), late.days) == ([179, 0], [179, 0], 180)


def test_loops_need_15_events_and_parts_5():
    generator, learnt = fitted("tda_short")
    made = generator.make(spending([varied(n, seed=n) for n in (4, 5, 14, 15, 30)]), learnt, {})
    assert np.isnan(made["tda_short_local_h0_entropy"]).tolist() == [True, False, False, False, False]
    assert np.isnan(made["tda_short_global_h0_mean"]).tolist() == [True, False, False, False, False]
    assert np.isnan(made["tda_short_local_h1_entropy"]).tolist() == [True, True, True, False, False]
    assert confidence(np.array([4, 5, 14, 15, 29, 30])).tolist() == [0, 1, 1, 2, 2, 3]


def test_five_equal_events_have_a_diagram_without_bars():
    generator, learnt = fitted("tda_short")
    made = generator.make(spending([make_events([3] * 20)] * 2), learnt, {})
    assert made["tda_short_local_h0_entropy"].tolist() == [0.0, 0.0]
    assert np.isnan(made["tda_short_local_h0_mean"]).all()


def test_train_deaths_end_at_1_for_95_of_100():
    generator, learnt = fitted("tda_long")
    _, bars = groups.diagrams(bank(), learnt, policy(), "long")
    # The infinite bar of every row repeats its longest finite one; without it 5 % of the deaths exceed the scale.
    offsets, _ = groups.diagrams(bank(), learnt, policy(), "long")
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
def test_refitting_gives_the_same_arrays(name: str):
    generator, learnt = fitted(name)
    again = generator.fit(bank(), {})
    assert {key: value.tobytes() for key, value in again.items()} == {k: v.tobytes() for k, v in learnt.items()}


@pytest.mark.parametrize("name", FACTORIES)
def test_nothing_to_learn_from_makes_the_group_unavailable(name: str):
    with pytest.raises(GroupUnavailable, match="no customer"):
        FACTORIES[name](shape(), policy()).fit(spending([varied(3), make_events([9] * 40)]), {})


def columns_of(generator: Generator, learnt: Arrays):
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


def test_transition_probability():
    assert transition_probability(np.array([1.2]), 0.5)[0] == pytest.approx(0.8022, abs=1e-4)


def test_half_of_train_changes_more_than_tau():
    generator, learnt = fitted("phase_transition")
    probability = generator.make(bank(), learnt, {})["pt_transition_probability"]
    known = probability[~np.isnan(probability)]
    assert len(known) > 20
    assert np.median(known) == pytest.approx(0.5)


def test_phases_need_5_events_in_each_half():
    generator, learnt = fitted("phase_transition")
    late = varied(40)
    rows = [make_events([200 + k for k in range(n)][::-1], amounts=list(range(5, 5 + n))) for n in (4, 5)]
    joined = [Events(**{k: np.concatenate([v, getattr(late, k)]) for k, v in vars(row).items()}) for row in rows]
    made = generator.make(spending(joined), learnt, {})
    assert sorted(made) == sorted(NAMES)
    for name in NAMES[:5]:
        assert np.isnan(made[name]).tolist() == [True, False], name


def test_equal_halves_do_not_change():
    generator, learnt = fitted("phase_transition")
    half = varied(40, seed=2, days=84)
    # 182 days earlier is the same weekday; days 182..265 and 0..83 lie in one half each.
    events = Events(**{key: np.concatenate([value, value]) for key, value in vars(half).items()})
    events = replace(events, day=np.concatenate([half.day - 182, half.day]).astype(np.int32))
    whole = policy().model_copy(update={"topology": policy().topology.model_copy(update={"half_points": 50})})
    made = groups.phase_transition(shape(), whole).make(spending([events, events]), learnt, {})
    for name in ("pt_W1_distance_h0", "pt_W1_distance_h1", "pt_max_structural_shift", "pt_direction"):
        assert made[name] == pytest.approx([0.0, 0.0], abs=1e-9)


def test_the_phase_is_the_largest_score():
    one = np.array([1.0])
    quiet, calm = np.full((1, 4), 1.0), 0.0 * one
    assert PHASES[phase_of(phase_scores(0.1 * one, calm, calm, quiet))[0]] == "Stable"
    assert PHASES[phase_of(phase_scores(0.9 * one, calm, calm, quiet))[0]] == "Transitioning"
    assert PHASES[phase_of(phase_scores(0.5 * one, 0.8 * one, calm, quiet))[0]] == "Growing"
    assert PHASES[phase_of(phase_scores(0.5 * one, -0.8 * one, calm, quiet))[0]] == "Shrinking"
    wild = np.array([[0.0, 4.0, 0.0, 4.0]])
    assert PHASES[phase_of(phase_scores(0.5 * one, calm, one, wild))[0]] == "Chaotic"
    assert phase_of(phase_scores(0.5 * one, calm, one, np.full((1, 4), np.nan)))[0] == -1


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
