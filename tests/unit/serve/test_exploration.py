"""Rank 1 drawn instead of taken: true probabilities, recorded for every candidate, and nobody where models are off."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_lib.serve import slate
from pipeline_lib.serve.slate import Exploration
from tests.unit.serve.asking import SQL_OPT_OUT, SQL_SWITCH, ask, assessed, change
from tests.unit.serve.test_score import FILTERS, scored

Body = Callable[..., dict[str, Any]]
EXPLORE = Exploration(epsilon=0.3, temperature=0.1)


def exploring(release: Any, epsilon: float = 0.5) -> Any:
    """A function whose package explores."""
    service = release.service()
    serving = {**service.policy.serving, "exploration": {"epsilon": epsilon, "temperature": 0.1}}
    service.policy = replace(service.policy, serving=serving)
    return service


def prediction(release: Any) -> dict[str, Any]:
    """Payload of the newest prediction row."""
    rows = [line for segment in release.lines() for line in segment if line["header"]["event"] == "prediction"]
    newest: dict[str, Any] = rows[-1]["payload"]
    return newest


@given(st.lists(st.floats(0.05, 1.5), min_size=1, max_size=12), st.floats(0, 0.99), st.floats(0.01, 5))
def test_propensities_are_positive_sum_to_one_and_follow_the_score(
    values: list[float], epsilon: float, temperature: float
) -> None:
    kept, _ = slate.ranked(scored(**{f"i{n}": value for n, value in enumerate(values)}), None, FILTERS)
    p = slate.propensities(kept, Exploration(epsilon, temperature))
    assert sum(p) == pytest.approx(1)
    assert all(one >= 0 for one in p)
    assert all(a >= b - 1e-12 for a, b in zip(p, p[1:], strict=False))


def test_the_golden_propensities() -> None:
    """Scores 0.5, 0.4 at temperature 0.1: softmax 1 / (1 + e^-1) = 0.731059 of epsilon, and the rest for the best."""
    kept, _ = slate.ranked(scored(a=0.5, b=0.4), None, FILTERS)
    assert slate.propensities(kept, EXPLORE) == pytest.approx([0.7 + 0.3 * 0.7310585786, 0.3 * 0.2689414214])


def test_items_are_drawn_as_often_as_their_propensity_says() -> None:
    pairs = scored(a=0.5, b=0.45, c=0.4)
    draws = [slate.choose(pairs, None, 2, FILTERS, EXPLORE, slate.uniform(f"p{n}")) for n in range(20_000)]
    assert all(one.chosen[0][0].item_id == one.draw.item_id for one in draws if one.draw)
    for name, p in draws[0].propensities.items():
        share = np.mean([one.chosen[0][0].item_id == name for one in draws])
        assert abs(share - p) < 4 * np.sqrt(p * (1 - p) / len(draws)), name


def test_a_draw_is_within_the_limits_and_leaves_no_item_twice() -> None:
    pairs = scored(a=0.5, b=0.45, under=0.049)
    for n in range(200):
        one = slate.choose(pairs, None, 3, FILTERS, Exploration(0.99, 5.0), slate.uniform(f"p{n}"))
        assert sorted(item.item_id for item, _ in one.chosen) == ["a", "b"]
    assert [item.item_id for item, _ in one.below_limits] == ["under"]


def test_without_exploration_the_best_is_taken_with_certainty() -> None:
    one = slate.choose(scored(a=0.5, b=0.45), None, 2, FILTERS, None, 0.999)
    assert one.draw is None
    assert one.propensities == {"a": 1.0, "b": 0.0}


def test_a_package_without_the_setting_explores_nothing() -> None:
    assert Exploration.of({}) is None
    assert Exploration.of({"exploration": {"epsilon": 0, "temperature": 0.1}}) is None


def test_the_record_has_a_propensity_for_every_candidate_and_how_rank_1_was_drawn(
    release: Any, request_body: Body
) -> None:
    service = exploring(release)
    assessed(release, service)
    for n in range(12):
        service.new_id = lambda n=n: f"p{n}"
        ask(service, request_body())
        row = prediction(release)
        mu = {one["product_id"]: float(one["propensity"]) for one in row["slate_ref"]}
        first = row["recommended"][0]
        assert sum(mu.values()) == pytest.approx(1, abs=1e-7)
        assert row["eligible_n"] == sum(p > 0 for p in mu.values())
        assert first["draw"] == {"epsilon": "0.500000000", "temperature": "0.100000000"}
        assert all(float(one["propensity"]) == mu[one["product_id"]] for one in row["recommended"])
        assert [one["product_id"] for one in row["recommended"] if "draw" in one] == [first["product_id"]]
        assert first["product_id"] == recomputed(row, f"p{n}")


def recomputed(row: dict[str, Any], prediction_id: str) -> str:
    """The draw, from the record alone."""
    u, total = slate.uniform(prediction_id), 0.0
    for one in row["slate_ref"]:
        total += float(one["propensity"])
        if u < total:
            return str(one["product_id"])
    raise AssertionError("the propensities do not sum to 1")


def test_different_answers_draw_different_items(release: Any, request_body: Body) -> None:
    service = exploring(release, 0.9)
    assessed(release, service)
    shown = {ask(service, request_body())[1]["items"][0]["item_id"] for _ in range(40)}
    assert len(shown) > 1


def test_shipped_the_best_is_taken_and_the_record_says_that_nothing_was_drawn(release: Any, request_body: Body) -> None:
    service = release.service()
    assessed(release, service)
    ask(service, request_body())
    row = prediction(release)
    mu = [float(one["propensity"]) for one in row["slate_ref"]]
    assert sorted(mu) == [0.0] * (len(mu) - 1) + [1.0]
    assert row["recommended"][0]["propensity"] == "1.000000000"
    assert all("draw" not in one for one in row["recommended"])


@pytest.mark.parametrize("stop", ["opted out", "switch", "models refused"])
def test_nobody_is_experimented_on_where_models_do_not_answer(release: Any, request_body: Body, stop: str) -> None:
    service = exploring(release)
    assessed(release, service)
    if stop == "opted out":
        change(release, SQL_OPT_OUT, release.subject("c5"), None)
    elif stop == "switch":
        change(release, SQL_SWITCH, "k1", "global", "*", "rule_based")
    else:
        service.policy = replace(service.policy, models=replace(service.policy.models, predictor=None))
    ask(service, request_body())
    row = prediction(release)
    assert all("draw" not in one for one in row["recommended"])
    assert {one["propensity"] for one in row["slate_ref"]} <= {"0.000000000", "1.000000000"}
