"""Ball arithmetic: the golden values of features.md 16, closed forms, and what makes it a geometry."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline_lib.features import ball
from pipeline_lib.features.columns import Floats

A, B = np.array([0.5, 0.0]), np.array([0.0, 0.5])
ORIGIN = np.zeros(2)

tangents = arrays(np.float64, (3, 4), elements=st.floats(-2, 2))
weights = arrays(np.float64, 3, elements=st.floats(0.01, 100))


def midpoint(points: Floats, weight: Floats) -> Floats:
    return ball.midpoint(weight @ ball.lorentz(points))


class TestGolden:
    def test_distances(self):
        assert ball.distance(ORIGIN, A) == pytest.approx(1.0986, abs=5e-5)
        assert ball.distance(A, B) == pytest.approx(1.6807, abs=5e-5)

    def test_maps_at_the_origin(self):
        assert ball.log0(A) == pytest.approx([0.5493, 0.0], abs=5e-5)
        assert ball.exp0(np.array([1.0, 0.0])) == pytest.approx([0.7616, 0.0], abs=5e-5)

    def test_midpoint_of_equal_weights(self):
        middle = midpoint(np.stack([A, B]), np.ones(2))
        assert middle == pytest.approx([0.2192, 0.2192], abs=5e-5)
        assert ball.distance(middle, A) == pytest.approx(0.8403, abs=5e-5)
        assert ball.distance(middle, B) == pytest.approx(0.8403, abs=5e-5)

    def test_midpoint_of_three_to_one(self):
        assert midpoint(np.stack([A, B]), np.array([3.0, 1.0])) == pytest.approx([0.3381, 0.1127], abs=5e-5)


class TestGeometry:
    @given(tangents)
    def test_a_distance_is_symmetric_and_obeys_the_triangle(self, v: Floats):
        x, y, z = ball.exp0(v)
        assert ball.distance(x, y) == ball.distance(y, x)
        assert ball.distance(x, z) <= ball.distance(x, y) + ball.distance(y, z) + 1e-6

    @given(tangents)
    def test_maps_undo_one_another_and_keep_the_distance_from_the_origin(self, v: Floats):
        x = ball.exp0(v)
        assert ball.log0(x) == pytest.approx(v, abs=1e-9)
        assert ball.origin_distance(x) == pytest.approx(ball.distance(x, np.zeros(4)), abs=1e-6)

    @given(tangents, weights)
    def test_the_midpoint_is_the_mean_of_klein_coordinates(self, v: Floats, w: Floats):
        x = ball.exp0(v)
        klein = 2 * x / (1 + (x**2).sum(axis=1, keepdims=True))
        factor = w / np.sqrt(1 - (klein**2).sum(axis=1))
        mean = factor @ klein / factor.sum()
        expected = mean / (1 + np.sqrt(1 - mean @ mean))
        assert midpoint(x, w) == pytest.approx(expected, abs=1e-8)

    @given(tangents)
    def test_the_midpoint_of_two_is_as_far_from_both(self, v: Floats):
        x = ball.exp0(v[:2])
        middle = midpoint(x, np.ones(2))
        assert ball.distance(middle, x[0]) == pytest.approx(ball.distance(middle, x[1]), abs=1e-6)

    @given(tangents, weights, st.floats(0.01, 1000))
    def test_only_the_proportions_of_weights_matter(self, v: Floats, w: Floats, scale: float):
        x = ball.exp0(v)
        assert midpoint(x, w) == pytest.approx(midpoint(x, scale * w), abs=1e-9)


def test_no_weight_has_no_midpoint():
    assert np.isnan(midpoint(np.stack([A, B]), np.zeros(2))).all()


def test_points_beyond_the_rim_are_drawn_back():
    drawn = ball.projected(np.array([[3.0, 4.0], [0.3, 0.4]]))
    assert drawn == pytest.approx(np.array([[0.6 * ball.RIM, 0.8 * ball.RIM], [0.3, 0.4]]))
    assert np.isfinite(ball.log0(drawn)).all()
