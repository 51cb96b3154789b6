"""The customer-item graph: the decomposition against NumPy's own, and a vector that knows one customer only."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from pipeline_lib import settings
from pipeline_lib.features import graph
from pipeline_lib.features.build import inputs_of
from pipeline_lib.features.events import Windows
from pipeline_lib.features.generator import Generator, GroupUnavailable, Shape
from pipeline_lib.features.groups import shape_of
from pipeline_lib.features.history import History
from pipeline_lib.features.inputs import FeatureInputs
from pipeline_lib.features.load import opened
from pipeline_lib.features.material import Material
from pipeline_lib.features.plants.world import make_world
from pipeline_lib.ingest.source_tables import category_table
from pipeline_lib.settings import Place
from pipeline_lib.settings.features import Features
from tests.unit.features.conftest import WORLD, open_run

CODES = [("5411", "grocery", "food", True), ("5812", "eating", "food", True), ("4111", "ground", "travel", True)]
PRODUCTS = ("saving", "loan", "card")
SHAPE = Shape(PRODUCTS, (1, 2, 2), category_table([*CODES, ("fee", "fees", "bank", False)]))
ITEMS = 6


def with_backend(backend: str) -> Features:
    """The shipped policy with this backend; training is cut short."""
    policy = settings.load("synthetic", Place(dataset="synthetic", home=Path("unused"), threads=1)).features
    short = policy.graph.lightgcn.model_copy(update={"steps": 40})
    return policy.model_copy(update={"graph": policy.graph.model_copy(update={"backend": backend, "lightgcn": short})})


@pytest.fixture(scope="module", params=["svd", "lightgcn"])
def policy(request: pytest.FixtureRequest) -> Features:
    return with_backend(request.param)


def material(held: np.ndarray, used: np.ndarray) -> Material:
    """``held`` [R, 3] flags, ``used`` [R, 5] events of a year by mcc_idx: three codes, the bank's fee, unknown."""
    rows, n = len(held), np.zeros(len(held), dtype=np.int64)
    row, mcc = np.nonzero(used)
    use = {"row_id": row, "mcc_idx": mcc.astype(np.int32), "n_year": used[row, mcc]}
    keys = pl.DataFrame({"row_id": np.arange(rows), "customer_key": np.arange(rows), "cutoff_date": date(2026, 1, 28)})
    months = np.full((rows, 12), np.nan)
    history = History(n + 12, held * 0, held * 0, held > 0, held > 0, held * 12, months, months, months)
    windows = Windows({}, np.zeros((rows, 14), dtype=np.int64), np.full(rows, np.nan))
    return Material(keys, keys.select("row_id"), history, windows, pl.DataFrame(use), SHAPE.categories, PRODUCTS)


@pytest.fixture(scope="module")
def train() -> Material:
    rng = np.random.default_rng(3)
    held = (rng.random((60, 3)) < [0.6, 0.3, 0.4]).astype(np.int64)
    used = rng.poisson(rng.choice([0.0, 3.0], (60, 5)))
    held[(held.sum(axis=1) == 0), 0] = 1
    held[0], used[0] = 0, 0
    held[1], used[1] = 0, [0, 0, 0, 7, 7]
    return material(held, used)


@pytest.fixture(scope="module")
def generator(policy: Features) -> Generator:
    return graph.graph_collaborative(SHAPE, policy)


@pytest.fixture(scope="module")
def learnt(generator: Generator, train: Material) -> dict:
    return generator.fit(train, {})


def vectors(generator: Generator, m: Material, learnt: dict) -> np.ndarray:
    made = generator.make(m, learnt, {})
    return np.stack([made[column.name] for column in generator.columns_of(learnt, {})], axis=1)


