"""Products and categories as trees: the embedding and its gate, and a customer's place in it."""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl
import pytest

from pipeline_lib import settings
from pipeline_lib.errors import ContractError
from pipeline_lib.features import ball, hierarchy_merchants, hierarchy_products, hyperbolic, trees
from pipeline_lib.features.columns import MERCHANT, Column, split_available
from pipeline_lib.features.events import Windows
from pipeline_lib.features.generator import Arrays, Generator, GroupUnavailable, Shape
from pipeline_lib.features.hierarchy_aggregates import aggregates
from pipeline_lib.features.hierarchy_spend import leaf_of, leaf_spend
from pipeline_lib.features.history import History
from pipeline_lib.features.material import Material
from pipeline_lib.features.stream import KINDS, NO_MERCHANT, NO_TIME, Events, Stream
from pipeline_lib.ingest.source_tables import category_table
from pipeline_lib.ingest.synthetic import taxonomy
from pipeline_lib.settings import Place
from pipeline_lib.settings.features import Features

CATEGORIES = category_table([(code, l2, l1, True) for code, l2, l1 in taxonomy.rows()])
FAMILIES = (1, 1, 2, 4, 6, 2, 2, 2, 2, 3, 3, 3, 2, 4, 5, 4, 5, 6, 5, 4, 2, 6, 6, 6)
PRODUCTS = tuple(f"p{i}" for i in range(len(FAMILIES)))
SHAPE = Shape(PRODUCTS, FAMILIES, CATEGORIES)
TODAY, UNKNOWN = 20_000, 109
ROWS = 30
NOTHING, ONE_PURCHASE, ONE_CATEGORY = 0, 1, 2
"""Rows of the small bank that are drawn on purpose."""


def code(text: str) -> int:
    return taxonomy.codes().index(text)


def material(purchases: list[tuple[int, int, int, float, int, str]], rows: int = ROWS) -> Material:
    """Rows at one cutoff; ``purchases`` are (row, days ago, mcc_idx, amount, merchant, kind)."""
    ordered = sorted(purchases, key=lambda p: (p[0], -p[1]))
    row, age, mcc, amount, merchant, kind = (np.array(x) for x in zip(*ordered, strict=True))
    level = {name: CATEGORIES[name].to_numpy()[mcc] for name in ("l1_id", "l2_id")}
    events = Events(
        day=(TODAY - age).astype(np.int32),
        second=np.full(len(row), NO_TIME, dtype=np.int32),
        kind=np.array([KINDS.index(k) for k in kind], dtype=np.uint8),
        mcc=mcc.astype(np.uint8),
        l2=level["l2_id"],
        l1=level["l1_id"],
        merchant=merchant.astype(np.int64),
        amount=amount.astype(np.float64),
    )
    stream = Stream.of(row.astype(np.int64), events, np.arange(rows), np.full(rows, TODAY, dtype=np.int32))
    keys = pl.DataFrame({"row_id": np.arange(rows), "customer_key": np.arange(rows), "cutoff_date": date(2026, 1, 28)})
    use = pl.DataFrame(schema={"row_id": pl.Int64, "mcc_idx": pl.Int32, "n_year": pl.Int64})
    windows = Windows({}, np.zeros((rows, 14), dtype=np.int64), np.full(rows, np.nan))
    return Material(keys, keys.select("row_id"), history(rows), windows, use, CATEGORIES, PRODUCTS, stream)


def history(rows: int) -> History:
    """Row 0 holds nothing, row 1 one product for 5 months, row 2 two of them for 3 months and 1."""
    months = np.random.default_rng(4).integers(0, 13, (ROWS, len(PRODUCTS))) * (np.arange(ROWS) > 2)[:, None]
    months[1, 3], months[2, [3, 17]] = 5, [3, 1]
    months = months[:rows]
    n, by_month = np.full(rows, 12), np.full((rows, 12), np.nan)
    return History(n, months * 0, months * 0, months > 0, months > 0, months, by_month, by_month, by_month)


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Features:
    place = Place(dataset="synthetic", home=tmp_path_factory.mktemp("home"), threads=1)
    return settings.load("synthetic", place).features


