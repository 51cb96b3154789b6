"""Diagrams and their distances against ripser, persim, SciPy's spanning tree and features.md 16."""

from __future__ import annotations

import numpy as np
import persim
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from ripser import ripser
from scipy.sparse.csgraph import minimum_spanning_tree
from scipy.spatial.distance import pdist, squareform

from pipeline_lib.features.topology.bars import statistics
from pipeline_lib.features.topology.cloud import Clouds
from pipeline_lib.features.topology.diagrams import Diagrams
from pipeline_lib.features.topology.matching import bottleneck, bottleneck_h0, wasserstein, wasserstein_h0
from pipeline_lib.features.topology.rips import mean_edges, persistence
from tests.unit.features.topology_world import bars

# A coarse grid: equal points, equal distances and ties are the rule.
coordinates = st.integers(-6, 6).map(lambda n: n / 4)
small_clouds = st.integers(2, 12).flatmap(lambda n: arrays(np.float32, (n, 6), elements=coordinates))
lengths = st.lists(st.integers(0, 40).map(lambda n: n / 8), max_size=7)
diagrams = st.lists(st.tuples(st.integers(0, 20), st.integers(1, 20)), max_size=6).map(
    lambda pairs: np.array([(birth / 8, (birth + life) / 8) for birth, life in pairs]).reshape(-1, 2)
)


def clouds_of(*points: np.ndarray) -> Clouds:
    padded = np.zeros((len(points), max(len(p) for p in points), 6), dtype=np.float32)
    for row, own in enumerate(points):
        padded[row, : len(own), : own.shape[1]] = own
    return Clouds(padded, np.array([len(p) for p in points]))


def oracle(points: np.ndarray) -> list[np.ndarray]:
    """ripser's own answer for one cloud: finite H0 and H1, the longest first."""
    parts, loops = ripser(squareform(pdist(points.astype(np.float64))), distance_matrix=True, maxdim=1)["dgms"]
    finite = parts[np.isfinite(parts[:, 1])]
    return [d[np.lexsort((d[:, 0], d[:, 0] - d[:, 1]))] for d in (finite[finite[:, 1] > 0], loops)]


def column(deaths: list[float], width: int = 7) -> np.ndarray:
    return np.array(sorted(deaths, reverse=True) + [0.0] * (width - len(deaths)))[:, None]


def on_axis(deaths: list[float]) -> np.ndarray:
    return np.array([(0.0, death) for death in deaths if death > 0]).reshape(-1, 2)


def test_the_unit_square_has_three_edges_and_one_loop():
    h0, h1 = persistence(clouds_of(np.array([[0, 0], [1, 0], [1, 1], [0, 1]])), loops_from=2)
    np.testing.assert_allclose(h0.of(0), [(0, 1), (0, 1), (0, 1)])
    np.testing.assert_allclose(h1.of(0), [(1, np.sqrt(2))], atol=1e-6)


def test_statistics_of_two_bars():
    found = {name: value[0] for name, value in statistics(bars([(0.2, 0.9), (0.5, 0.55)])).items()}
    assert found["entropy"] == pytest.approx(0.2449, abs=1e-4)
    assert [found[name] for name in ("mean", "min", "max", "median")] == pytest.approx([0.375, 0.05, 0.7, 0.375])
    assert found["std"] == pytest.approx(np.std([0.7, 0.05], ddof=1))


def test_a_uniform_diagram_has_the_entropy_of_its_size():
    assert statistics(bars([(0.0, 1.0)] * 20))["entropy"][0] == pytest.approx(2.9957, abs=1e-4)


def test_a_row_without_bars_has_entropy_0_and_nothing_else():
    found = statistics(bars([(0.0, 1.0)], [], [(0.0, 2.0), (0.0, 3.0), (0.0, 5.0)], []))
    assert found.pop("entropy")[[1, 3]].tolist() == [0.0, 0.0]
    assert all(np.isnan(value[[1, 3]]).all() for value in found.values())
    assert found["median"][[0, 2]].tolist() == [1.0, 3.0]
    assert np.isnan(found["std"][0]), "one bar has no standard deviation"


def test_golden_distances():
    a, b = np.array([(0.2, 0.9), (0.5, 0.55)]), np.array([(0.25, 0.8)])
    assert wasserstein(a, b) == pytest.approx(0.1472, abs=1e-4)
    assert bottleneck(a, b) == pytest.approx(0.1000, abs=1e-4)
    assert bottleneck(a, b, at_least=0.3) == 0.3


