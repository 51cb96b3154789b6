from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pipeline_lib.features.columns import Column, ratio
from pipeline_lib.features.normalise import fit_scaling, normalise

NUM, FLAG = Column("x", "num", ("t.x",)), Column("f", "bin", ("t.f",))
VALUES = st.floats(-1e6, 1e6, width=32) | st.just(float("nan"))


@given(hnp.arrays(np.float32, st.tuples(st.integers(2, 40), st.just(2)), elements=VALUES), st.integers(0, 39))
def test_rows_outside_train_do_not_move_the_scaler(matrix, place: int):
    train = np.ones(len(matrix), dtype=bool)
    train[place % len(matrix)] = False
    before = fit_scaling(matrix, train, [NUM, FLAG], 1e-10)
    matrix[place % len(matrix)] = 1e9
    assert fit_scaling(matrix, train, [NUM, FLAG], 1e-10) == before


@given(hnp.arrays(np.float32, st.tuples(st.integers(2, 40), st.just(2)), elements=VALUES))
def test_scaled_values_are_finite_clipped_and_row_by_row(matrix):
    scalings = fit_scaling(matrix, np.ones(len(matrix), dtype=bool), [NUM, FLAG], 1e-10)
    scaled = normalise(matrix, [NUM, FLAG], scalings, 10.0)
    assert np.isfinite(scaled).all()
    assert np.abs(scaled[:, 0]).max() <= 10
    alone = np.vstack([normalise(row[None, :], [NUM, FLAG], scalings, 10.0) for row in matrix])
    assert np.array_equal(alone, scaled)


def test_a_constant_column_keeps_its_scale():
    matrix = np.full((5, 1), 3.0, dtype=np.float32)
    (scaling,) = fit_scaling(matrix, np.ones(5, dtype=bool), [NUM], 1e-10)
    assert (scaling.mean, scaling.std) == (3.0, 1.0)
    assert normalise(matrix, [NUM], [scaling], 10.0).tolist() == [[0.0]] * 5


def test_a_ratio_over_nothing_is_not_defined():
    assert np.isnan(ratio(np.array([1.0, 0.0]), np.array([0.0, 0.0]))).all()
    assert ratio(np.array([1.0]), np.array([4.0])).tolist() == [0.25]
