"""FD-TVS, the hard caps, the choice of items: golden values and boundaries."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_lib import settings
from pipeline_lib.serve import slate
from pipeline_lib.serve.score import Scorer, Situation, task_values
from pipeline_lib.serve.suitability import Caps, Item, Profile, Suitability
from pipeline_lib.settings import Place

TODAY = date(2026, 11, 16)
SERVING = settings.load("synthetic", Place(dataset="synthetic")).serving
POLICY: dict[str, Any] = SERVING.scoring.model_dump(mode="json")
FILTERS: dict[str, Any] = SERVING.filters.model_dump(mode="json")
CAPS = Caps.from_policy(SERVING.suitability.model_dump(mode="json"))


def item(name: str = "deposit_long", **changed: Any) -> Item:
    facts: dict[str, Any] = {
        "item_id": name, "name": name, "nba_class": 3, "class_name": "deposits", "group": "deposits", "risk_grade": 1,
        "capital_market": False, "retention": False, "long_horizon": True, **changed,
    }  # fmt: skip
    return Item(**facts)


def answers(churn: float = 0.05) -> dict[str, list[float]]:
    return {
        "nba_primary": [0.5, 0.1, 0.1, 0.2, 0.05, 0.03, 0.02],
        "will_acquire_deposits": [0.1],
        "will_acquire_accounts": [0.9],
        "churn_signal": [churn],
        "product_stability": [0.9],
        "cross_sell_count": [0.1823215567939546],
        "top_mcc_shift": [0.4],
    }


NORMALISERS = {"cross_sell_count": {"q95": 0.2 / 0.3}, "mcc_diversity_trend": {"sd": 0.5}}
GOLDEN = Situation(channel="app_push", messages_7d=2, income_cv=0.1, limit_utilisation=None, flare=True, engagement=0.6)


def test_golden_score_of_the_specification() -> None:
    u = task_values(item(), answers(), NORMALISERS)
    assert u["cross_sell_count"] == pytest.approx(0.3)
    scored = Scorer({**POLICY, "risk": {**POLICY["risk"], "limit": 0.2, "limit_over": 0.5}}).score(
        item(), u, 0.05, Situation(**{**GOLDEN.__dict__, "limit_utilisation": 0.9}), {}
    )
    assert scored is not None
    assert scored.s == pytest.approx(0.3725)
    assert (scored.w, scored.v, scored.r, scored.f) == pytest.approx((1.2, 1.15, 0.2, 0.7225))
    assert scored.e == pytest.approx(1.09)
    assert scored.value == pytest.approx(0.323862, abs=5e-7)


@given(st.lists(st.floats(0, 1), min_size=6, max_size=6), st.floats(1, 1.5), st.floats(1, 1.5))
def test_s_is_convex_whatever_the_multipliers(u: list[float], m1: float, m2: float) -> None:
    names = [
        "nba_primary",
        "will_acquire_deposits",
        "churn_signal",
        "product_stability",
        "cross_sell_count",
        "top_mcc_shift",
    ]
    scored = Scorer(POLICY).score(
        item(), dict(zip(names, u, strict=True)), None, Situation("branch"), {"nba_primary": m1, "churn_signal": m2}
    )
    assert scored is not None
    assert min(u) - 1e-9 <= scored.s <= max(u) + 1e-9


def test_weights_and_multipliers_change_the_ranking() -> None:
    a, b = item("a", nba_class=3, group="deposits"), item("b", nba_class=0, group="accounts")
    plain = {i.item_id: task_values(i, answers(), NORMALISERS) for i in (a, b)}

    def best(policy: dict[str, Any], m: dict[str, float]) -> str:
        scores = {i.item_id: Scorer(policy).score(i, plain[i.item_id], None, Situation("branch"), m) for i in (a, b)}
        return max(scores, key=lambda name: scores[name].value if scores[name] else 0)

    assert best(POLICY, {}) == "b"
    values = {name: Scorer(POLICY).score(item(), plain["a"], None, Situation("branch"), m).s  # type: ignore[union-attr]
              for name, m in {"plain": {}, "boosted": {"churn_signal": 1.5}}.items()}  # fmt: skip
    assert values["boosted"] > values["plain"]


def test_a_rule_boosts_until_it_expires_and_only_the_largest_counts() -> None:
    rules = [
        {
            "id": "r1",
            "feature": "x",
            "op": ">",
            "threshold": 1,
            "task": "churn_signal",
            "boost": 1.2,
            "owner": "o",
            "expires": "2026-11-17",
        },
        {
            "id": "r2",
            "feature": "x",
            "op": ">=",
            "threshold": 2,
            "task": "churn_signal",
            "boost": 1.4,
            "owner": "o",
            "expires": "2026-11-17",
        },
    ]
    scorer = Scorer({**POLICY, "dynamic_weight_rules": rules})
    assert scorer.multipliers(None, {"x": 2.0}, TODAY)["churn_signal"] == 1.4
    assert scorer.multipliers(None, {"x": 1.5}, TODAY)["churn_signal"] == 1.2
    assert scorer.multipliers(None, {}, TODAY)["churn_signal"] == 1.0
    assert scorer.multipliers(None, {"x": 2.0}, TODAY + timedelta(days=1))["churn_signal"] == 1.0


def test_multipliers_never_silence_a_model() -> None:
    scorer = Scorer({**POLICY, "segment_task_weights": {"TOP": {"churn_signal": 0.1, "nba_primary": 9.0}}})
    found = scorer.multipliers("TOP", {}, TODAY)
    assert (found["churn_signal"], found["nba_primary"]) == (1.0, 1.5)


def test_churn_and_message_penalties_spare_retention_items() -> None:
    busy = Situation("branch", messages_7d=9)
    u = task_values(item(), answers(0.5), NORMALISERS)
    other, kept = (Scorer(POLICY).score(item(retention=r), u, 0.5, busy, {}) for r in (False, True))
    assert other is not None
    assert kept is not None
    assert (other.r, kept.r) == (pytest.approx(0.7), 0.0)


def test_a_factor_that_is_not_a_number_drops_the_item() -> None:
    u = task_values(item(), answers(), NORMALISERS)
    assert Scorer(POLICY).score(item(), u, None, Situation("branch", engagement=float("nan")), {}) is None
    assert Scorer(POLICY).score(item(), {}, None, Situation("branch"), {}) is None


SUITABLE = Suitability(CAPS, frozenset({"investments"}), frozenset({"lending"}))


def profile(**changed: Any) -> Profile:
    facts: dict[str, Any] = {"tolerance": 5, "assessed_at": TODAY, "age": 40, "income_krw": 6e7, **changed}
    return Profile(**facts)


@pytest.mark.parametrize(
    ("product", "person", "why"),
    [
        ({}, {}, None),
        ({"class_name": "investments"}, {}, "scope"),
        ({"group": "lending"}, {}, "scope"),
        ({"risk_grade": None}, {}, "no_risk_grade"),
        ({}, {"tolerance": None}, "no_tolerance"),
        ({}, {"assessed_at": None}, "no_tolerance"),
        ({}, {"assessed_at": TODAY - timedelta(days=366)}, "no_tolerance"),
        ({}, {"assessed_at": TODAY - timedelta(days=365)}, None),
        ({}, {"tolerance": 6}, "no_tolerance"),
        ({"risk_grade": 3}, {"tolerance": 2}, "risk_match"),
        ({"risk_grade": 3}, {"age": 64}, None),
        ({"risk_grade": 3}, {"age": 65}, "senior_cap"),
        ({"risk_grade": 2}, {"age": 65}, None),
        ({"risk_grade": 3}, {"age": None}, "senior_cap"),
        ({"risk_grade": 4}, {"income_krw": 30_000_000.0}, None),
        ({"risk_grade": 4}, {"income_krw": 29_999_999.0}, "low_income_cap"),
        ({"capital_market": True}, {"income_krw": 29_999_999.0}, "low_income_cap"),
        ({"risk_grade": 3}, {"income_krw": 29_999_999.0}, None),
        ({"risk_grade": 4}, {"income_krw": None}, "low_income_cap"),
    ],
)
def test_who_may_be_offered_what(product: dict[str, Any], person: dict[str, Any], why: str | None) -> None:
    assert SUITABLE.refusal(item(**product), profile(**person), TODAY) == why


def scored(**scores: float) -> list[slate.Scored]:
    out = []
    for name, value in scores.items():
        made = Scorer(POLICY).score(item(name), {"nba_primary": value}, None, Situation("branch"), {})
        assert made is not None
        out.append((item(name, group=name), made))
    return out


def test_ties_are_broken_by_item_id_and_order_of_input_does_not_matter() -> None:
    pairs = scored(b=0.5, a=0.5, c=0.7)
    for order in (pairs, pairs[::-1]):
        chosen = slate.choose(order, None, 3, {**FILTERS, "mmr_lambda": 1.0})
        assert [i.item_id for i, _ in chosen.eligible] == ["c", "a", "b"]


def test_low_scores_and_likely_leavers_get_nothing_sold() -> None:
    chosen = slate.choose(scored(a=0.5, b=0.049), 0.1, 5, FILTERS)
    assert chosen.dropped == {"b": "min_score"}
    assert slate.choose(scored(a=0.5), 0.61, 5, FILTERS).dropped == {"a": "churn_veto"}
    assert not slate.choose(scored(a=0.5), 0.60, 5, FILTERS).dropped


def test_the_second_item_differs_from_the_first_when_scores_are_close() -> None:
    twin, other = item("twin"), item("other", group="accounts", long_horizon=False)
    made = {n: Scorer(POLICY).score(item(n), {"nba_primary": v}, None, Situation("branch"), {})
            for n, v in (("first", 0.60), ("twin", 0.59), ("other", 0.55), ("low", 0.1))}  # fmt: skip
    pairs = [(item("first"), made["first"]), (twin, made["twin"]), (other, made["other"]), (item("low"), made["low"])]
    chosen = slate.choose(pairs, None, 2, FILTERS)  # type: ignore[arg-type]
    assert [i.item_id for i, _ in chosen.chosen] == ["first", "other"]


def test_margin_looks_past_twins() -> None:
    assert slate.margin(slate.choose(scored(a=0.5, b=0.5), None, 5, FILTERS)) is None
    assert slate.margin(slate.choose(scored(a=0.5, b=0.5, c=0.4), None, 5, FILTERS)) == pytest.approx(0.2)