class TestCollaborative:
    def test_train_rows_are_u_times_s_of_the_normalised_graph(self, train):
        generator = graph.graph_collaborative(SHAPE, with_backend("svd"))
        learnt = generator.fit(train, {})
        used = np.zeros((len(train), 5))
        use = train.category_use
        used[use["row_id"], use["mcc_idx"]] = np.log1p(use["n_year"])
        counts = used[:, :3]
        w = np.hstack([train.history.held_now, counts / counts[counts > 0].mean()])
        x = w[2:] / np.sqrt(w[2:].sum(axis=1, keepdims=True)) / np.sqrt(w.sum(axis=0))
        u, s, _ = np.linalg.svd(x, full_matrices=False)
        expected = (u * s)[:, : ITEMS - 1]
        found = vectors(generator, train, learnt)[2:]
        signs = np.sign((found * expected).sum(axis=0))
        assert found == pytest.approx(expected * signs, abs=1e-9)

    def test_a_graph_of_n_items_has_n_minus_1_columns(self, policy, generator, learnt):
        assert len(generator.columns) == ITEMS - 1
        assert len(generator.columns_of(learnt, {})) == ITEMS - 1
        assert generator.backend == policy.graph.backend
        assert generator.block == "collab_emb"

    def test_other_customers_in_the_batch_change_no_byte(self, generator, learnt, train):
        whole = vectors(generator, train, learnt)
        order = np.random.default_rng(0).permutation(len(train))
        np.testing.assert_array_equal(vectors(generator, train.at(order), learnt), whole[order])
        for row in range(len(train)):
            np.testing.assert_array_equal(vectors(generator, train.at(np.array([row])), learnt)[0], whole[row])

    def test_train_rows_in_another_order_teach_the_same_bytes(self, generator, learnt, train):
        again = generator.fit(train.at(np.random.default_rng(1).permutation(len(train))), {})
        for name, array in learnt.items():
            np.testing.assert_array_equal(again[name], array, err_msg=name)

    def test_a_customer_never_seen_gets_the_vector_of_a_twin_in_train(self, generator, learnt, train):
        twin = train.at(np.array([5]))
        stranger = replace(twin, rows=twin.rows.with_columns(customer_key=pl.lit(999)))
        np.testing.assert_array_equal(vectors(generator, stranger, learnt)[0], vectors(generator, train, learnt)[5])

    def test_without_an_edge_there_is_no_vector(self, generator, learnt, train):
        found = vectors(generator, train, learnt)
        assert np.isnan(found[:2]).all()  # nothing at all; only what the bank books and what nobody knows
        assert np.isfinite(found[2:]).all()

    def test_an_item_that_train_never_saw_is_no_edge(self, policy):
        held, used = np.array([[1, 0, 0], [0, 1, 0], [1, 1, 0]]), np.array([[2, 0, 0, 0, 0], [1, 3, 0, 0, 0], [0] * 5])
        generator = graph.graph_collaborative(SHAPE, policy)
        learnt = generator.fit(material(held, used), {})
        new = material(np.array([[1, 0, 0], [1, 0, 1], [0, 0, 1]]), np.zeros((3, 5), dtype=np.int64))
        found = vectors(generator, new, learnt)
        np.testing.assert_array_equal(found[0], found[1])
        assert np.isnan(found[2]).all()
        rank = 3  # of three customers
        assert len(generator.columns_of(learnt, {})) == (rank if policy.graph.backend == "svd" else ITEMS - 1)

    def test_a_graph_without_structure_or_backend_is_no_group(self, policy):
        empty = material(np.zeros((4, 3), dtype=np.int64), np.zeros((4, 5), dtype=np.int64))
        with pytest.raises(GroupUnavailable, match=r"rank 0|no row of the train graph has two edges"):
            graph.graph_collaborative(SHAPE, policy).fit(empty, {})
        off = policy.model_copy(update={"graph": policy.graph.model_copy(update={"backend": "none"})})
        with pytest.raises(GroupUnavailable, match="backend is none"):
            graph.graph_collaborative(SHAPE, off).fit(empty, {})


def test_what_comes_after_a_row_s_cutoff_is_no_edge_of_it(tmp_path):
    ctx = open_run(tmp_path)
    make_world(ctx, WORLD)
    inputs, policy = inputs_of(ctx), ctx.settings.features
    early = np.flatnonzero((inputs.rows["cutoff_date"] == inputs.rows["cutoff_date"].min()).to_numpy())
    late = np.setdiff1d(np.arange(len(inputs.rows)), early)
    now, then = (_edges(one, policy) for one in (inputs, _rewritten(inputs, tmp_path)))
    np.testing.assert_array_equal(now[early], then[early])
    products = len(inputs.products)
    for items in (slice(0, products), slice(products, None)):  # both were rewritten
        assert (now[late, items] != then[late, items]).any()


def _edges(inputs: FeatureInputs, policy: Features) -> np.ndarray:
    with opened(inputs, policy, 1) as data:
        return graph.edges_of(data.material(timed=False), shape_of(inputs), 1.0).toarray()


def _rewritten(inputs: FeatureInputs, folder: Path) -> FeatureInputs:
    """Every product flag after the earliest cutoff is turned round, every event after it is of one category."""
    last = inputs.rows["cutoff_date"].min()
    snapshots, events, none = dict(inputs.snapshots), [], pl.col("^prod_.*$") == 0
    for day in [day for day in snapshots if day > last]:
        table = pl.read_parquet(snapshots[day]).with_columns(none.cast(pl.Int8))
        table.write_parquet(folder / f"{day}.parquet")
        snapshots[day] = folder / f"{day}.parquet"
    for path in inputs.events:
        table = pl.read_parquet(path)
        one = pl.when(pl.col("event_date") > last).then(pl.lit(0, pl.UInt8)).otherwise(pl.col("mcc_idx"))
        table.with_columns(one.alias("mcc_idx")).write_parquet(folder / path.name)
        events.append(folder / path.name)
    return replace(inputs, snapshots=snapshots, events=tuple(events))


class TestStats:
    def test_length_of_the_vector_and_number_of_edges(self, policy, train):
        collaborative, stats = graph.graph_collaborative(SHAPE, policy), graph.graph_stats(SHAPE, policy)
        made = collaborative.make(train, collaborative.fit(train, {}), {})
        found = stats.make(train, stats.fit(train, made), made)
        lengths = np.linalg.norm(np.stack(list(made.values()), axis=1), axis=1)
        np.testing.assert_allclose(found["graph_norm"], lengths, rtol=1e-12)
        known = train.category_use.filter(pl.col("mcc_idx") < 3)["row_id"].to_numpy()
        edges = train.history.held_now.sum(axis=1) + np.bincount(known, minlength=len(train))
        np.testing.assert_allclose(found["graph_degree"], np.where(edges > 0, np.log1p(edges), np.nan), rtol=1e-12)

    def test_without_vectors_there_are_no_stats(self, policy, train):
        with pytest.raises(GroupUnavailable, match="not built"):
            graph.graph_stats(SHAPE, policy).fit(train, {})
