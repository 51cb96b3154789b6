"""phase_transition: how the halves and quarters of a year differ."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import persim
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_lib.features.stream import Events
from pipeline_lib.features.topology import groups
from pipeline_lib.features.topology.cloud import fit_scales
from pipeline_lib.features.topology.phase import (
    NAMES,
    PHASES,
    Halves,
    columns,
    distances,
    halves,
    phase_of,
    phase_scores,
    transition_probability,
)
from tests.unit.features.event_world import make_events, material, policy, shape
from tests.unit.features.topology_world import bank, bars, fitted, spending, varied

DEATHS = st.lists(st.integers(1, 20).map(lambda n: (0.0, n / 8)), max_size=6)
DIAGRAM = st.lists(st.tuples(st.integers(0, 20), st.integers(1, 40)), max_size=5).map(
    lambda pairs: [(birth / 8, (birth + life) / 8) for birth, life in pairs]
)


def test_transition_probability():
    assert transition_probability(np.array([1.2]), 0.5)[0] == pytest.approx(0.8022, abs=1e-4)


def test_half_of_train_changes_more_than_tau():
    generator, learnt = fitted("phase_transition")
    probability = generator.make(bank(), learnt, {})["pt_transition_probability"]
    known = probability[~np.isnan(probability)]
    assert len(known) > 20
    assert np.median(known) == pytest.approx(0.5)


def test_phase_columns_are_their_formulas():
    """From the diagrams of two halves, by persim and by hand."""
    _, learnt = fitted("phase_transition")
    raw = halves(bank().stream.window(360, ("spend",)), 30, 15, learnt)
    made = columns(raw, learnt, 30)
    both = raw.normalised(float(learnt["scale"][0]))
    for row in np.flatnonzero(raw.points >= 10)[:12]:
        early, late = ([bars.of(row) for bars in half] for half in (both.early, both.late))
        w = [persim.wasserstein(x, y) for x, y in zip(early, late, strict=True)]
        shift = max(persim.bottleneck(x, y) for x, y in zip(early, late, strict=True))
        before, after = (sum(float(np.diff(bars).sum()) for bars in half) for half in (early, late))
        p = 1 / (1 + np.exp(-2 * (sum(w) - learnt["tau"][0])))
        m = raw.quarters[row]
        steps = [abs(m[1] - m[0]), abs(m[2] - m[1]), abs(m[3] - m[2])]
        frequency = sum(step > learnt["step"][0] for step in steps) / 3
        direction = (after - before) / (after + before)
        chaotic = min(1, frequency * np.std(m, ddof=1) / np.mean(m))
        ordered = sorted([1 - p, p, max(0, direction), max(0, -direction), chaotic])
        expected = [*w, sum(w), shift, p, steps[2] / sum(steps), frequency, direction, sum(w) / (after + before)]
        found = [made[name][row] for name in NAMES]
        assert found == pytest.approx([*expected, 1 - ordered[3] / ordered[4]], rel=1e-6, abs=1e-6)


@given(st.lists(st.tuples(DIAGRAM, DIAGRAM, DEATHS, DEATHS), min_size=1, max_size=3))
def test_the_shift_is_the_larger_of_both_bottlenecks(rows):
    """Loops longer than any gap between parts are rare in clouds, so the diagrams are made here."""
    early, late, early_deaths, late_deaths = zip(*rows, strict=True)
    loops, parts = [bars(*early), bars(*late)], [bars(*early_deaths), bars(*late_deaths)]
    both = Halves((parts[0], loops[0]), (parts[1], loops[1]), np.full(len(rows), 9), np.ones((len(rows), 4)))
    _, far, shift = distances(both, 30)
    for row in range(len(rows)):
        x, y, a, b = (diagram.of(row) for diagram in (*loops, *parts))
        assert far[row] == pytest.approx(persim.wasserstein(x, y), abs=1e-9)
        assert shift[row] == pytest.approx(max(persim.bottleneck(x, y), persim.bottleneck(a, b)), abs=1e-9)


def test_a_quarter_of_the_steps_of_train_are_frequent():
    _, learnt = fitted("phase_transition")
    raw = halves(bank().stream.window(360, ("spend",)), 30, 15, learnt)
    steps = np.abs(np.diff(raw.quarters, axis=1))
    assert (steps > learnt["step"][0]).sum() / (~np.isnan(steps)).sum() == pytest.approx(0.25, abs=0.01)


def test_quarters_are_counted_from_the_oldest():
    wild = varied(30, days=80)
    ages = np.concatenate([280 + np.arange(80, 50, -1), 200 + np.arange(30), 110 + np.arange(30), 10 + np.arange(30)])
    calm = make_events(sorted(ages[30:].tolist(), reverse=True))
    events = Events(**{key: np.concatenate([getattr(wild, key), value]) for key, value in vars(calm).items()})
    events = replace(events, day=np.concatenate([wild.day - 279, calm.day]).astype(np.int32))
    raw = halves(material([events]).stream.window(360, ("spend",)), 30, 15, fit_scales(events))
    assert np.argmax(raw.quarters[0]) == 0


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
