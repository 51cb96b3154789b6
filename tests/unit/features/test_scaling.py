from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pipeline_lib.features.columns import Column, ratio
from pipeline_lib.features.normalise import Moments, normalise, scalings

NUM, FLAG = Column("x", "num", ("t.x",)), Column("f", "bin", ("t.f",))
BOTH = [("own", NUM), ("own", FLAG)]
VALUES = st.floats(-1e6, 1e6, width=32) | st.just(float("nan"))
MATRICES = hnp.arrays(np.float32, st.tuples(st.integers(2, 40), st.just(2)), elements=VALUES)


@given(MATRICES, st.integers(0, 40))
def test_moments_of_two_halves_are_those_of_the_whole(matrix, cut: int):
    whole, merged = Moments.of(matrix), Moments.of(matrix[:cut]).merged(Moments.of(matrix[cut:]))
    assert np.array_equal(whole.n, merged.n)
    assert np.allclose(whole.mean, merged.mean, rtol=1e-12, atol=1e-6)
    assert np.allclose(whole.m2, merged.m2, rtol=1e-9, atol=1e-3)


@given(MATRICES)
def test_moments_are_those_of_numpy(matrix):
    for i, known in enumerate(matrix[:, k][~np.isnan(matrix[:, k])].astype(np.float64) for k in range(2)):
        moments = Moments.of(matrix)
        assert moments.n[i] == len(known)
        if len(known) > 1:
            assert np.isclose(moments.mean[i], known.mean(), rtol=1e-12, atol=1e-9)
            assert np.isclose(moments.m2[i], known.var() * len(known), rtol=1e-9, atol=1e-3)


@given(MATRICES)
def test_scaled_values_are_finite_clipped_and_row_by_row(matrix):
    scaling = scalings(Moments.of(matrix), BOTH, 1e-10)
    scaled = normalise(matrix, [NUM, FLAG], scaling, 10.0)
    assert np.isfinite(scaled).all()
    assert np.abs(scaled[:, 0]).max() <= 10
    alone = np.vstack([normalise(row[None, :], [NUM, FLAG], scaling, 10.0) for row in matrix])
    assert np.array_equal(alone, scaled)


def test_a_constant_column_keeps_its_scale():
    matrix = np.full((5, 1), 3.0, dtype=np.float32)
    (scaling,) = scalings(Moments.of(matrix), [("own", NUM)], 1e-10)
    assert (scaling.mean, scaling.std) == (3.0, 1.0)
    assert normalise(matrix, [NUM], [scaling], 10.0).tolist() == [[0.0]] * 5


def test_a_column_without_values_keeps_its_scale():
    matrix = np.full((5, 1), np.nan, dtype=np.float32)
    (scaling,) = scalings(Moments.of(matrix), [("own", NUM)], 1e-10)
    assert (scaling.mean, scaling.std, scaling.fill) == (0.0, 1.0, 0.0)


def scaled_column(column: Column, values: list[float], others: list[Column] | None = None) -> list[float]:
    columns = [column, *(others or [])]
    matrix = np.array([[value] * len(columns) for value in values], dtype=np.float32)
    scaling = scalings(Moments.of(matrix), [("own", c) for c in columns], 1e-10)
    return normalise(matrix, columns, scaling, 10.0)[:, 0].tolist()


def test_undefined_becomes_what_the_kind_says():
    nan = float("nan")
    probabilities = [Column(f"p{k}", "prob", ("t.p",)) for k in range(4)]
    assert scaled_column(probabilities[0], [0.5, nan], probabilities[1:]) == [0.5, 0.25]
    assert scaled_column(Column("c", "cyc", ("t.c",)), [0.5, nan]) == [0.5, 0.0]
    assert scaled_column(Column("m", "mask", ("t.c",)), [1.0, nan]) == [1.0, 0.0]
    assert scaled_column(Column("cluster", "code", ("t.c",), fill=1.0), [0.25, nan]) == [0.25, 1.0]
    assert scaled_column(Column("x__log", "log", ("t.c",)), [400.0, nan]) == [400.0, 0.0]


def test_an_embedding_is_scaled_by_one_number_and_keeps_its_direction():
    columns = [Column(f"e{k}", "emb", ("t.e",)) for k in range(3)]
    matrix = np.random.default_rng(1).normal(size=(200, 3)).astype(np.float32) * [1.0, 5.0, 0.1]
    matrix = matrix.astype(np.float32)
    matrix[7] = np.nan
    scaling = scalings(Moments.of(matrix), [("own", c) for c in columns], 1e-10)
    assert len({s.std for s in scaling}) == 1
    scaled = normalise(matrix, columns, scaling, 10.0)
    known = np.delete(scaled, 7, axis=0).astype(np.float64)
    assert np.isclose(np.sqrt((known**2).sum(axis=1).mean()), np.sqrt(3), rtol=1e-5)
    assert scaled[7].tolist() == [0.0, 0.0, 0.0]


def test_a_ratio_over_nothing_is_not_defined():
    assert np.isnan(ratio(np.array([1.0, 0.0]), np.array([0.0, 0.0]))).all()
    assert ratio(np.array([1.0]), np.array([4.0])).tolist() == [0.25]
