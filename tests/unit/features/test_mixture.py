"""The Gaussian mixture: own responsibilities against scikit-learn's, what it does with holes, and its numbering."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.mixture import GaussianMixture

from pipeline_lib import settings
from pipeline_lib.errors import ContractError
from pipeline_lib.features import mixture
from pipeline_lib.features.columns import Column, Floats, Values
from pipeline_lib.features.generator import Arrays, GroupUnavailable, Shape, unpacked
from pipeline_lib.features.mixture_alignment import aligned
from pipeline_lib.features.mixture_inputs import INPUTS, PER_MONTH, standardised
from pipeline_lib.features.mixture_selection import Candidate, Selection, selection
from pipeline_lib.features.normalise import fill_of
from pipeline_lib.settings import Place
from pipeline_lib.settings.features import Features

SHAPE = Shape((), (), None)
ROWS, CLUSTERS = 600, 6


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Features:
    """The policy with six clusters."""
    place = Place(dataset="synthetic", home=tmp_path_factory.mktemp("home"), threads=1)
    return with_policy(settings.load("synthetic", place).features, clusters=CLUSTERS)


def with_policy(policy: Features, **changes: object) -> Features:
    return policy.model_copy(update={"mixture": policy.mixture.model_copy(update=changes)})


@pytest.fixture(scope="module")
def made() -> Values:
    """Every column of the other groups, in three groups of customers; a tenth of the values is not defined."""
    rng = np.random.default_rng(1)
    centre = rng.normal(0, 3, (3, len(INPUTS)))
    x = centre[rng.integers(0, 3, ROWS)] + rng.normal(size=(ROWS, len(INPUTS)))
    x = np.where(rng.random(x.shape) < 0.1, np.nan, x)
    columns = {name: x[:, i] for i, name in enumerate(INPUTS)}
    return {**columns, "monthly_spend": np.exp(columns["monthly_spend"]), "months_observed": np.full(ROWS, 12.0)}


@pytest.fixture(scope="module")
def learnt(policy: Features, made: Values) -> Arrays:
    return mixture.generator(SHAPE, policy).fit(None, made)


def probabilities(columns: Values) -> Floats:
    return np.stack([column for name, column in columns.items() if name.startswith("gmm_prob")], axis=1)


class TestResponsibilities:
    def test_equal_those_of_scikit_learn(self, policy, made, learnt):
        z, _ = standardised(made, learnt, policy.mixture)
        oracle = GaussianMixture(len(learnt["weights"]))
        oracle.weights_, oracle.means_, oracle.precisions_cholesky_ = (
            learnt[name] for name in ("weights", "means", "factors")
        )
        assert np.abs(mixture.responsibilities(z, learnt) - oracle.predict_proba(z)).max() < 1e-8

    def test_other_rows_of_the_batch_change_no_byte(self, policy, made, learnt):
        generator = mixture.generator(SHAPE, policy)
        order = np.random.default_rng(0).permutation(ROWS)
        whole = generator.make(None, learnt, made)
        mixed = generator.make(None, learnt, {name: column[order] for name, column in made.items()})
        for name in whole:
            np.testing.assert_array_equal(mixed[name], whole[name][order])
        for row in range(0, ROWS, 37):
            alone = generator.make(None, learnt, {name: column[[row]] for name, column in made.items()})
            assert [alone[name][0] for name in whole] == [whole[name][row] for name in whole]


class TestColumns:
    def test_probabilities_sum_to_one_and_the_cluster_is_the_likeliest(self, policy, made, learnt):
        found = mixture.generator(SHAPE, policy).make(None, learnt, made)
        g = probabilities(found)
        assert g.shape == (ROWS, CLUSTERS)
        np.testing.assert_allclose(g.sum(axis=1), 1, atol=1e-12)
        np.testing.assert_array_equal(found["gmm_cluster"], g.argmax(axis=1) / CLUSTERS)
        np.testing.assert_allclose(found["gmm_entropy"], -(g * np.log(g + 1e-10)).sum(axis=1), atol=1e-9)

    def test_a_row_without_most_inputs_is_cold_and_normalises_to_all_clusters_alike(self, policy, made, learnt):
        generator = mixture.generator(SHAPE, policy)
        cold = {name: np.array([np.nan if i < 21 else 1.0, np.nan if i < 20 else 1.0]) for i, name in enumerate(INPUTS)}
        found = generator.make(None, learnt, {**cold, "months_observed": np.ones(2)})
        assert np.isnan(probabilities(found)).all(axis=1).tolist() == [True, False]
        assert np.isnan(found["gmm_cluster"]).tolist() == [True, False]
        assert found["gmm_entropy"][0] == np.log(CLUSTERS) > found["gmm_entropy"][1]
        known = {name: Column(name, "num", ("table.column",)) for name in made}
        columns = [(mixture.GROUP, column) for column in generator.columns_of(learnt, known)]
        fills = [fill_of(mixture.GROUP, column, columns) for _, column in columns]
        assert fills[:-1] == [*[1 / CLUSTERS] * CLUSTERS, 1.0]

    def test_the_entropy_of_twenty_equal_clusters(self, policy, made):
        many = mixture.generator(SHAPE, with_policy(policy, clusters=20, dead_share=0.0, starts=1))
        nothing = {name: np.array([np.nan]) for name in made}
        assert many.make(None, many.fit(None, made), nothing)["gmm_entropy"] == pytest.approx([2.9957], abs=5e-5)

    def test_there_are_40_inputs_and_what_is_not_continuous_is_none(self, policy, made):
        assert len(INPUTS) == len(set(INPUTS)) == 40
        flat = {**made, "age": np.round(np.clip(made["age"], 0, 3)), "monthly_txns": np.full(ROWS, np.nan)}
        inputs = unpacked(mixture.generator(SHAPE, with_policy(policy, starts=1)).fit(None, flat)["inputs"])
        assert inputs == [name for name in INPUTS if name not in {"age", "monthly_txns"}]

    def test_an_input_that_the_source_lacks_is_left_out_and_never_replaced(self, policy, made):
        generator = mixture.generator(SHAPE, with_policy(policy, starts=1))
        poor = {name: column for name, column in made.items() if name not in {"income", "months_observed"}}
        fitted = generator.fit(None, poor)
        assert unpacked(fitted["inputs"]) == [name for name in INPUTS if name != "income" and name not in PER_MONTH]
        rich = {**poor, "income": np.full(ROWS, 1e9)}
        np.testing.assert_array_equal(generator.make(None, fitted, poor)["gmm_prob_00"],
                                      generator.make(None, fitted, rich)["gmm_prob_00"])  # fmt: skip

    def test_lineage_is_that_of_the_inputs_used(self, policy, made, learnt):
        known = {name: Column(name, "num", (f"table.{name}", "table.shared")) for name in made}
        columns = mixture.generator(SHAPE, policy).columns_of(learnt, known)
        assert len(columns) == CLUSTERS + 2
        expected = {f"table.{name}" for name in (*INPUTS, "months_observed")} | {"table.shared"}
        assert {source for column in columns for source in column.lineage} == expected

    def test_heavy_tails_enter_as_logarithms(self, made, learnt):
        logged = dict(zip(unpacked(learnt["inputs"]), learnt["logged"].tolist(), strict=True))
        assert logged.pop("monthly_spend")
        assert not any(logged.values())

    def test_too_few_inputs_are_no_mixture(self, policy, made):
        seven = {name: made[name] for name in INPUTS[:7]}
        with pytest.raises(GroupUnavailable, match="7 of 40 inputs .* expected at least 8"):
            mixture.generator(SHAPE, policy).fit(None, seven)

    def test_too_few_rows_are_no_mixture(self, policy, made):
        few = {name: np.where(np.arange(ROWS) < 15, column, np.nan) for name, column in made.items()}
        with pytest.raises(GroupUnavailable, match="15 train rows with enough inputs"):
            mixture.generator(SHAPE, with_policy(policy, clusters=20)).fit(None, few)


class TestFit:
    def test_the_same_rows_give_the_same_bytes(self, policy, made, learnt):
        again = mixture.generator(SHAPE, policy).fit(None, made)
        assert {name: array.tobytes() for name, array in again.items()} == {n: a.tobytes() for n, a in learnt.items()}

    def test_dead_components_are_left_out_and_the_group_is_narrower(self, policy, made):
        generator = mixture.generator(SHAPE, with_policy(policy, dead_share=0.15, starts=1))
        fitted = generator.fit(None, made)
        alive = len(fitted["weights"])
        known = {name: Column(name, "num", ("table.column",)) for name in made}
        found = generator.make(None, fitted, made)
        assert 2 <= alive < CLUSTERS
        assert [column.name for column in generator.columns_of(fitted, known)] == list(found)
        assert probabilities(found).shape == (ROWS, alive)
        assert probabilities(found).mean(axis=0).min() > 0.1

    @pytest.mark.parametrize(
        ("bounds", "kept"), [((1.0, 1.5, 1.2), 1), ((1.0, 1.0009, 0.9), 0), ((1.0, 1.0009, 1.002), 2)]
    )
    def test_the_likeliest_start_is_kept_and_of_equal_ones_the_first(self, policy, monkeypatch, bounds, kept):
        starts = iter([SimpleNamespace(lower_bound_=bound) for bound in bounds])
        monkeypatch.setattr(mixture, "fitted_mixture", lambda *_: next(starts))
        assert mixture._likeliest(np.zeros((1, 1)), 1, policy.mixture).lower_bound_ == bounds[kept]

    def test_every_start_has_a_seed_of_its_own(self, policy, made, learnt):
        z, _ = standardised(made, learnt, policy.mixture)
        seed = mixture.seed_of(mixture.GROUP)
        bounds = [mixture.fitted_mixture(z, CLUSTERS, policy.mixture, seed + i).lower_bound_ for i in range(3)]
        assert np.ptp(bounds) > policy.mixture.equal_likelihood


class TestAlignment:
    def test_a_refit_keeps_its_numbers_whatever_the_order_and_the_scale(self, learnt):
        order = np.array([3, 0, 5, 1, 4, 2])
        moved = {**learnt, **{name: learnt[name][order] for name in ("weights", "means", "factors")}}
        rescaled = {**moved, "mean": learnt["mean"] + 1, "means": moved["means"] - 1 / learnt["sd"]}
        found = aligned(rescaled, learnt)
        assert found.distance == pytest.approx(0, abs=1e-9)
        assert not found.lost
        np.testing.assert_array_equal(found.arrays["weights"], learnt["weights"])

    def test_clusters_that_moved_far_are_reported(self, learnt):
        assert aligned({**learnt, "means": learnt["means"] + 1.0}, learnt).lost

    def test_a_component_without_an_old_one_comes_last(self, learnt):
        few = {**learnt, **{name: learnt[name][[4, 1]] for name in ("weights", "means", "factors")}}
        weights = aligned(learnt, few).arrays["weights"]
        np.testing.assert_array_equal(weights, learnt["weights"][[4, 1, 0, 2, 3, 5]])

    def test_fits_on_other_inputs_cannot_be_aligned(self, learnt):
        strange = {**learnt, "inputs": np.frombuffer(b"x" + b"\0y" * (len(INPUTS) - 1), dtype=np.uint8)}
        with pytest.raises(ContractError, match="share no input"):
            aligned(learnt, strange)


class TestSelection:
    def test_three_groups_of_customers_are_three_clusters(self, policy):
        rng = np.random.default_rng(1)
        z = np.repeat(10.0 * np.eye(3, 4), 100, axis=0) + rng.normal(size=(300, 4))
        report = selection(z, policy.mixture.model_copy(update={"clusters": 7}), 0, counts=(2, 3, 4))
        assert report.best == 3
        assert report.far
        assert max(report.candidates, key=lambda c: c.silhouette).clusters == 3

    def test_a_near_number_of_clusters_is_left_alone(self):
        assert not Selection((Candidate(17, 1.0, None), Candidate(20, 2.0, None)), 20).far
