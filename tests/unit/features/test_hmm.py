"""Hidden states: recursions and learning against hmmlearn, columns against features.md 16, meaning of the states."""

from __future__ import annotations

import logging
import warnings
from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError

from pipeline_lib.features.generator import GroupUnavailable
from pipeline_lib.features.hmm import em, groups, observations
from pipeline_lib.features.hmm.columns import motion_stats, path_stats
from pipeline_lib.features.hmm.em import Priors, expect, learn, matched
from pipeline_lib.features.hmm.model import Model, Sequences, smooth, viterbi
from pipeline_lib.settings.feature_groups.hmm import HmmMode
from tests.unit.features.event_world import make_events, make_history, material, policy, shape, some_bank

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from hmmlearn.hmm import GaussianHMM

HMM = policy().hmm
MODES = {"journey": HMM.journey, "lifecycle": HMM.lifecycle, "behavior": HMM.behavior}
FACTORIES = {"journey": groups.journey, "lifecycle": groups.lifecycle, "behavior": groups.behavior}
WIDTH = 16


def prior_of(mode: HmmMode, spread: float = 1.0) -> Model:
    means = np.array(mode.means)
    return Model(np.array(mode.start), np.array(mode.transition), means, np.full_like(means, spread**2))


def drawn(model: Model, rows: int, steps: int, seed: int) -> tuple[Sequences, np.ndarray]:
    """Full-length sequences of the model and their true states [R, T]."""
    rng = np.random.default_rng(seed)
    states = np.empty((rows, steps), dtype=int)
    states[:, 0] = (rng.random((rows, 1)) > model.start.cumsum()).sum(axis=1)
    for t in range(1, steps):
        edges = model.transition[states[:, t - 1]].cumsum(axis=1)
        states[:, t] = (rng.random((rows, 1)) > edges).sum(axis=1).clip(max=len(model.start) - 1)
    noise = rng.normal(size=(rows, steps, model.mean.shape[1]))
    values = model.mean[states] + noise * np.sqrt(model.variance[states])
    return Sequences(values, np.full(rows, steps)), states


