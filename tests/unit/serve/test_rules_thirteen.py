"""Every rule of Layer 3: fired, not fired, each input missing; any inputs whatever; and the check at start."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from math import expm1, isfinite, log1p
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_lib import settings
from pipeline_lib.errors import SettingsError
from pipeline_lib.serve import rules
from pipeline_lib.serve.rules import RULES, RuleBook, Task
from pipeline_lib.serve.rules.check import CUSTOMERS, checked, in_range
from pipeline_lib.serve.suitability import krw_rate
from pipeline_lib.settings import Place

BANK = settings.load("synthetic", Place(dataset="synthetic"))
PRODUCTS = [product.model_dump(mode="json") for product in BANK.source.products]
BOOK = RuleBook(BANK.serving.rules.model_dump(mode="json"), PRODUCTS, {"3000": "travel", "5411": "retail"})
CODES = ("5411", "3000", "5812", "5912", "4121", "7832")
CLASSES = {
    "nba_primary": tuple(BANK.source.nba_classes),
    "segment_prediction": ("TOP", "PARTICULARES", "UNIVERSITARIO"),
    "next_mcc": CODES,
}
RANGES = {"product_stability": (0.0, 0.99), "cross_sell_count": (0.0, 1.6), "mcc_diversity_trend": (-1.1, 1.1)}


def made(name: str) -> Task:
    classes = CLASSES.get(name, ())
    base = tuple(1 / len(classes) for _ in classes) or (0.1,)
    return Task(name, BANK.tasks.tasks[name].kind, classes, base, *RANGES.get(name, (None, None)))


TASKS = {name: made(name) for name in BANK.tasks.names()}
IDLE = {"balance": 1000.0, "monthly_outflow": 400.0, "balance_percentile": 60.0, "hold_deposit_short": 0.0}
FIRED, NOT = 0.2, 0.05
CASES: list[tuple[str, dict[str, float], str, float]] = [
    ("will_acquire_deposits", IDLE, "idle_cash", FIRED),
    ("will_acquire_deposits", {**IDLE, "hold_deposit_short": 1.0}, "idle_cash.not", NOT),
    ("will_acquire_deposits", {**IDLE, "balance_percentile": 50.0}, "idle_cash.not", NOT),
    ("will_acquire_deposits", {**IDLE, "monthly_outflow": 700.0}, "idle_cash.not", NOT),
    ("will_acquire_deposits", {**IDLE, "balance": -5.0}, "idle_cash.not", NOT),
    ("will_acquire_deposits", {"deposit_matures_days": 30.0}, "idle_cash", FIRED),
    ("will_acquire_deposits", {"deposit_matures_days": 31.0}, "idle_cash.not", NOT),
    ("will_acquire_investments", {"tolerance": 3.0, "asset_percentile": 70.0}, "means", FIRED),
    ("will_acquire_investments", {"tolerance": 3.0, "asset_percentile": 69.9}, "means.not", NOT),
    ("will_acquire_investments", {"tolerance": 2.0, "asset_percentile": 99.0}, "means.not", NOT),
    ("will_acquire_accounts", {"salary_credited": 1, "is_primary_bank": 0, "tenure_months": 40}, "wallet", FIRED),
    ("will_acquire_accounts", {"salary_credited": 1, "is_primary_bank": 1, "tenure_months": 40}, "wallet.not", NOT),
    ("will_acquire_accounts", {"interbank_share": 0.3, "tenure_months": 1}, "wallet", FIRED),
    ("will_acquire_accounts", {"interbank_share": 0.29, "tenure_months": 1}, "wallet.not", NOT),
    ("will_acquire_lending", {"credit_grade": 4, "debt_to_income": 0.39}, "credit", FIRED),
    ("will_acquire_lending", {"credit_grade": 5, "debt_to_income": 0.1}, "credit.not", NOT),
    ("will_acquire_lending", {"credit_grade": 1, "debt_to_income": 0.40}, "credit.not", NOT),
    ("will_acquire_payments", {"foreign_spend_share": 0.10}, "card_mismatch", FIRED),
    ("will_acquire_payments", {"foreign_spend_share": 0.09}, "card_mismatch.not", NOT),
    ("will_acquire_payments", {"card_spend_percentile": 70, "hold_credit_card": 1}, "card_mismatch", FIRED),
    ("will_acquire_payments", {"card_spend_percentile": 69, "hold_credit_card": 0}, "card_mismatch.not", NOT),
    ("top_mcc_shift", {"category_shift_jsd": 0.15}, "divergence", FIRED),
    ("top_mcc_shift", {"category_shift_jsd": 0.149}, "divergence.not", NOT),
    ("top_mcc_shift", {"category_shift_jsd": 0.0, "pt_transition_probability": 0.5}, "topology", FIRED),
    ("churn_signal", {"hmm_lifecycle_state_prob_at_risk": 0.3, "hmm_lifecycle_state_prob_churned": 0.2},
     "declining_state", FIRED),
    ("product_stability", {"recency_days": 40, "balance_trend": -1.0}, "dormancy", 0.65),
    ("product_stability", {"recency_days": 1, "balance_trend": 1.0}, "dormancy", 0.99),
    ("product_stability", {"recency_days": 1, "hmm_behavior_state_prob_dormant": 0.75}, "active_state", 0.25),
    ("cross_sell_count", {"num_products": 1, "spend_percentile": 80}, "gap", log1p(3 * expm1(0.1))),
    ("cross_sell_count", {"num_products": 1, "spend_percentile": 79}, "gap", log1p(2 * expm1(0.1))),
    ("cross_sell_count", {"num_products": 5, "spend_percentile": 99}, "gap", 0.0),
    ("mcc_diversity_trend", {"category_entropy_change": 0.4}, "entropy", 0.4),
    ("mcc_diversity_trend", {"category_entropy_change": 4.0}, "entropy", 1.1),
    ("mcc_diversity_trend", {"category_entropy_change": 0.4, "transitory_income_avg": 1, "permanent_income_avg": 3},
     "entropy_and_income", 0.425),
]  # fmt: skip


@pytest.mark.parametrize(("name", "row", "rule", "p"), CASES)
def test_a_rule_fires_as_its_thresholds_say(name: str, row: dict[str, float], rule: str, p: float) -> None:
    found = BOOK.answer(TASKS[name], row)
    assert (found.rule, found.values) == (f"{name}.{rule}", (pytest.approx(p),))
    assert found.inputs


NEEDED = {
    "will_acquire_deposits": IDLE,
    "will_acquire_investments": {"tolerance": 3.0, "asset_percentile": 70.0},
    "will_acquire_lending": {"credit_grade": 1.0, "debt_to_income": 0.1},
    "will_acquire_accounts": {"interbank_share": 0.5, "tenure_months": 1.0},
    "will_acquire_payments": {"card_spend_percentile": 80.0, "hold_credit_card": 0.0},
    "cross_sell_count": {"num_products": 1.0, "spend_percentile": 90.0},
    "segment_prediction": {"monthly_txns": 10.0, "num_products": 2.0},
}


@pytest.mark.parametrize(("name", "without"), [(name, gone) for name, row in NEEDED.items() for gone in row])
def test_without_any_one_of_its_inputs_a_rule_answers_the_base_rate(name: str, without: str) -> None:
    row = {key: value for key, value in NEEDED[name].items() if key != without}
    assert not BOOK.answer(TASKS[name], NEEDED[name]).rule.endswith("base_rate")
    assert BOOK.answer(TASKS[name], row).rule == f"{name}.base_rate"


def test_there_is_one_rule_for_each_task() -> None:
    assert set(RULES) == set(BANK.tasks.names())
    assert len(RULES) == 13


def test_habits_are_smoothed_over_all_classes_and_lifted_in_their_season() -> None:
    row = {"category_n_5411": 6.0, "category_n_3000": 6.0}
    plain = dict(zip(CODES, BOOK.answer(TASKS["next_mcc"], row).values, strict=True))
    winter = dict(zip(CODES, BOOK.answer(TASKS["next_mcc"], {**row, "month": 12.0}).values, strict=True))
    assert plain["5411"] == plain["3000"] == pytest.approx(7 / 18)
    assert plain["7832"] == pytest.approx(1 / 18)
    assert winter["5411"] == pytest.approx(1.2 * winter["3000"])
    assert sum(winter.values()) == pytest.approx(1)


SHORTCUTS = {
    "hmm_lifecycle_state_prob_at_risk": 0.9, "hmm_lifecycle_state_prob_churned": 0.0,
    "hmm_behavior_state_prob_dormant": 0.9, "pt_transition_probability": 0.9, "transitory_income_avg": 9.0,
    "permanent_income_avg": 1.0,
}  # fmt: skip


@pytest.mark.parametrize("name", list(TASKS))
def test_nothing_a_model_made_is_read_for_who_has_opted_out(name: str) -> None:
    raw = dict(CUSTOMERS["everything raw"])
    assert BOOK.answer(TASKS[name], {**raw, **SHORTCUTS}, raw_only=True) == BOOK.answer(TASKS[name], raw)


NAMES = sorted({*CUSTOMERS["everything"], *SHORTCUTS, "category_n_5411", "category_n_3000", "hold_card"})


@given(
    st.dictionaries(st.sampled_from(NAMES), st.floats(allow_nan=False, allow_infinity=False), max_size=len(NAMES)),
    st.booleans(),
)
def test_any_finite_inputs_give_answers_in_range(row: dict[str, float], raw_only: bool) -> None:
    for task in TASKS.values():
        found = BOOK.answer(task, row, raw_only=raw_only)
        assert in_range(task, found), (task.name, found)
        assert all(map(isfinite, found.values))


def broken(monkeypatch: pytest.MonkeyPatch, rule: Any) -> None:
    monkeypatch.setitem(rules.RULES, "will_acquire_lending", rule)


def test_the_check_at_start_passes_these_rules_and_names_the_one_that_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    checked(BOOK, TASKS.values())
    broken(monkeypatch, lambda case: case.row["no such column"])
    with pytest.raises(SettingsError, match=r"will_acquire_lending, customer 'nothing known'"):
        checked(BOOK, TASKS.values())


@pytest.mark.parametrize("p", [1.01, -0.01, float("nan")])
def test_the_check_at_start_names_a_rule_that_leaves_its_range(monkeypatch: pytest.MonkeyPatch, p: float) -> None:
    broken(monkeypatch, lambda case: replace(case.fires(True, 0.5, (), "odd"), values=(p,)))
    with pytest.raises(SettingsError, match="will_acquire_lending"):
        checked(BOOK, TASKS.values())


@pytest.mark.parametrize(
    ("currency", "today", "rate"),
    [("KRW", "2030-01-01", 1.0), ("EUR", "2026-11-01", 1500.0), ("EUR", "2027-01-30", 1500.0),
     ("EUR", "2027-01-31", None), ("EUR", "2026-10-31", None), ("GBP", "2026-11-16", None)],
    ids=["won_need_none", "its_day", "still_fresh", "stale", "not_known_yet", "no_rate"],
)  # fmt: skip
def test_a_rate_counts_from_its_day_until_it_is_stale(currency: str, today: str, rate: float | None) -> None:
    policy = BANK.serving.suitability.model_dump(mode="json")
    assert krw_rate(policy, currency, date.fromisoformat(today)) == rate


def test_a_policy_from_before_the_thirteen_rules_answers_base_rates() -> None:
    old = RuleBook({"fired_factor": 2.0}, PRODUCTS, base_only=True)
    checked(old, TASKS.values())
    assert old.answer(TASKS["churn_signal"], CUSTOMERS["everything"]).rule == "churn_signal.base_rate"
