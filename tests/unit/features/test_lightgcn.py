"""LightGCN for items alone: the paper's propagation, an exact gradient, and what it finds in a graph with a plan."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_array

from pipeline_lib.features.lightgcn import Sampler, loss_and_gradient, polynomials, row_of, train
from pipeline_lib.settings.feature_groups.graph import LightGcn

POLICY = LightGcn(
    hops=3, steps=60, batch=2048, learning_rate=0.5, l2=1e-7, init=0.1, added_weight=0.0, product_share=0.5
)
WIDTH = 8
OF_COMMUNITY = 10
"""Items of each of two communities."""


def inverse_root(degree: np.ndarray) -> np.ndarray:
    return 1.0 / np.sqrt(degree)


def normalised(weights: np.ndarray) -> np.ndarray:
    return weights * inverse_root(weights.sum(axis=1))[:, None] * inverse_root(weights.sum(axis=0))[None]


def sampler_of(weights: np.ndarray, products: int = 0) -> Sampler:
    edges = csr_array(weights)
    kind = (np.arange(weights.shape[1]) >= products).astype(np.int64)
    made = Sampler.of(edges, csr_array(normalised(weights)), kind, np.ones(edges.nnz), np.array([0.5, 0.5]))
    assert made is not None
    return made


def some_graph(rows: int = 12, items: int = 7, seed: int = 0) -> np.ndarray:
    """Weighted edges; every row has two at least, and so has every item."""
    rng = np.random.default_rng(seed)
    weights = np.where(rng.random((rows, items)) < 0.4, rng.uniform(0.5, 2.0, (rows, items)), 0.0)
    for row in range(rows):
        weights[row, [row % items, (row + 1) % items]] = 1.0
    return weights


@pytest.mark.parametrize("hops", [1, 2, 3, 4])
def test_final_vectors_are_the_mean_of_the_layers_of_the_whole_graph(hops):
    weights = some_graph()
    rows, items = weights.shape
    whole = np.block([[np.zeros((rows, rows)), weights], [weights.T, np.zeros((items, items))]])
    step = whole * inverse_root(whole.sum(axis=1))[:, None] * inverse_root(whole.sum(axis=0))[None]
    first = np.random.default_rng(1).normal(size=(items, WIDTH))
    layers = [np.vstack([np.zeros((rows, WIDTH)), first])]
    for _ in range(hops):
        layers.append(step @ layers[-1])
    expected = np.mean(layers, axis=0)
    x = normalised(weights)
    towards, places = polynomials(x.T @ x, hops)
    np.testing.assert_allclose(x @ towards @ first, expected[:rows], atol=1e-12)
    np.testing.assert_allclose(places @ first, expected[rows:], atol=1e-12)


def test_the_gradient_is_that_of_differences():
    sampler = sampler_of(some_graph(), products=3)
    some = sampler.draw(40, np.random.default_rng(2))
    towards, places = polynomials((sampler.normal.T @ sampler.normal).toarray(), 3)
    first = np.random.default_rng(3).normal(size=(7, 3))
    found = loss_and_gradient(first, some, towards, places, 0.01)[1]
    for place in np.ndindex(first.shape):
        step = np.zeros_like(first)
        step[place] = 1e-6
        high, low = (loss_and_gradient(first + s * step, some, towards, places, 0.01)[0] for s in (1, -1))
        assert found[place] == pytest.approx((high - low) / 2e-6, rel=1e-5, abs=1e-8)


def test_the_positive_is_taken_out_of_its_own_row_weight_and_degree():
    weights = some_graph()
    sampler = sampler_of(weights)
    edge = np.arange(sampler.weights.nnz)
    some = sampler.triples(edge, np.zeros(len(edge), dtype=np.int64))
    row, item = row_of(sampler.weights), sampler.weights.indices
    for k in edge:
        left = weights[row[k]].copy()
        left[item[k]] = 0.0
        expected = left * inverse_root(left.sum()) * inverse_root(weights.sum(axis=0))
        np.testing.assert_allclose(some.rows[[k]].toarray()[0], expected, atol=1e-12)


def test_a_triple_has_an_edge_and_a_stranger_of_the_same_kind():
    weights = some_graph()
    some = sampler_of(weights, products=3).draw(500, np.random.default_rng(4))
    contrast = some.contrast.toarray()
    positive, negative = contrast.argmax(axis=1), contrast.argmin(axis=1)
    assert len(some) > 100
    assert (some.rows.toarray()[np.arange(len(some)), positive] == 0).all()
    assert ((positive < 3) == (negative < 3)).all()
    assert (some.rows.toarray()[np.arange(len(some)), negative] == 0).all()


def test_shares_and_emphasis_say_how_often_an_edge_is_a_positive():
    weights = some_graph()
    edges = csr_array(weights)
    kind = (np.arange(7) >= 3).astype(np.int64)
    emphasis = np.where(edges.indices == 0, 4.0, 1.0)
    sampler = Sampler.of(edges, csr_array(normalised(weights)), kind, emphasis, np.array([0.25, 0.75]))
    chance = np.diff(sampler.chance, prepend=0.0)
    assert chance[edges.indices < 3].sum() == pytest.approx(0.25)
    assert chance[edges.indices == 0][0] == pytest.approx(4 * chance[edges.indices == 1][0])


def test_a_row_with_one_edge_teaches_nothing():
    lonely = csr_array(np.eye(5))
    assert Sampler.of(lonely, lonely, np.zeros(5, dtype=np.int64), np.ones(5), np.array([1.0])) is None


def test_equal_seeds_give_equal_bytes_and_others_do_not():
    sampler = sampler_of(some_graph())
    one, two, other = (train(sampler, POLICY, WIDTH, seed).places for seed in (5, 5, 6))
    np.testing.assert_array_equal(one, two)
    assert (one != other).any()


def members(rows: int, seed: int, held: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """(edges [rows, 20], community's other items [rows, 20]): each customer has some items of one community."""
    rng = np.random.default_rng(seed)
    edges, rest = np.zeros((rows, 2 * OF_COMMUNITY)), np.zeros((rows, 2 * OF_COMMUNITY), dtype=bool)
    for row in range(rows):
        own = OF_COMMUNITY * (row % 2) + rng.permutation(OF_COMMUNITY)
        edges[row, own[:held]], rest[row, own[held:]] = 1.0, True
    return edges, rest


def recall_of_strangers(train_edges: np.ndarray) -> float:
    """Of the rest of their community, what customers never seen find among their first 6."""
    items = train(sampler_of(train_edges), POLICY, WIDTH, 7)
    edges, rest = members(200, seed=9)
    x = edges * inverse_root(edges.sum(axis=1))[:, None] * inverse_root(train_edges.sum(axis=0))[None]
    score = np.where(edges > 0, -np.inf, x @ items.towards @ items.places.T)
    first = np.argsort(-score, axis=1)[:, : OF_COMMUNITY - 4]
    return float(np.take_along_axis(rest, first, axis=1).mean())


def test_two_communities_are_found_and_shuffled_edges_hold_none():
    edges, _ = members(400, seed=8)
    assert recall_of_strangers(edges) > 0.98
    rng = np.random.default_rng(10)
    by_chance = [recall_of_strangers(rng.permuted(edges, axis=1)) for _ in range(6)]
    assert np.mean(by_chance) == pytest.approx(6 / 16, abs=0.1)  # one plan of noise differs from the next by 0.1