def random_sequences(rows: int, steps: int, channels: int, seed: int) -> Sequences:
    """Random walks of different length, right-aligned; what lies before a sequence is garbage on purpose."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(rows, steps, channels)).cumsum(axis=1) / 2
    length = rng.integers(3, steps + 1, rows)
    values[np.arange(steps)[None, :] < steps - length[:, None]] = 1e6
    return Sequences(values, length)


def oracle(model: Model, **options: object) -> GaussianHMM:
    """Hmmlearn with the same parameters."""
    made = GaussianHMM(len(model.start), covariance_type="diag", **options)
    made.startprob_, made.transmat_ = model.start, model.transition
    made.means_, made.covars_ = model.mean, model.variance
    return made


def own_steps(sequences: Sequences) -> list[np.ndarray]:
    return [values[len(values) - n :] for values, n in zip(sequences.values, sequences.length, strict=True)]


@pytest.mark.parametrize("name", MODES)
def test_the_recursions_are_those_of_hmmlearn(name: str):
    model = prior_of(MODES[name], spread=0.7)
    sequences = random_sequences(50, 12, 4, seed=1)
    run, theirs = smooth(model, sequences), oracle(model)
    path = viterbi(model, run.density, sequences.live)
    for row, steps in enumerate(own_steps(sequences)):
        likelihood, posterior = theirs.score_samples(steps)
        assert run.log_likelihood[row] == pytest.approx(likelihood, abs=1e-6)
        np.testing.assert_allclose(run.gamma[-len(steps) :, :, row], posterior, atol=1e-6)
        assert path[-len(steps) :, row].tolist() == theirs.decode(steps)[1].tolist()


@pytest.mark.parametrize("learn_moves", [True, False])
def test_learning_is_that_of_hmmlearn(learn_moves: bool):
    """Five updates with the same priors, transitions free or fixed."""
    mode, sequences = HMM.lifecycle, random_sequences(50, 12, 4, seed=2)
    prior = prior_of(mode)
    priors = Priors(prior, transition_pull=50.0, mean_pull=20.0, variance_floor=1e-9, learn_moves=learn_moves)
    ours, updates = learn(sequences, priors, max_iterations=5, tolerance=1e-12)
    pull = {"startprob_prior": 1 + 50 * prior.start, "transmat_prior": 1 + 50 * prior.transition}
    means = {"means_prior": prior.mean, "means_weight": 20.0, "covars_prior": 0.0, "covars_weight": 1.0}
    params = "stmc" if learn_moves else "mc"
    theirs = oracle(prior, n_iter=5, tol=-1.0, init_params="", params=params, min_covar=0, **pull, **means)
    logging.getLogger("hmmlearn").setLevel(logging.ERROR)
    theirs.fit(np.concatenate(own_steps(sequences)), sequences.length)
    assert updates == 5
    np.testing.assert_allclose(ours.mean, theirs.means_, atol=1e-6)
    np.testing.assert_allclose(ours.variance, np.diagonal(theirs.covars_, axis1=1, axis2=2), atol=1e-6)
    np.testing.assert_allclose(ours.transition, theirs.transmat_, atol=1e-6)
    np.testing.assert_allclose(ours.start, theirs.startprob_, atol=1e-6)


def test_learning_in_blocks_is_learning_at_once(monkeypatch: pytest.MonkeyPatch):
    sequences, model = random_sequences(50, 12, 4, seed=3), prior_of(HMM.behavior)
    whole = expect(model, sequences)
    monkeypatch.setattr(em, "BLOCK", 7)
    parts = expect(model, sequences)
    for name, value in vars(whole).items():
        np.testing.assert_allclose(getattr(parts, name), value, rtol=1e-12)
    assert whole.moves.sum() == pytest.approx((sequences.length - 1).sum())
    assert whole.weight.sum() == pytest.approx(sequences.length.sum())


@pytest.mark.parametrize("name", MODES)
@pytest.mark.parametrize(("apart", "share"), [(3.0, 0.90), (2.0, 0.80)])
def test_states_drawn_from_the_prior_are_recovered(name: str, apart: float, share: float):
    """Source: features.md 5.2; the closest two means are ``apart`` standard deviations from each other."""
    means = np.array(MODES[name].means)
    gaps = np.sqrt(((means[:, None] - means[None]) ** 2).sum(axis=2))
    truth = prior_of(MODES[name], spread=gaps[gaps > 0].min() / apart)
    sequences, states = drawn(truth, 600, 12, seed=4)
    priors = Priors(prior_of(MODES[name]), HMM.transition_pull, HMM.mean_pull, HMM.variance_floor, name != "journey")
    model, _ = learn(sequences, priors, HMM.max_iterations, HMM.tolerance)
    model, distance = matched(model, priors.model.mean)
    found = smooth(model, sequences).gamma.argmax(axis=1).T
    assert (found == states).mean() >= share
    assert distance.max() < HMM.lost_distance


def test_states_keep_their_names_when_they_are_learnt_in_another_order():
    model = prior_of(HMM.journey)
    order = np.array([3, 0, 4, 1, 2])
    mixed = Model(model.start[order], model.transition[np.ix_(order, order)], model.mean[order], model.variance[order])
    back, distance = matched(mixed, model.mean)
    for name, value in vars(model).items():
        np.testing.assert_array_equal(getattr(back, name), value)
    assert distance.max() == 0


def test_the_golden_path():
    """Source: features.md 16. The first step is padding and must not be read."""
    gamma = np.array([[[0.2, 0.8], [1.0, 0.0], [0.5, 0.5], [0.0, 1.0], [0.0, 1.0]]])
    made = motion_stats(gamma, np.array([4]))
    assert made["ode_velocity"] == pytest.approx(1 / 3)
    assert made["ode_acceleration"] == pytest.approx(0.25)
    assert made["ode_lyapunov"] == pytest.approx(np.log(0.26 / 0.51))
    assert made["ode_attractor"] == pytest.approx(0.625)
    assert made["ode_trajectory_len"] == pytest.approx(0.0)


def test_statistics_of_a_path_by_hand():
    path = np.array([[9, 9, 0, 1, 1, 2, 2, 2], [2, 2, 2, 2, 2, 2, 2, 2]])
    last, stay = np.array([[0.1, 0.2, 0.7], [0.0, 0.0, 1.0]]), np.array([0.5, 0.6, 0.9])
    made = path_stats(path, last, stay, np.array([6, 8]))
    np.testing.assert_allclose(made["state_duration"], [0.5, 1.0])
    np.testing.assert_allclose(made["transition_stability"], [0.05 + 0.12 + 0.63, 0.9])
    shares = np.array([1, 1, 1, 2]) / 5  # 0>1, 1>1, 1>2, 2>2 twice
    np.testing.assert_allclose(made["transition_entropy"], [-(shares * np.log(shares)).sum() / np.log(9), 0.0])
    np.testing.assert_allclose(made["dominant_state"], [1.0, 1.0])
    np.testing.assert_allclose(made["state_change_rate"], [2 / 5, 0.0])


def test_a_cycle_is_found_at_its_period_and_nowhere_else():
    turns = np.eye(3)[np.arange(12) % 3]
    rest = np.full((12, 3), 1 / 3)
    short = np.eye(3)[np.arange(12) % 2]
    late = np.eye(3)[[0] * 5 + [0, 1, 1, 1, 0, 1, 1]]  # period 4 of 7 steps: seen once, no cycle
    made = motion_stats(np.stack([turns, rest, short, late]), np.array([12, 12, 5, 7]))
    np.testing.assert_allclose(made["ode_cycle_period"], [3 / 12, 0.0, 0.0, 0.0])
    np.testing.assert_allclose(made["ode_velocity"][:3], [1.0, 0.0, 1.0])
    assert made["ode_trajectory_len"][1] == 0


def test_the_weeks_of_a_customer_by_hand():
    rows = [make_events([300, 80, 15, 14, 2], mcc=[1, 2, 1, 3, 3], merchant=[5, 5, 7, 7, 7])]
    seen = observations.journey(material(rows).stream, make_history(1), 13)
    count, fresh, merchants, since = seen.sequences.values[0].T
    at = {1: 80, 10: 14, 12: 2}  # week, oldest first: (90 - age) // 7
    assert np.expm1(count).round().astype(int).tolist() == [{1: 1, 10: 2, 12: 1}.get(w, 0) for w in range(13)]
    assert fresh.tolist() == [{1: 1, 10: 1}.get(w, 0) for w in range(13)]
    assert merchants.tolist() == [1.0 if w in at else 0.0 for w in range(13)]
    assert since.tolist() == [216, 80 - 77, *(80 - 77 + 7 * k for k in range(1, 9)), 0, 7, 2]
    assert seen.sequences.length.tolist() == [13]


def test_a_week_whose_merchants_are_not_known_is_not_a_week_without():
    rows = [make_events([10, 3]), make_events([10, 3], merchant=[4, 4])]
    merchants = observations.journey(material(rows).stream, make_history(2), 13).sequences.values[:, :, 2]
    assert np.isnan(merchants[0, [11, 12]]).all()
    assert merchants[0, 10] == 0
    assert merchants[1, [10, 11, 12]].tolist() == [0, 1, 1]


def test_the_months_of_a_customer_by_hand():
    """The cutoff is a Friday: 97 days before was a Saturday, 46, 39 and 32 days before were Mondays."""
    noon, night = 43_200, 3_600
    kind = ["spend", "spend", "spend", "spend", "transfer"]
    second = [noon, night, noon, noon, noon]
    rows = [make_events([97, 46, 39, 32, 12], [50, 20, 20, 40, 30], [1, 1, 1, 2, 1], kind, second)]
    seen = observations.behavior(material(rows).stream, make_history(1, span=[4]))
    ticket, entropy, free, moved = seen.sequences.values[0, -4:].T
    np.testing.assert_allclose(ticket, [np.log1p(50), np.nan, np.log1p(80 / 3), np.nan])
    np.testing.assert_allclose(entropy, [0, 0, -(2 / 3 * np.log(2 / 3) + np.log(1 / 3) / 3), 0], atol=1e-12)
    np.testing.assert_allclose(free, [1, np.nan, 1 / 3, np.nan])
    np.testing.assert_allclose(moved, [0, np.nan, 0, 1])
    spend, held, moves, count = (
        observations.lifecycle(material(rows).stream, make_history(1, span=[4])).sequences.values[0, -4:].T
    )
    np.testing.assert_allclose(np.expm1(spend), [50, 0, 80, 0], atol=1e-9)
    np.testing.assert_allclose(np.expm1(count), [1, 0, 3, 0], atol=1e-9)
    assert not np.isnan(held).any()
    assert np.isnan(moves).tolist() == [True, False, False, False]


def test_a_month_that_is_missing_keeps_the_holdings_of_the_one_before():
    history = make_history(1)
    history.products_by_month[0, :4] = [3.0, np.nan, np.nan, 1.0]
    held = observations.lifecycle(material([make_events([1])]).stream, history).sequences.values[0, :, 1]
    assert held[-4:].tolist() == [1.0, 1.0, 1.0, 3.0]


@pytest.fixture(scope="module")
def world():
    m = some_bank(400)
    learnt = {name: make(shape(), policy()).fit(m, {}) for name, make in FACTORIES.items()}
    return m, learnt, {name: make(shape(), policy()).make(m, learnt[name], {}) for name, make in FACTORIES.items()}


@pytest.mark.parametrize("name", MODES)
def test_a_mode_has_sixteen_columns_and_its_probabilities_sum_to_one(world, name: str):
    m, learnt, made = world
    generator = FACTORIES[name](shape(), policy())
    assert generator.columns_of is not None
    columns = generator.columns_of(learnt[name], {})
    assert [column.name for column in columns] == list(made[name]) == [column.name for column in generator.columns]
    assert len(columns) == WIDTH
    states = [column.name for column in columns if column.kind == "prob"]
    total = np.sum([made[name][state] for state in states], axis=0)
    undefined = np.isnan(made[name][states[0]])
    assert 0 < undefined.mean() < 0.3
    np.testing.assert_allclose(total[~undefined], 1.0, atol=1e-5)
    assert all((np.isnan(values) == undefined).all() for values in made[name].values())
    assert {column.fill for column in columns if column.kind == "prob"} == {1 / len(states)}


def test_short_and_empty_sequences_have_no_values(world):
    m, _, made = world
    span = m.history.months_observed
    silent = m.stream.window(90, ("spend",)).counts == 0
    assert np.isnan(made["journey"]["hmm_journey_ode_velocity"][silent & (span == 12)]).all()
    for name in ("lifecycle", "behavior"):
        assert np.isnan(made[name][f"hmm_{name}_ode_velocity"][span < 3]).all()
    assert not np.isnan(made["lifecycle"]["hmm_lifecycle_ode_velocity"][span >= 3]).any()


def test_the_modes_are_not_one_model(world):
    """Cramer's V between the likeliest states of two modes. Source: features.md 5.2."""
    likeliest = {}
    for name, mode in MODES.items():
        table = np.stack([world[2][name][f"hmm_{name}_state_prob_{state}"] for state in mode.states], axis=1)
        likeliest[name] = np.where(np.isnan(table[:, 0]), -1, np.nan_to_num(table).argmax(axis=1))
    for first, second in (("journey", "lifecycle"), ("journey", "behavior"), ("lifecycle", "behavior")):
        both = (likeliest[first] >= 0) & (likeliest[second] >= 0)
        assert cramers_v(likeliest[first][both], likeliest[second][both]) <= 0.80
        assert cramers_v(likeliest[first][both], likeliest[first][both]) == pytest.approx(1.0)