@pytest.fixture(scope="module")
def bank() -> Material:
    rng = np.random.default_rng(2)
    drawn = [
        (int(row), int(rng.integers(0, 360)), int(mcc), float(np.exp(rng.normal(3, 1))), int(rng.integers(-1, 9)), kind)
        for row in range(3, ROWS)
        for mcc in rng.integers(0, UNKNOWN + 1, 40)
        for kind in rng.choice(["spend", "refund", "inflow"], 1, p=[0.8, 0.1, 0.1])
    ]
    one = [(ONE_PURCHASE, 10, code("5411"), 20.0, 1, "spend")]
    return material([*drawn, *one, *((ONE_CATEGORY, age, code("5812"), 5.0, 2, "spend") for age in (1, 100, 300))])


def columns(generator: Generator, learnt: Arrays) -> tuple[Column, ...]:
    return generator.columns_of(learnt, {}) if generator.columns_of else generator.columns


def values(generator: Generator, learnt: Arrays, m: Material) -> np.ndarray:
    made = generator.make(m, learnt, {})
    assert list(made) == [column.name for column in columns(generator, learnt)]
    return np.stack(list(made.values()), axis=1)


class TestEmbedding:
    @pytest.mark.parametrize(
        ("tree", "dim"), [(trees.category_tree(CATEGORIES), 8), (trees.product_tree(FAMILIES), 32)]
    )
    def test_real_trees_pass_the_gate(self, policy, tree, dim):
        x = trees.embed(tree, dim, policy.hierarchy.ball, 1)
        assert trees.ancestor_precision(tree, x) >= 0.95
        assert trees.parents_inside(tree, x) >= 0.99
        assert ball.norm(x).max() <= ball.RIM

    @pytest.mark.parametrize("paths", [[(1,), (2,)], [(1,), (1,), (1,)], [(1, 1), (2, 1)], [(1, 1), (1, 1), (1, 2)]])
    def test_the_smallest_trees_pass_too(self, policy, paths):
        trees.embed(trees.tree_of(paths), 8, policy.hierarchy.ball, 1)

    def test_an_unfinished_embedding_is_refused(self, policy):
        slow = policy.hierarchy.ball.model_copy(update={"learning_rate": 0.001})
        with pytest.raises(ContractError, match="of parents nearer the origin, expected at least 0.95 and 0.99"):
            trees.embed(trees.category_tree(CATEGORIES), 8, slow, 1)

    def test_the_gradient_is_that_of_the_loss(self):
        tree = trees.tree_of([(1,), (1,), (2,)])
        x = np.random.default_rng(5).uniform(-0.5, 0.5, (len(tree), 3))
        ancestors = tree.ancestors()
        node, ancestor = np.argwhere(ancestors)[:4].T
        others = ~ancestors & ~np.eye(len(tree), dtype=bool)

        def loss(x: np.ndarray) -> float:
            apart = ball.distance(x[:, None], x[None])
            total = 0.0
            for u, v in zip(node, ancestor, strict=True):
                candidates = others[u] | (np.arange(len(tree)) == v)
                total += apart[u, v] + np.log(np.exp(-apart[u][candidates]).sum())
            return total

        step, found = 1e-6, np.zeros_like(x)
        for place in np.ndindex(*x.shape):
            up, down = x.copy(), x.copy()
            up[place] += step
            down[place] -= step
            found[place] = (loss(up) - loss(down)) / (2 * step)
        assert trees._gradient(x, node, ancestor, others) == pytest.approx(found, abs=1e-6)

    def test_a_tree_lists_its_levels_and_ancestors(self):
        tree = trees.tree_of([(7, 70), (5, 50), (7, 71)])
        assert tree.parent == (-1, 0, 0, 1, 2, 2, 4, 3, 5)  # root; 5, 7; 50, 70, 71; the leaves as given
        assert tree.above(1).tolist() == [1, 0, 1]
        assert tree.above(2).tolist() == [1, 0, 2]
        assert np.flatnonzero(tree.ancestors()[6]).tolist() == [0, 2, 4]


