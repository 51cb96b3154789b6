"""Fields: one table is many tables, and nothing of a row that is not train's is learnt."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline_lib.teacher.classic.bins import Fields, edges, learn
from pipeline_lib.teacher.classic.fields import FieldLayer
from pipeline_lib.teacher.classic.piecewise import PiecewiseLinear

N = 400


def columns(seed: int = 0, size: int = N) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    gains = np.where(rng.random(size) < 0.9, 0, rng.integers(1, 99_999, size))
    return {
        "color": rng.choice(np.array(["blue", "green", "red"]), size),
        "code": rng.integers(0, 5, size),
        "gains": gains,
        "age": rng.integers(18, 90, size),
    }


@pytest.fixture
def fields() -> Fields:
    return learn(columns(), ["color", "code"], ["gains", "age"], bins=8)


def test_one_fused_table_equals_a_table_per_field(fields: Fields) -> None:
    torch.manual_seed(1)
    layer = FieldLayer(fields.sizes, fields.numbers, dim=3, std=0.1)
    ids, z = (torch.from_numpy(a) for a in fields.encode(columns(7)))
    tables = layer.table.split(fields.sizes)
    starts = np.concatenate([[0], np.cumsum(fields.sizes)[:-1]])
    each = [torch.nn.functional.embedding(ids[:, f] - int(s), tables[f]) for f, s in enumerate(starts)]
    out = layer(ids, z)
    assert out.shape == (N, layer.width)
    assert torch.equal(out, torch.cat([*each, z], dim=1))


def test_fused_gradients_are_those_of_the_separate_tables(fields: Fields) -> None:
    layer = FieldLayer(fields.sizes, fields.numbers, dim=3, std=0.1).double()
    ids, z = (torch.from_numpy(a) for a in fields.encode(columns(7)))
    layer(ids, z.double()).sin().sum().backward()
    plain = layer.table.detach().clone().requires_grad_()
    torch.cat([torch.nn.functional.embedding(i, plain) for i in ids.unbind(1)], dim=1).sin().sum().backward()
    torch.testing.assert_close(layer.table.grad, plain.grad)


def test_other_rows_change_nothing_that_is_learnt(fields: Fields) -> None:
    """What is learnt is a function of train rows: scoring stranger rows before or after gives the same fields."""
    strange = {name: column[::-1] * 7 if column.dtype.kind == "i" else column for name, column in columns(3).items()}
    before = dataclasses.replace(fields)
    fields.encode(strange)
    again = learn(columns(), ["color", "code"], ["gains", "age"], bins=8)
    for one, two in ((fields, before), (fields, again)):
        assert one.sizes == two.sizes
        assert one.moments == two.moments
        assert all(np.array_equal(one.edges[n], two.edges[n]) for n in one.edges)


def test_a_value_unknown_to_train_has_the_id_of_its_field_for_unknown(fields: Fields) -> None:
    strange = columns(1) | {"color": np.full(N, "violet"), "code": np.full(N, 77)}
    ids, _ = fields.encode(strange)
    assert (ids[:, 0] == 0).all()
    assert (ids[:, 1] == fields.sizes[0]).all()


def test_ids_of_fields_never_meet_and_stay_in_the_table(fields: Fields) -> None:
    far = columns(2) | {"gains": np.full(N, 10**9), "age": np.full(N, -5)}
    for table in (columns(), far):
        ids, _ = fields.encode(table)
        ends = np.cumsum(fields.sizes)
        assert (ids < ends).all()
        assert (ids >= ends - fields.sizes).all()


@given(st.lists(st.integers(-50, 50), min_size=2, max_size=200), st.integers(2, 12))
def test_edges_ascend_between_values_that_occur(values: list[int], bins: int) -> None:
    x = np.array(values, dtype=float)
    found = edges(x, bins)
    assert (np.diff(found) > 0).all()
    assert not np.isin(found, x).any()
    assert len(found) < len(np.unique(x)) or not len(found)
    if len(np.unique(x)) <= bins:  # every value has its own bin
        assert len(np.unique(np.searchsorted(found, x))) == len(np.unique(x))


def test_a_column_of_zeros_still_gets_its_tail_binned() -> None:
    """Quantiles of all rows would put every edge at zero."""
    x = np.concatenate([np.zeros(940), np.arange(1.0, 61.0)])
    counts = np.bincount(np.searchsorted(edges(x, 8), x))
    assert counts[0] == 940
    assert len(counts) >= 5
    assert counts[1:].max() <= 15


def test_numbers_are_standard_on_train_rows(fields: Fields) -> None:
    _, z = fields.encode(columns())
    np.testing.assert_allclose(z.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(z.std(0), 1, atol=1e-5)


def test_the_piecewise_code_says_how_far_through_its_bins_a_number_is(fields: Fields) -> None:
    """Bins below are 1, bins above 0, its own bin in between: the sum grows with the number. Gorishniy 2022, eq. 1."""
    knots = [np.array([0.0, 1.0, 3.0]), np.array([-1.0, 1.0])]
    layer = PiecewiseLinear(knots, dim=4)
    code = layer.code(torch.tensor([[0.5, 0.0], [2.0, 5.0], [9.0, -3.0]]))
    expected = [[[0.5, 0], [0.5, 0]], [[1, 0.5], [1, 0]], [[1, 1], [0, 0]]]
    torch.testing.assert_close(code, torch.tensor(expected))
    assert layer(torch.zeros(5, 2)).shape == (5, layer.width)
    assert [len(k) - 1 for k in fields.knots()] == fields.sizes[2:]
