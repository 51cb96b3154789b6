from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline_lib.ingest.synthetic.categories import NEVER, with_habit
from pipeline_lib.ingest.synthetic.choice import categorical, pick, zipf
from pipeline_lib.ingest.synthetic.indices import flipped
from pipeline_lib.ingest.synthetic.seeds import STAGES, stream

weights = st.lists(st.lists(st.sampled_from([0.0, 0.1, 1.0, 7.0]), min_size=4, max_size=4), min_size=1, max_size=6)


@given(rows=weights, count=st.integers(0, 6), seed=st.integers(0, 99))
def test_pick_takes_the_wanted_number_of_items_and_never_a_weight_of_zero(
    rows: list[list[float]], count: int, seed: int
) -> None:
    table = np.array(rows)
    chosen = pick(np.random.default_rng(seed), table, np.full(len(rows), count))
    assert not (chosen & (table == 0)).any()
    assert (chosen.sum(axis=1) == np.minimum(count, (table > 0).sum(axis=1))).all()


def test_pick_follows_the_odds() -> None:
    chosen = pick(np.random.default_rng(1), np.tile([1.0, 3.0], (20_000, 1)), np.ones(20_000, dtype=np.int64))
    assert abs(chosen[:, 1].mean() - 0.75) < 0.01  # three standard errors


@given(uniform=st.floats(0, 1, exclude_max=True))
def test_a_category_is_the_interval_its_uniform_falls_in(uniform: float) -> None:
    law = np.array([0.25, 0.0, 0.5, 0.25])
    expected = 0 if uniform < 0.25 else 2 if uniform < 0.75 else 3
    assert categorical(np.array([uniform]), law)[0] == expected
    assert categorical(np.array([uniform]), law[None])[0] == expected


def test_zipf_is_a_law_that_falls_with_rank() -> None:
    law = zipf(52, 1.1)
    assert abs(law.sum() - 1) < 1e-12
    assert (np.diff(law) < 0).all()


def test_streams_of_other_stages_blocks_months_and_seeds_differ() -> None:
    keys = [(7, stage, 0, 0) for stage in STAGES] + [(7, "churn", 1, 0), (7, "churn", 0, 1), (8, "churn", 0, 0)]
    first = {stream(*key).integers(2**62) for key in keys}
    assert len(first) == len(keys)
    assert stream(7, "churn", 0, -24).integers(2**62) == stream(7, "churn", 0, -24).integers(2**62)


def test_habit_repeats_the_purchase_before_also_across_months() -> None:
    fresh = np.array([5, 6, 7, 8, 9])
    repeats = np.array([True, True, False, True, True])
    first = np.array([True, False, False, True, True])
    before = np.array([3, 3, 3, 4, NEVER])
    assert with_habit(fresh, repeats, first, before).tolist() == [3, 3, 7, 4, 9]


def test_flips_lose_events_and_keep_the_rate() -> None:
    rng, rate, size = np.random.default_rng(3), 0.05, 400_000
    event = rng.random(size) < rate
    noisy = flipped(rng, event, np.ones(size, dtype=bool), 0.3, rate)
    assert abs(noisy.mean() - rate) < 0.0015  # four standard errors
    assert abs(noisy[event].mean() - 0.7) < 0.015