class TestProducts:
    @pytest.fixture
    def place(self, policy, bank) -> tuple[np.ndarray, np.ndarray]:
        """(products [P, 32], rows [R, 34])."""
        generator = hierarchy_products.generator(SHAPE, policy)
        learnt = generator.fit(bank, {})
        return learnt["points"], values(generator, learnt, bank)

    def test_34_columns_and_nothing_held_is_not_defined(self, place):
        _, found = place
        assert found.shape == (ROWS, 34)
        assert np.isnan(found[0]).all()
        assert np.isfinite(found[1:]).all()

    def test_one_product_is_its_own_middle(self, place):
        points, found = place
        assert found[1, :32] == pytest.approx(ball.log0(points[3]), rel=1e-6)
        assert found[1, 32] == pytest.approx(found[1, 33]) == pytest.approx(ball.origin_distance(points[3]))

    def test_months_held_are_the_weights_of_the_middle_and_not_of_the_depth(self, place):
        points, found = place
        middle = ball.midpoint(3 * ball.lorentz(points[3]) + ball.lorentz(points[17]))
        assert found[2, :32] == pytest.approx(ball.log0(middle), rel=1e-9)
        assert found[2, 33] == pytest.approx(ball.origin_distance(points[[3, 17]]).mean())

    def test_families_of_one_product_each_are_no_hierarchy(self, policy, bank):
        flat = Shape(("account", "card", "loan"), (0, 1, 2), CATEGORIES)
        with pytest.raises(GroupUnavailable, match="no family has two products"):
            hierarchy_products.generator(flat, policy).fit(bank, {})


class TestHyperbolic:
    @pytest.fixture(scope="class")
    @classmethod
    def generator(cls, policy) -> Generator:
        return hyperbolic.generator(SHAPE, policy)

    @pytest.fixture(scope="class")
    @classmethod
    def learnt(cls, generator, bank) -> Arrays:
        return generator.fit(bank, {})

    def test_20_columns_and_no_purchase_is_not_defined(self, generator, learnt, bank):
        found = values(generator, learnt, bank)
        assert found.shape == (ROWS, 20)
        assert np.isnan(found[NOTHING]).all()
        assert np.isfinite(found[1:]).all()

    def test_one_category_is_its_own_middle(self, generator, learnt, bank):
        found = values(generator, learnt, bank)[ONE_CATEGORY]
        leaf = learnt["points"][trees.category_tree(CATEGORIES).leaves][code("5812")]
        assert found[:8] == pytest.approx(ball.log0(leaf), rel=1e-6)
        mean, deepest, sd, p90 = found[8:12]
        assert (mean, deepest, p90) == pytest.approx((ball.origin_distance(leaf),) * 3)
        assert sd == pytest.approx(0, abs=1e-6)

    def test_who_only_eats_is_nearest_to_food(self, generator, learnt, bank):
        names = [column.name for column in columns(generator, learnt)]
        found = values(generator, learnt, bank)[ONE_CATEGORY]
        assert names[12 + int(np.argmin(found[12:]))] == "hyp_to_food_beverage"

    def test_anchors_are_the_categories_with_most_train_spend(self, generator, bank, policy):
        spent = [(0, 5, code(c), amount, 1, "spend") for c, amount in (("5411", 90.0), ("4111", 80.0), ("6300", 1.0))]
        two = policy.model_copy(update={"hierarchy": policy.hierarchy.model_copy(update={"anchors": 2})})
        small = hyperbolic.generator(SHAPE, two)
        names = [column.name for column in columns(small, small.fit(material(spent), {}))]
        assert names[12:] == ["hyp_to_food_beverage", "hyp_to_transportation"]

    def test_weighted_depths(self):
        depth, weights = np.array([3.0, 1.0, 2.0]), np.array([[1.0, 8.0, 1.0], [0.0, 0.0, 2.0], [0.0, 0.0, 0.0]])
        found = hyperbolic._depths(weights, depth)
        assert found[0] == pytest.approx([1.3, 3.0, np.sqrt(0.41), 2.0])
        assert found[1] == pytest.approx([2.0, 2.0, 0.0, 2.0])
        assert np.isnan(found[2]).all()

    def test_only_customers_purchases_in_known_categories_count(self, policy):
        sure = [(0, 5, code("5411"), 10.0, 1, "spend")]
        other = [(0, 5, UNKNOWN, 99.0, 1, "spend"), (0, 5, code("4111"), 99.0, 1, "refund")]
        place = leaf_of(CATEGORIES)
        one, two = (material(p, 1).stream.window(360, ("spend",)) for p in (sure, sure + other))
        np.testing.assert_array_equal(leaf_spend(one, place, 180.0).year, leaf_spend(two, place, 180.0).year)

    def test_weights_decay_with_age_and_fall_into_quarters(self):
        spent = [(0, age, code("5411"), 10.0, 1, "spend") for age in (0, 89, 90, 359)]
        spend = leaf_spend(material(spent, 1).stream.window(360, ("spend",)), leaf_of(CATEGORIES), 180.0)
        weight = 10 * np.exp(-np.array([359, 90, 0, 89]) / 180)
        expected = [weight[0], 0, weight[1], weight[2] + weight[3]]
        assert spend.quarters[0, :, code("5411")] == pytest.approx(expected)

    @pytest.mark.parametrize("factory", [hyperbolic.generator, hierarchy_merchants.generator])
    def test_spend_in_two_branches_is_no_hierarchy(self, factory, policy):
        spent = [(0, 5, code(c), 9.0, 1, "spend") for c in ("5411", "5812", "4111")]
        with pytest.raises(GroupUnavailable, match="spends in 2 level-1 categories, expected at least 3"):
            factory(SHAPE, policy).fit(material([*spent, (0, 5, UNKNOWN, 9.0, 1, "spend")]), {})