@given(st.lists(small_clouds, min_size=1, max_size=4))
def test_h0_lifetimes_sum_to_the_spanning_tree(points):
    clouds = clouds_of(*points)
    h0, _ = persistence(clouds, loops_from=99)
    # SciPy's graphs take a length of 0 for no edge, so equal points are made one; their edge adds nothing.
    apart = [np.unique(p.astype(np.float64), axis=0) for p in points]
    trees = [minimum_spanning_tree(squareform(pdist(p))).sum() if len(p) > 1 else 0.0 for p in apart]
    np.testing.assert_allclose(h0.total(), trees, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(mean_edges(clouds), np.array(trees) / (clouds.count - 1), rtol=1e-5, atol=1e-5)


@given(st.lists(small_clouds, min_size=1, max_size=3))
def test_bars_are_those_of_ripser(points):
    h0, h1 = persistence(clouds_of(*points), loops_from=2)
    for row, own in enumerate(points):
        for found, expected in zip((h0, h1), oracle(own), strict=True):
            # Sorted by death: lengths that differ by rounding alone may change places.
            got = found.of(row)
            np.testing.assert_allclose(got[np.lexsort(got.T)], expected[np.lexsort(expected.T)], rtol=1e-5, atol=1e-5)


def test_clouds_of_all_sizes_are_those_of_ripser():
    rng = np.random.default_rng(5)
    points = [rng.normal(size=(n, 6)).astype(np.float32) for n in (60, 2, 30, 45, 5, 15, 60)]
    h0, h1 = persistence(clouds_of(*points), loops_from=15)
    for row, own in enumerate(points):
        parts, loops = oracle(own)
        np.testing.assert_allclose(h0.of(row), parts, atol=1e-5)
        np.testing.assert_allclose(h1.of(row), loops if len(own) >= 15 else np.empty((0, 2)), atol=1e-5)


def test_a_cloud_is_the_same_in_any_batch():
    rng = np.random.default_rng(6)
    points = [rng.normal(size=(n, 6)).astype(np.float32) for n in rng.integers(1, 40, 300)]
    together = persistence(clouds_of(*points), loops_from=2)
    quarters = mean_edges(clouds_of(*points))
    for row in range(0, 300, 29):
        alone = persistence(clouds_of(points[row]), loops_from=2)
        for one, all_rows in zip(alone, together, strict=True):
            assert np.array_equal(one.of(0), all_rows.of(row))
            for name, value in statistics(one).items():
                np.testing.assert_array_equal(value[0], statistics(all_rows)[name][row])
        np.testing.assert_array_equal(mean_edges(clouds_of(points[row]))[0], quarters[row])


def test_equal_points_leave_no_bar():
    h0, h1 = persistence(clouds_of(np.ones((20, 6))), loops_from=2)
    assert len(h0.death) == len(h1.death) == 0
    assert mean_edges(clouds_of(np.ones((20, 6)), np.ones((1, 6))))[0] == 0.0
    assert np.isnan(mean_edges(clouds_of(np.ones((20, 6)), np.ones((1, 6))))[1]), "one point has no edge"


@given(diagrams, diagrams)
def test_distances_are_those_of_persim(a, b):
    assert wasserstein(a, b) == pytest.approx(persim.wasserstein(a, b), abs=1e-9)
    assert bottleneck(a, b) == pytest.approx(persim.bottleneck(a, b), abs=1e-9)


@given(lengths, lengths)
def test_distances_of_h0_are_those_of_persim(a, b):
    x, y = column(a), column(b)
    assert wasserstein_h0(x, y)[0] == pytest.approx(persim.wasserstein(on_axis(a), on_axis(b)), abs=1e-9)
    assert bottleneck_h0(x, y)[0] == pytest.approx(persim.bottleneck(on_axis(a), on_axis(b)), abs=1e-9)


@given(st.lists(st.floats(0.01, 100), max_size=7), st.lists(st.floats(0.01, 100), max_size=7))
def test_distances_of_uneven_h0_are_those_of_persim(a, b):
    x, y = column(a), column(b)
    assert wasserstein_h0(x, y)[0] == pytest.approx(persim.wasserstein(on_axis(a), on_axis(b)), abs=1e-7)
    assert bottleneck_h0(x, y)[0] == pytest.approx(persim.bottleneck(on_axis(a), on_axis(b)), abs=1e-7)


def test_the_list_of_bars_is_sorted_capped_and_ends_the_infinite_bar():
    h0, h1 = bars([(0, 1), (0, 3), (0, 2)], [], [(0, 1)]), bars([(2, 3), (1, 2), (1, 4)], [], [])
    found = Diagrams(np.array([30, 3, 6]), h0, h1)
    offsets, listed = found.listed(most=99)
    assert offsets.tolist() == [0, 7, 7, 9]
    assert listed[:7].tolist() == [[0, 3, 0], [0, 3, 0], [0, 2, 0], [0, 1, 0], [1, 4, 1], [1, 2, 1], [2, 3, 1]]
    assert listed[7:].tolist() == [[0, 1, 0], [0, 1, 0]]
    offsets, listed = found.listed(most=5)
    assert offsets.tolist() == [0, 5, 5, 7]
    assert listed[4:].tolist() == [[1, 4, 1], [0, 1, 0], [0, 1, 0]]


def test_normalising_drops_bars_that_are_too_short():
    found = bars([(0.0, 2.0), (1.0, 1.0 + 1e-6)]).normalised(2.0)
    assert found.of(0).tolist() == [[0.0, 1.0]]
