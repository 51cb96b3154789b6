"""The embedding of the daily rows: the tensor by hand, the projection, what leaves the schema."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError

from pipeline_lib.features.daily_embedding import daily_matrix, level1_ids, mamba_temporal
from pipeline_lib.features.generator import GroupUnavailable
from pipeline_lib.settings.feature_groups.daily_embedding import DailyEmbedding
from tests.unit.features.event_world import CUTOFF, categories, make_events, material, policy, shape, some_bank

AREAS = level1_ids(categories())
WIDTH = len(AREAS) + 5
OWN = policy().daily_embedding


def with_policy(**changes: object):
    return policy().model_copy(update={"daily_embedding": OWN.model_copy(update=changes)})


def test_the_days_of_a_customer_by_hand():
    """Areas 0 and 1 on one day, cash and income on another, the unknown category in no area."""
    rows = [
        make_events([200, 3, 3, 1, 1, 1, 0], [9, 20, 5, 30, 10, 400, 7], [0, 0, 6, 0, 0, 0, 20],
                    ["spend", "spend", "spend", "cash", "transfer", "inflow", "spend"]),
        make_events([]),
    ]  # fmt: skip
    table = daily_matrix(material(rows).stream, AREAS, 180).toarray().reshape(2, 180, WIDTH)
    assert np.flatnonzero(table[0].any(axis=1)).tolist() == [176, 178, 179]
    assert not table[1].any()
    monday = {age: 2 * np.pi * ((CUTOFF - age + 3) % 7) / 7 for age in (3, 1, 0)}
    when = {age: [np.sin(angle), np.cos(angle)] for age, angle in monday.items()}
    np.testing.assert_allclose(table[0, 176], [np.log1p(20), np.log1p(5), 0, 0, np.log1p(2), 0, 0, *when[3]])
    np.testing.assert_allclose(table[0, 178], [0, 0, 0, 0, 0, 0.75, np.log1p(400), *when[1]], atol=1e-15)
    np.testing.assert_allclose(table[0, 179], [0, 0, 0, 0, np.log1p(1), 0, 0, *when[0]], atol=1e-15)


@pytest.fixture(scope="module")
def world():
    m, generator = some_bank(300), mamba_temporal(shape(), policy())
    learnt = generator.fit(m, {})
    return m, learnt, generator.make(m, learnt, {})


def test_components_span_the_best_subspace_of_the_train_rows(world):
    """As good as the exact decomposition, orthonormal, and projected on without centring."""
    m, learnt, made = world
    dense = daily_matrix(m.stream, AREAS, OWN.days).toarray()
    components = learnt["components"]
    assert components.shape == (OWN.components, OWN.days * WIDTH)
    np.testing.assert_allclose(components @ components.T, np.eye(OWN.components), atol=1e-9)
    known = dense.any(axis=1)
    best = (np.linalg.svd(dense, compute_uv=False)[: OWN.components] ** 2).sum()
    assert ((dense @ components.T) ** 2).sum() >= 0.99 * best
    values = np.stack(list(made.values()), axis=1)
    np.testing.assert_allclose(values[known], (dense @ components.T)[known], atol=0.51e-4)
    assert np.isnan(values[~known]).all()
    assert (~known).any()


def test_the_columns_are_rounded_and_named_in_order(world):
    _, learnt, made = world
    generator = mamba_temporal(shape(), policy())
    assert generator.columns_of is not None
    assert [c.name for c in generator.columns_of(learnt, {})] == list(made) == [c.name for c in generator.columns]
    assert list(made) == [f"mamba_{k:02d}" for k in range(50)]
    for values in made.values():
        np.testing.assert_array_equal(values, np.round(values, 4))


def test_learning_twice_is_learning_the_same(world):
    m, learnt, _ = world
    again = mamba_temporal(shape(), policy()).fit(m, {})
    assert again["components"].tobytes() == learnt["components"].tobytes()


def test_rows_only_move_when_they_are_permuted_or_taken_alone(world):
    m, learnt, made = world
    order = np.random.default_rng(6).permutation(len(m))
    for rows in (order, order[:1], order[:7]):
        part = replace(m, rows=m.rows[rows], stream=m.stream.at(rows))
        for name, values in mamba_temporal(shape(), policy()).make(part, learnt, {}).items():
            np.testing.assert_array_equal(values, made[name][rows], err_msg=name)


def test_another_order_of_time_is_another_result(world):
    m, learnt, made = world
    again = mamba_temporal(shape(), policy()).make(some_bank(len(m), backwards=True), learnt, {})
    both = ~np.isnan(again["mamba_01"]) & ~np.isnan(made["mamba_01"])
    assert both.sum() > 100
    assert (again["mamba_01"] != made["mamba_01"])[both].mean() > 0.9


def test_the_fit_reads_at_most_so_many_rows():
    """Evenly spread ones, the first and the last among them."""
    m = some_bank(250)
    rows = np.unique(np.linspace(0, 249, 100).astype(int))
    part = replace(m, rows=m.rows[rows], stream=m.stream.at(rows))
    few = mamba_temporal(shape(), with_policy(fit_rows=100)).fit(m, {})["components"]
    assert few.tobytes() == mamba_temporal(shape(), policy()).fit(part, {})["components"].tobytes()
    assert few.tobytes() != mamba_temporal(shape(), policy()).fit(m, {})["components"].tobytes()


def test_fewer_train_rows_than_components_are_fewer_columns():
    m = material([make_events([5, 3]), make_events([9], mcc=[7]), make_events([])])
    generator = mamba_temporal(shape(), policy())
    learnt = generator.fit(m, {})
    assert len(learnt["components"]) == 2
    assert generator.columns_of is not None
    assert [c.name for c in generator.columns_of(learnt, {})] == ["mamba_00", "mamba_01"]
    assert list(generator.make(m, learnt, {})) == ["mamba_00", "mamba_01"]


def test_without_a_backend_or_without_events_the_group_leaves_the_schema(world):
    with pytest.raises(GroupUnavailable, match="backend is none"):
        mamba_temporal(shape(), with_policy(backend="none")).fit(world[0], {})
    with pytest.raises(GroupUnavailable, match="no train row has an event"):
        mamba_temporal(shape(), policy()).fit(material([make_events([])] * 3), {})


def test_the_encoder_of_the_teacher_is_not_offered_here():
    assert mamba_temporal(shape(), policy()).backend == "svd"
    with pytest.raises(ValidationError, match="trained with the teacher"):
        DailyEmbedding(**{**OWN.model_dump(), "backend": "mamba"})