class TestMerchants:
    @pytest.fixture(scope="class")
    @classmethod
    def generator(cls, policy) -> Generator:
        return hierarchy_merchants.generator(SHAPE, policy)

    @pytest.fixture(scope="class")
    @classmethod
    def learnt(cls, generator, bank) -> Arrays:
        return generator.fit(bank, {})

    @pytest.fixture(scope="class")
    @classmethod
    def table(cls, generator, learnt, bank) -> pl.DataFrame:
        names = [column.name for column in columns(generator, learnt)]
        return pl.DataFrame(values(generator, learnt, bank), schema=names, orient="row")

    def test_27_columns_and_no_purchase_is_not_defined(self, table):
        assert table.shape == (ROWS, 27)
        assert np.isnan(table.row(NOTHING)).all()
        assert np.isfinite(table[3:].to_numpy()).all()

    def test_planar_layout_puts_children_in_their_parents_sector(self):
        tree = trees.category_tree(CATEGORIES)
        l1, l2 = hierarchy_merchants.layout(tree)
        assert np.linalg.norm(l1, axis=1) == pytest.approx(0.5)
        assert np.linalg.norm(l2, axis=1) == pytest.approx(0.8)
        parent = np.asarray(tree.parent)[tree.nodes(2)] - 1
        turn = [np.arctan2(p[:, 1], p[:, 0]) / (2 * np.pi) % 1 for p in (l1, l2)]
        sizes = np.bincount(parent) / len(parent)
        assert (np.abs(turn[1] - turn[0][parent]) < sizes[parent] / 2).all()

    def test_one_category_lies_where_its_nodes_lie(self, table):
        tree, row = trees.category_tree(CATEGORIES), table.row(ONE_CATEGORY, named=True)
        l1, l2 = hierarchy_merchants.layout(tree)
        leaf = code("5812")
        assert (row["mh_l1_x"], row["mh_l1_y"]) == pytest.approx(tuple(ball.log0(l1[tree.above(1)[leaf]])))
        assert (row["mh_l2_x"], row["mh_l2_y"]) == pytest.approx(tuple(ball.log0(l2[tree.above(2)[leaf]])))
        assert row["mh_l1_radius"] == pytest.approx(np.arctanh(0.5))
        assert row["mh_l2_angle"] == pytest.approx(np.arctan2(row["mh_l2_y"], row["mh_l2_x"]) / np.pi)
        assert (row["mh_l1_effective"], row["mh_l2_effective"]) == pytest.approx((1 / 10, 1 / 30))
        assert row["mh_same_direction"] > 0.9

    def test_spread_is_the_distance_of_a_quarters_leaves_from_the_years_middle(self, table, learnt):
        row = table.row(ONE_CATEGORY, named=True)
        assert row["mh_spread_1"] == row["mh_spread_3"] == row["mh_spread_4"] == pytest.approx(0, abs=1e-4)
        assert np.isnan(row["mh_spread_2"])  # nothing was bought 180 to 269 days ago
        two = material([(0, 5, code("5411"), 7.0, 1, "spend"), (0, 95, code("4111"), 9.0, 1, "spend")], 1)
        spend = leaf_spend(two.stream.window(360, ("spend",)), leaf_of(CATEGORIES), 180.0)
        points = learnt["points"]
        middle = ball.midpoint(spend.year @ ball.lorentz(points))[0]
        expected = [ball.distance(middle, points[code(c)]) for c in ("4111", "5411")]
        assert hierarchy_merchants._spread(spend, points)[0, 2:] == pytest.approx(expected)

    def test_equal_spend_everywhere_is_one_effective_category_each(self, generator, learnt):
        tree = trees.category_tree(CATEGORIES)
        first_of = [int(np.flatnonzero(tree.above(2) == node)[0]) for node in range(30)]
        even = material([(0, 5, leaf, 10.0, 1, "spend") for leaf in first_of], 1)
        made = generator.make(even, learnt, {})
        assert made["mh_l2_effective"] == pytest.approx([1.0])
        assert made["mh_l2_radius"] == pytest.approx([0.0], abs=1e-9)
        assert np.isnan(made["mh_l2_angle"]).all()

    def test_shares_have_unit_norm_and_the_largest_loading_is_positive(self, table, learnt):
        shares = table.select(f"mh_share_{i}" for i in range(8)).to_numpy()[1:]
        assert np.linalg.norm(shares, axis=1) == pytest.approx(1)
        axes = learnt["axes"]
        assert axes.T @ axes == pytest.approx(np.eye(8), abs=1e-9)
        assert (axes[np.abs(axes).argmax(axis=0), np.arange(8)] > 0).all()

    def test_components_are_those_of_the_spend_shares(self, bank, learnt):
        tree, place = trees.category_tree(CATEGORIES), leaf_of(CATEGORIES)
        year = leaf_spend(bank.stream.window(360, ("spend",)), place, 180.0).year[1:]
        shares = np.stack([year[:, tree.above(2) == node].sum(axis=1) for node in range(30)], axis=1)
        shares /= shares.sum(axis=1, keepdims=True)
        expected = np.linalg.svd(shares)[2][:8]
        assert np.abs((expected * learnt["axes"].T).sum(axis=1)) == pytest.approx(1, abs=1e-6)

    def test_aggregates_of_merchants(self, policy):
        spent = [(0, age, code("5411"), amount, who, "spend") for age, amount, who in
                 ((1, 5.0, 3), (2, 5.0, 3), (3, 20.0, 4), (100, 70.0, 5), (4, 50.0, NO_MERCHANT))]  # fmt: skip
        nobody = [(1, 0, code("5411"), 5.0, NO_MERCHANT, "spend")]
        window = material([*spent, *nobody], 3).stream.window(360, ("spend",))
        found = aggregates(window, policy.hierarchy)
        fresh = np.array([5, 5, 20, 70, 50]) @ np.exp(-np.array([1, 2, 3, 100, 4]) / 30) / 150
        gini = np.abs(np.subtract.outer([10, 20, 70], [10, 20, 70])).sum() / (2 * 3 * 100)
        assert found[0] == pytest.approx([np.log(3) / np.log(501), 1 / 3, fresh, gini])
        assert found[1] == pytest.approx([np.nan, np.nan, 1.0, np.nan], nan_ok=True)
        assert np.isnan(found[2]).all()

    def test_without_merchants_their_columns_leave_and_the_rest_stays(self, generator):
        kept, dropped = split_available(generator.columns, {MERCHANT: "not known"})
        assert {column.name for column, _ in dropped} == {"mh_merchants", "mh_revisit", "mh_gini"}
        assert len(kept) == 24


FACTORIES = [hierarchy_products.generator, hyperbolic.generator, hierarchy_merchants.generator]


@pytest.mark.parametrize("factory", FACTORIES)
def test_other_rows_of_the_batch_change_no_byte(factory, policy, bank):
    generator = factory(SHAPE, policy)
    learnt = generator.fit(bank, {})
    whole = values(generator, learnt, bank)
    order = np.random.default_rng(0).permutation(ROWS)
    np.testing.assert_array_equal(values(generator, learnt, bank.at(order)), whole[order])
    for row in range(ROWS):
        np.testing.assert_array_equal(values(generator, learnt, bank.at(np.array([row])))[0], whole[row])


@pytest.mark.parametrize("factory", FACTORIES)
def test_a_source_without_products_or_categories_has_no_such_group(factory, policy):
    generator = factory(Shape((), (), category_table([])), policy)
    with pytest.raises(GroupUnavailable):
        generator.fit(material([(0, 5, 0, 9.0, 1, "spend")]), {})