def cramers_v(a: np.ndarray, b: np.ndarray) -> float:
    table = np.zeros((a.max() + 1, b.max() + 1))
    np.add.at(table, (a, b), 1)
    table = table[table.sum(axis=1) > 0][:, table.sum(axis=0) > 0]
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0) / len(a)
    return float(np.sqrt(((table - expected) ** 2 / expected).sum() / len(a) / (min(table.shape) - 1)))


@pytest.mark.parametrize("name", MODES)
def test_rows_only_move_when_they_are_permuted_or_taken_alone(world, name: str):
    m, learnt, made = world
    order = np.random.default_rng(5).permutation(len(m))
    for rows in (order, order[:1], order[:7]):
        part = replace(m, rows=m.rows[rows], stream=m.stream.at(rows), history=observations.history_at(m.history, rows))
        again = FACTORIES[name](shape(), policy()).make(part, learnt[name], {})
        for column, values in again.items():
            np.testing.assert_array_equal(values, made[name][column][rows])


@pytest.mark.parametrize("name", MODES)
def test_another_order_of_time_is_another_result(world, name: str):
    """A generator that takes its rows, or its steps, for an unordered set would not notice."""
    m, learnt, made = world
    again = FACTORIES[name](shape(), policy()).make(some_bank(len(m), backwards=True), learnt[name], {})
    both = ~np.isnan(again[f"hmm_{name}_ode_lyapunov"]) & ~np.isnan(made[name][f"hmm_{name}_ode_lyapunov"])
    assert both.sum() > 100
    for column in (f"hmm_{name}_ode_lyapunov", f"hmm_{name}_transition_stability"):
        assert (again[column] != made[name][column])[both].mean() > 0.5


