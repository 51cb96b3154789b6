"""DeepFM: crosses of fields."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_lib.errors import SchemaError
from pipeline_lib.teacher.experts.deepfm import DeepFM, fields_of, pairwise
from tests.unit.teacher.experts.fabricated import inputs_of


def test_fields_are_the_routed_groups_and_the_raw_ones() -> None:
    assert [group.name for group in fields_of(inputs_of(narrow=True))] == [
        "state_0",
        "state_1",
        "state_2",
        "log_copies",
    ]


@given(st.integers(2, 7), st.integers(1, 5), st.integers(0, 2**31))
@settings(max_examples=30, deadline=None)
def test_pairwise_is_the_double_loop_over_field_pairs(fields: int, width: int, seed: int) -> None:
    v = torch.randn(3, fields, width, generator=torch.Generator().manual_seed(seed)).double()
    expected = sum(v[:, f] * v[:, g] for f in range(fields) for g in range(f + 1, fields))
    torch.testing.assert_close(pairwise(v), expected)


def test_a_single_field_has_nothing_to_cross() -> None:
    with pytest.raises(SchemaError, match="two feature groups"):
        DeepFM([(0, 5)], 4, [8], 8, 0.0)


def test_two_fields_interact_by_the_mean_size_of_their_product() -> None:
    torch.manual_seed(0)
    expert, x = DeepFM([(0, 2), (2, 5), (6, 8)], 4, [8], 8, 0.0), torch.randn(10, 8)
    found, v = expert.interactions(x), expert.fields(x)
    assert found.shape == (3, 3)
    torch.testing.assert_close(found[0, 2], (v[:, 0] * v[:, 2]).sum(1).abs().mean())
    torch.testing.assert_close(found, found.T)
    assert not found.diagonal().any()
