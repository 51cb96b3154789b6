"""The events of a window as points."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline_lib.features.topology.cloud import clouds, fit_scales, part, sampled
from tests.unit.features.event_world import make_events, material
from tests.unit.features.topology_world import varied


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