@pytest.mark.parametrize("name", MODES)
def test_learning_twice_is_learning_the_same(world, name: str):
    m, learnt, _ = world
    again = FACTORIES[name](shape(), policy()).fit(m, {})
    assert {key: value.tobytes() for key, value in again.items()} == {
        key: value.tobytes() for key, value in learnt[name].items()
    }


def test_a_source_without_merchants_learns_without_them(world):
    m, learnt, _ = world
    e = m.stream.events
    without = replace(m, stream=replace(m.stream, events=replace(e, merchant=np.full(len(e), -1))))
    generator = groups.journey(shape(), policy())
    found = generator.fit(without, {})
    assert learnt["journey"]["used"].tolist() == [1, 1, 1, 1]
    assert found["used"].tolist() == [1, 1, 0, 1]
    assert found["mean"].shape == (5, 3)
    assert generator.columns_of is not None
    lineage = {name for c in generator.columns_of(found, {}) for name in c.lineage}
    full = {name for c in generator.columns_of(learnt["journey"], {}) for name in c.lineage}
    assert full - lineage == {"transaction_event.merchant_key"}


def test_a_state_that_lost_its_meaning_is_a_warning_and_a_fact(caplog: pytest.LogCaptureFixture):
    rng = np.random.default_rng(6)
    rows = [make_events(sorted(rng.integers(0, 360, 40), reverse=True), mcc=[1] * 40) for _ in range(150)]
    own = policy().hmm
    strict = policy().model_copy(update={"hmm": own.model_copy(update={"lost_distance": 0.05, "mean_pull": 0.0})})
    with caplog.at_level(logging.WARNING):
        found = groups.lifecycle(shape(), strict).fit(material(rows), {})
    lost = found["distance"] > 0.05
    assert lost.any()
    assert sum("lost its meaning" in record.getMessage() for record in caplog.records) == lost.sum()


def test_nothing_to_learn_from_leaves_the_schema():
    short = material([make_events([1, 0])] * 5, make_history(5, span=[2] * 5))
    with pytest.raises(GroupUnavailable, match="no train row has 3 steps"):
        groups.behavior(shape(), policy()).fit(short, {})
    silent = material([make_events([])] * 5, make_history(5))
    with pytest.raises(GroupUnavailable, match="no train row"):
        groups.journey(shape(), policy()).fit(silent, {})


def test_a_prior_that_is_no_law_is_refused():
    good = HMM.journey.model_dump()
    with pytest.raises(ValidationError, match="sum 1"):
        HmmMode(**{**good, "start": [0.5, 0.25, 0.15, 0.15, 0.05]})
    with pytest.raises(ValidationError, match="'means': 4"):
        HmmMode(**{**good, "means": good["means"][:-1]})
