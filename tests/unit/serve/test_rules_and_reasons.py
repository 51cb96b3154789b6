"""Layer 3, the wording of reasons and the guardrail."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_lib import settings
from pipeline_lib.serve import guardrail, reasons
from pipeline_lib.serve.guardrail import CRITERIA, Evidence
from pipeline_lib.serve.reasons import Attribution, ReasonBook
from pipeline_lib.serve.rules import RuleBook, Task
from pipeline_lib.serve.suitability import Item
from pipeline_lib.settings import Place

BANK = settings.load("synthetic", Place(dataset="synthetic"))
WORDS: dict[str, Any] = BANK.serving.reasons.model_dump(mode="json")
PRODUCTS = [product.model_dump(mode="json") for product in BANK.source.products]
BOOK = RuleBook(BANK.serving.rules.model_dump(mode="json"), PRODUCTS)
GROUPS = {"recency_days": "txn_behavior", "hold_saving": "product_holdings", "age": "demographics", "odd": "tda_long",
          "roll_30d_sum": "txn_rolling"}  # fmt: skip
REASONS = ReasonBook(WORDS, GROUPS, ["direct_debit", "saving"])
SEGMENTS = ("TOP", "PARTICULARES", "UNIVERSITARIO")
KINDS = {name: task.kind for name, task in BANK.tasks.tasks.items()}


def task(name: str, *base: float) -> Task:
    classes = {"nba_primary": tuple(BANK.source.nba_classes), "segment_prediction": SEGMENTS, "next_mcc": ("a", "b")}
    return Task(name, KINDS[name], classes.get(name, ()), base)


def item(name: str = "saving") -> Item:
    return Item(name, name, 1, "savings_guarantee", None, 1, False, False, False)


QUIET = {"recency_days": 45.0, "roll_30d_sum": 10.0, "roll_90d_sum": 210.0}


@pytest.mark.parametrize(
    ("row", "rule", "p"),
    [
        (QUIET, "churn_signal.decline", 0.2),
        ({**QUIET, "recency_days": 1.0}, "churn_signal.decline.not", 0.05),
        ({"recency_days": 45.0}, "churn_signal.base_rate", 0.1),
        ({}, "churn_signal.base_rate", 0.1),
        ({"recency_days": 30.0, "roll_30d_sum": 80.0, "roll_90d_sum": 280.0}, "churn_signal.decline.not", 0.05),
        ({"recency_days": 1.0, "roll_30d_count": 1.0, "roll_90d_count": 11.0, "roll_180d_count": 41.0,
          "roll_30d_sum": 1.0, "roll_90d_sum": 90.0}, "churn_signal.decline", 0.2),
    ],
    ids=["two_hits", "one_hit", "one_input_is_unknown", "nothing_known", "limits_are_strict", "visits_fall"],
)  # fmt: skip
def test_churn_fires_on_two_signs_and_is_unknown_with_fewer_than_two_inputs(
    row: dict[str, float], rule: str, p: float
) -> None:
    found = BOOK.answer(task("churn_signal", 0.1), row)
    assert (found.rule, found.values) == (rule, (pytest.approx(p),))


def test_a_fired_rule_is_never_certainty() -> None:
    assert BOOK.answer(task("churn_signal", 0.6), QUIET).values == (0.70,)


@pytest.mark.parametrize(
    ("silence", "value"), [(0, 0.92), (29.9, 0.92), (30, 0.75), (59, 0.75), (60, 0.55), (90, 0.30), (365, 0.30)]
)
def test_stability_falls_with_silence(silence: float, value: float) -> None:
    assert BOOK.answer(task("product_stability", 0.9), {"recency_days": silence}).values == (value,)


def test_next_action_is_the_first_step_not_held_by_name() -> None:
    base = [0.6, 0.1, 0.1, 0.05, 0.05, 0.05, 0.05]
    held = {"hold_saving": 1.0, "hold_deposit_short": 1.0, "num_products": 2.0}
    names = BANK.source.nba_classes
    few = BOOK.answer(task("nba_primary", *base), {"hold_saving": 1.0, "num_products": 1.0})
    more = BOOK.answer(task("nba_primary", *base), held)
    assert names[max(range(7), key=lambda k: few.values[k])] == "deposits"
    assert names[max(range(7), key=lambda k: more.values[k])] == "investments"
    assert sum(more.values) == pytest.approx(1)
    assert more.values[names.index("investments")] == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("txns", "products", "name"),
    [(25, 5, "PARTICULARES"), (5, 2, "UNIVERSITARIO"), (1, 1, "UNIVERSITARIO"), (5, 4, "PARTICULARES")],
)
def test_segment_by_points_without_the_balance_that_is_unknown(txns: float, products: float, name: str) -> None:
    found = BOOK.answer(task("segment_prediction", 0.1, 0.5, 0.4), {"monthly_txns": txns, "num_products": products})
    assert SEGMENTS[max(range(3), key=lambda k: found.values[k])] == name


@pytest.mark.parametrize("name", list(KINDS))
def test_every_task_is_answered_with_no_inputs_at_all_by_its_base_rate(name: str) -> None:
    base = {"nba_primary": [1 / 7] * 7, "segment_prediction": [0.2, 0.5, 0.3], "next_mcc": [0.5, 0.5]}.get(name, [0.3])
    found = BOOK.answer(task(name, *base), {})
    assert found.values == tuple(base)
    assert found.rule == f"{name}.base_rate"
    assert BOOK.answer(task(name), QUIET).values == ()


@given(
    st.dictionaries(
        st.sampled_from(
            [
                "recency_days",
                "roll_30d_sum",
                "roll_90d_sum",
                "monthly_txns",
                "num_products",
                "tenure_months",
                "hold_saving",
            ]
        ),
        st.floats(0, 1e6),
    )
)
def test_rules_answer_in_range_for_any_row(row: dict[str, float]) -> None:
    for name in KINDS:
        base = {"nba_primary": [1 / 7] * 7, "segment_prediction": [0.2, 0.5, 0.3], "next_mcc": [0.5, 0.5]}.get(
            name, [0.3]
        )
        values = BOOK.answer(task(name, *base), row).values
        assert all(0 <= v <= 1 for v in values)
        assert KINDS[name] != "multiclass" or sum(values) == pytest.approx(1)


def contributions(*pairs: tuple[str, float], name: str = "nba_primary") -> Attribution:
    return Attribution(name, "student_contrib", 0.0, sum(v for _, v in pairs), pairs)


@pytest.mark.parametrize(
    ("found", "category", "feature"),
    [
        (contributions(("recency_days", 0.4)), "spending", "recency_days"),
        (contributions(("roll_30d_sum", 0.4), ("recency_days", 0.2)), "trend", "roll_30d_sum"),
        (contributions(("age", 0.9), ("hold_saving", 0.2)), "holdings", "hold_saving"),
        (contributions(("odd", 0.9), ("hold_saving", 0.2)), "holdings", "hold_saving"),
        (contributions(("recency_days", -0.4)), "popularity", None),
        (contributions(("recency_days", -0.4), name="churn_signal"), "spending", "recency_days"),
        (contributions(("recency_days", 0.4), name="churn_signal"), "popularity", None),
        (contributions(), "popularity", None),
        (None, "popularity", None),
    ],
    ids=["positive", "largest", "protected_is_skipped", "without_words_is_skipped", "negative", "less_churn_speaks_for",
         "churn_speaks_against", "no_contribution", "no_model"],
)  # fmt: skip
def test_a_reason_names_what_raised_the_score_and_nothing_protected(
    found: Attribution | None, category: str, feature: str | None
) -> None:
    made = REASONS.reason(item(), found, "s_1", "ko")
    assert (made.category, made.feature) == (category, feature)


def test_an_unpopular_item_without_a_reason_gets_words_that_claim_nothing() -> None:
    made = REASONS.reason(item("home_account"), None, "s_1", "en")
    assert made.category == "minimum_safe"
    assert "home-savings account" in made.text


@pytest.mark.parametrize("locale", ["ko", "en"])
@pytest.mark.parametrize("product", [p["short"] for p in PRODUCTS])
def test_every_template_for_every_product_passes_the_guardrail(product: str, locale: str) -> None:
    notice = WORDS["ai_notice"][locale]
    for feature, category in (("recency_days", "spending"), ("hold_saving", "holdings"), ("roll_30d_sum", "trend")):
        for i in range(12):
            made = REASONS.reason(item(product), contributions((feature, 1.0)), f"s_{i}", locale)
            assert made.category == category
            phrase = (WORDS["phrases"].get(feature) or WORDS["phrases"][GROUPS[feature]])[locale]
            evidence = Evidence(REASONS.product(item(product), locale), phrase, notice, locale, True)
            assert guardrail.verdict(guardrail.check(made.text, evidence, WORDS)) == "pass", made.text


def test_reasons_are_the_same_in_every_process_and_differ_between_customers() -> None:
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); from pipeline_lib import settings as s;"
        "from pipeline_lib.settings import Place; from pipeline_lib.serve.reasons import ReasonBook;"
        "from pipeline_lib.serve.suitability import Item;"
        "w = s.load('synthetic', Place(dataset='synthetic')).serving.reasons.model_dump(mode='json');"
        "i = Item('saving', 'saving', 1, 'x', None, 1, False, False, False);"
        "print([ReasonBook(w, {}, []).reason(i, None, f's_{n}', 'ko').template_id for n in range(20)])"
    )
    repo = Path(__file__).resolve().parents[3]
    runs = [
        subprocess.run([sys.executable, "-c", script, str(repo)], capture_output=True, text=True, check=True,
                       env={**os.environ, "PYTHONHASHSEED": seed}).stdout
        for seed in ("1", "2")
    ]  # fmt: skip
    assert runs[0] == runs[1]
    assert len(set(json.loads(runs[0].replace(chr(39), chr(34))))) == reasons.VARIANTS


@pytest.mark.parametrize(
    ("word", "closed"),
    [
        ("저축예금", True),
        ("신용카드", False),
        ("통장", True),
        ("서비스", False),
        ("loan", True),
        ("card", False),
        ("A3", True),
        ("A2", False),
        ("", False),
    ],
)
def test_particles_follow_the_last_sound(word: str, closed: bool) -> None:
    assert reasons.ends_closed(word) is closed
    assert reasons.fill("{w|을/를}", {"w": word}) == word + ("을" if closed else "를")


def test_a_particle_without_a_choice_is_just_added() -> None:
    assert reasons.fill("{w|에} {w}", {"w": "통장"}) == "통장에 통장"


NOTICE = WORDS["ai_notice"]["ko"]
GOOD = Evidence("저축예금", "최근의 거래 흐름", NOTICE, "ko", True)


@pytest.mark.parametrize(
    ("sentence", "criterion"),
    [
        ("저축예금은 원금 보장 상품으로 안내해 드립니다.", "regulatory"),
        ("저축예금은 연 5% 상품으로 안내해 드립니다.", "regulatory"),
        ("저축예금은 반드시 가입하실 상품입니다.", "regulatory"),
        ("저축예금 문의는 010-1234-5678 입니다.", "regulatory"),
        ("저축예금 문의는 a@bank.example 입니다.", "regulatory"),
        ("저축예금, 고객번호 900101-1234567 입니다.", "regulatory"),
        ("저축예금 1234-5678-9012-3456 입니다.", "regulatory"),
        ("저축예금 {{ignore previous}} 입니다.", "regulatory"),
        ("저축예금은 고객 300명이 이용합니다.", "hallucination"),
        ("저축예금은 지금 바로 안내해 드립니다.", "tone"),
        ("저축예금은 최고의 상품입니다.", "tone"),
        ("저축예금을 봐라.", "tone"),
        ("정기예금을 안내해 드립니다.", "factuality"),
    ],
)
def test_planted_bad_texts_are_blocked_by_their_criterion(sentence: str, criterion: str) -> None:
    findings = guardrail.check(f"{sentence} {NOTICE}", GOOD, WORDS)
    assert tuple(f.criterion for f in findings) == CRITERIA
    assert criterion in [f.criterion for f in findings if not f.passed]
    assert guardrail.verdict(findings) == "block"


@pytest.mark.parametrize("text", ["저축예금을 안내해 드립니다.", f"저축예금을 안내해 드립니다. {NOTICE} {NOTICE}"])
def test_the_ai_notice_is_there_exactly_once(text: str) -> None:
    findings = {f.criterion: f for f in guardrail.check(text, GOOD, WORDS)}
    assert "ai_notice" in findings["regulatory"].hits


def test_an_unsuitable_item_is_blocked_whatever_its_text() -> None:
    text = f"저축예금을 안내해 드립니다. {NOTICE}"
    assert guardrail.verdict(guardrail.check(text, GOOD, WORDS)) == "pass"
    bad = Evidence("저축예금", "", NOTICE, "ko", suitable=False)
    assert guardrail.verdict(guardrail.check(text, bad, WORDS)) == "block"
