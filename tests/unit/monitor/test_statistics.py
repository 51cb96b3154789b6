"""Golden values of monitoring.md and properties of the distances."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline_lib.contracts.population import histogram, psi, quantile_edges
from pipeline_lib.monitor.statistics import parity

FLOOR = 1e-4
BASE = np.full(10, 0.1)
MOVED = np.array([0.05, 0.08, 0.1, 0.1, 0.1, 0.1, 0.1, 0.12, 0.12, 0.13])
EMPTIED = np.array([0, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.2])
counts = arrays(np.float64, 6, elements=st.integers(1, 10_000).map(float))


def test_the_published_distance_is_reproduced() -> None:
    assert psi(BASE, MOVED, FLOOR) == pytest.approx(0.0542840203, abs=1e-9)


def test_one_emptied_bin_is_critical() -> None:
    assert psi(BASE, EMPTIED, FLOOR) == pytest.approx(0.7594, abs=1e-4)


def test_published_parity_is_reproduced() -> None:
    found = parity(180, 1000, 1000, 4000)
    assert found.di == pytest.approx(0.72, abs=1e-12)
    assert (found.di_low, found.di_high) == pytest.approx((0.6242112894, 0.8304880235), abs=1e-9)
    assert found.spd == pytest.approx(-0.07, abs=1e-12)
    # The page prints -4.6627309165; its own counts give ...9105, and its p-value agrees with that.
    assert found.z == pytest.approx(-4.6627309105, abs=1e-9)
    assert found.p == pytest.approx(3.1204065278e-06, rel=1e-9)


def test_a_reference_nobody_selects_has_no_ratio() -> None:
    assert parity(3, 300, 0, 300).di is None


@given(counts, counts)
def test_distances_are_not_negative_and_zero_only_for_equal_shares(a: np.ndarray, b: np.ndarray) -> None:
    assert psi(a, b, FLOOR) >= 0
    assert psi(a, 2 * a, FLOOR) == pytest.approx(0, abs=1e-12)


@given(st.lists(st.floats(0, 1), min_size=30, max_size=200))
def test_every_value_falls_into_one_bin(values: list[float]) -> None:
    data = np.array(values)
    edges = quantile_edges(data, 10)
    assert histogram(data, edges).sum() == len(values)
