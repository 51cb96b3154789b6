"""The template's text: what it names, that it is always there, the same everywhere, and Korean."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest

from pipeline_lib.serve import reasons
from pipeline_lib.serve.guardrail import verdict
from pipeline_lib.serve.layers import TaskAnswer
from pipeline_lib.serve.reasons import Attribution, ReasonBook, attribute
from pipeline_lib.serve.rules import RuleAnswer

from .words import ACTIVE, BANK, BOOK, GATE, GROUPS, PRODUCTS, WORDS, contributions, evidence, item

LOCALES = ("ko", "en")
TASKS = ("nba_primary", "churn_signal", "product_stability", "will_acquire_deposits", "top_mcc_shift")


@pytest.mark.parametrize(
    ("found", "category", "feature"),
    [
        (contributions(("recency_days", 0.4)), "spending", "recency_days"),
        (contributions(("roll_30d_sum", 0.4), ("recency_days", 0.2)), "trend", "roll_30d_sum"),
        (contributions(("age", 0.9), ("hold_saving", 0.2)), "holdings", "hold_saving"),
        (contributions(("gmm_prob_00", 0.9), ("hold_saving", 0.2)), "holdings", "hold_saving"),
        (contributions(("province_freq", 0.9)), "popularity", None),
        (contributions(("income", 0.9)), "popularity", None),
        (contributions(("odd", 0.9), ("hold_saving", 0.2)), "holdings", "hold_saving"),
        (contributions(("recency_days__log", 0.4)), "spending", "recency_days__log"),
        (contributions(("age__log", 0.4)), "popularity", None),
        (contributions(("recency_days", -0.4)), "popularity", None),
        (contributions(("recency_days", -0.4), name="churn_signal"), "spending", "recency_days"),
        (contributions(("recency_days", 0.4), name="churn_signal"), "popularity", None),
        (contributions(*((f"odd{i}", 0.9) for i in range(3)), ("recency_days", 0.4)), "popularity", None),
        (contributions(), "popularity", None),
        (None, "popularity", None),
    ],
    ids=["positive", "largest", "protected", "protected_by_prefix", "protected_in_a_worded_group", "without_words",
         "without_words_is_skipped", "a_log_copy", "a_protected_log_copy", "negative", "less_churn_speaks_for",
         "churn_speaks_against", "not_among_the_top", "no_contribution", "no_model"],
)  # fmt: skip
def test_a_reason_names_what_raised_the_score_and_nothing_protected(
    found: Attribution | None, category: str, feature: str | None
) -> None:
    made = BOOK.reason(item(), found, "s_1", "ko", ACTIVE).grounds
    assert (made.category, made.feature) == (category, feature)


def test_a_retention_item_is_spoken_for_by_what_raises_churn() -> None:
    up = contributions(("recency_days", 0.4), name="churn_signal")
    assert BOOK.grounds(item(retention=True), up, ACTIVE).feature == "recency_days"


@pytest.mark.parametrize("known", [{}, {"recency_days": 181.0, "num_products": 0.0}, {"recency_days": float("nan")}])
@pytest.mark.parametrize("feature", ["recency_days", "roll_30d_sum", "hold_saving", "mamba_00"])
def test_of_a_sparse_customer_nothing_is_claimed(known: dict[str, float], feature: str) -> None:
    made = BOOK.reason(item("home_account"), contributions((feature, 1.0)), "s_1", "en", known)
    assert (made.grounds.category, made.grounds.feature, made.known) == (
        "minimum_safe",
        None,
        ("home-savings account",),
    )


def test_words_go_from_task_and_direction_to_the_group() -> None:
    words = {
        **WORDS,
        "phrases": {key: {"ko": key, "en": key} for key in (
            "churn_signal/down/recency_days", "churn_signal/down/txn_behavior", "churn_signal/recency_days",
            "churn_signal/txn_behavior", "recency_days", "txn_behavior")},
    }  # fmt: skip
    found = contributions(("recency_days", -0.4), name="churn_signal")
    while words["phrases"]:
        first = next(iter(words["phrases"]))
        assert first in book_of(words).reason(item(), found, "s_1", "en", ACTIVE).known
        words["phrases"].pop(first)
    assert book_of(words).grounds(item(), found, ACTIVE).feature is None


def book_of(words: dict[str, object]) -> ReasonBook:
    return ReasonBook(words, GROUPS, [])


def test_a_fact_that_holds_is_said_instead_of_the_features_name() -> None:
    found = contributions(("recency_days", 0.4))
    fresh = BOOK.reason(item(), found, "s_1", "en", {**ACTIVE, "recency_days": 7.0})
    assert "your transactions of the last week" in fresh.text
    assert fresh.grounds.facts == ("recent_use",)
    assert "the time of your last transaction" in BOOK.reason(item(), found, "s_1", "en", ACTIVE).text


def test_a_task_whose_contributions_disagree_with_treeshap_names_the_group() -> None:
    book = ReasonBook(WORDS, GROUPS, [], coarse=["nba_primary"])
    made = book.reason(item(), contributions(("recency_days", 0.4)), "s_1", "en", {**ACTIVE, "recency_days": 7.0})
    assert "the way you usually transact" in made.text


@pytest.mark.parametrize("task", ["churn_signal", "product_stability", "will_acquire_deposits", "nba_primary"])
def test_the_main_tasks_say_what_they_make_of_it(task: str) -> None:
    sign = -1 if task == "churn_signal" else 1
    texts = {BOOK.reason(item(), contributions(("recency_days", sign), name=task), f"s_{i}", "ko", ACTIVE).text
             for i in range(60)}  # fmt: skip
    assert len(texts) == 2 * reasons.VARIANTS


def test_a_rules_inputs_carry_what_it_made_of_the_base_rate() -> None:
    rule = RuleAnswer("nba_primary.adjacent", (0.6, 0.4), 0.5, ("num_products",))
    answer = TaskAnswer("nba_primary", "multiclass", 3, "MANIFEST", rule.values, rule=rule, base=(0.1, 0.9))
    up, down = attribute(answer, 0), attribute(answer, 1)
    assert up.contributions == (("num_products", pytest.approx(0.5)),)
    assert down.contributions == (("num_products", pytest.approx(-0.5)),)
    assert up.residual == pytest.approx(0)
    assert BOOK.grounds(item(), up, ACTIVE).feature == "num_products"
    assert BOOK.grounds(item(), down, ACTIVE).feature is None


def test_every_key_of_the_words_is_of_a_task_a_direction_and_a_known_group() -> None:
    groups = set(BANK.features.groups) | set(WORDS["categories"])
    columns = re.compile(r"[a-z][a-z0-9_]*")
    for key in [*WORDS["phrases"], *WORDS["links"]]:
        *where, last = key.split("/")
        if key in WORDS["links"]:
            where, last = key.split("/"), "links"
        assert not where or where[0] in BANK.tasks.tasks, key
        assert len(where) < 2 or where[1] in ("up", "down"), key
        assert last in groups or columns.fullmatch(last), key
    assert {f for key in WORDS["phrases"] for f in [key.split("/")[-1]]} & set(WORDS["protected"]) == set()


def everybody(count: int) -> list[tuple[Attribution, dict[str, float], str]]:
    """Random contributions over every kind of column, and random customers, sparse ones included."""
    draw = random.Random(20261123)
    names = [*GROUPS, "recency_days__log", "unheard_of"]
    made = []
    for i in range(count):
        task = draw.choice(TASKS)
        pairs = tuple((name, draw.uniform(-1, 1)) for name in draw.sample(names, 6))
        ordered = tuple(sorted(pairs, key=lambda pair: -abs(pair[1])))
        known = {
            "recency_days": draw.choice([0.0, 5.0, 60.0, 400.0, float("nan")]),
            "num_products": float(draw.randrange(6)), "monthly_txns": draw.uniform(0, 40),
            "tenure_months": draw.uniform(0, 200), "total_acquisitions": float(draw.randrange(2)),
        }  # fmt: skip
        made.append((Attribution(task, "student_contrib", 0.0, 0.0, ordered), known, f"s_{i:064x}"))
    return made


COLUMN = re.compile(r"[a-z]+_[a-z0-9_]+")


@pytest.mark.parametrize("locale", LOCALES)
def test_a_thousand_customers_get_a_text_that_passes_and_names_no_column_and_nothing_protected(locale: str) -> None:
    draw = random.Random(7)
    for found, known, subject in everybody(1000):
        made = BOOK.reason(item(draw.choice(PRODUCTS)["short"]), found, subject, locale, known)
        assert made.text.strip()
        assert made.text.count(WORDS["ai_notice"][locale]) == 1
        assert not COLUMN.search(made.text)
        assert made.grounds.feature not in ("age", "gmm_prob_00", "province_freq", "months_observed")
        findings = GATE.check(made.text, evidence(made))
        assert verdict(findings) == "pass", (made.text, [f for f in findings if not f.passed])


def test_the_texts_are_the_same_in_every_process() -> None:
    script = (
        "from tests.unit.serve.test_reasons import *; import hashlib;"
        "print(hashlib.sha256(''.join(BOOK.reason(item(), a, s, l, k).text for a, k, s in everybody(1000)"
        " for l in LOCALES).encode()).hexdigest())"
    )
    repo = Path(__file__).resolve().parents[3]
    runs = [
        subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=repo,
                       env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(repo)}).stdout
        for seed in ("1", "2")
    ]  # fmt: skip
    assert runs[0] == runs[1]


def wrong_particles(text: str, words: tuple[str, ...]) -> list[str]:
    """Words of ours that are followed by the particle of the other ending."""
    found = []
    for word in words:
        wrong = "를는가와" if reasons.ends_closed(word) else "을은이과"
        found += re.findall(rf"{re.escape(word)}[{wrong}](?= )", text)
    return found + re.findall(r"\([은는이가을를와과로으/]+\)|\{|\||/", text)


def test_particles_are_right_for_every_product_phrase_and_template() -> None:
    phrases = {words["ko"] for words in WORDS["phrases"].values()} | {fact["ko"] for fact in WORDS["facts"]}
    products = {name["ko"] for name in WORDS["product_names"].values()} | {"A1", "Loan", "통장(온라인)"}
    for templates in WORDS["templates"].values():
        for template, name, phrase in product(templates["ko"], products, phrases):
            text = reasons.fill(template, {"product": name, "phrase": phrase})
            assert not wrong_particles(text, (name, phrase)), text


@pytest.mark.parametrize("text", ["통장를 안내", "카드을 안내", "카드은 안내", "통장(을) 안내", "{product} 안내"])
def test_a_wrong_particle_is_seen(text: str) -> None:
    assert wrong_particles(text, ("통장", "카드"))


@pytest.mark.parametrize("words", [w for t in WORDS["templates"].values() for w in t["ko"]]
                         + [w for t in WORDS["links"].values() for w in t["ko"]])  # fmt: skip
def test_every_korean_sentence_is_honorific(words: str) -> None:
    assert words.endswith(("니다.", "시기 바랍니다."))


@pytest.mark.parametrize(
    ("word", "closed"),
    [("저축예금", True), ("신용카드", False), ("통장", True), ("서비스", False), ("loan", True), ("card", False),
     ("A3", True), ("A2", False), ("통장(온라인)", True), ("카드 ", False), ("「통장」", True), ("", False)],
)  # fmt: skip
def test_particles_follow_the_last_sound(word: str, closed: bool) -> None:
    assert reasons.ends_closed(word) is closed
    assert reasons.fill("{w|을/를}", {"w": word}) == word + ("을" if closed else "를")


@pytest.mark.parametrize(
    ("word", "said"), [("예금", "예금으로"), ("서울", "서울로"), ("카드", "카드로"), ("A1", "A1로")]
)
def test_the_particle_of_direction_hears_a_liquid_as_open(word: str, said: str) -> None:
    assert reasons.fill("{w|으로/로}", {"w": word}) == said


def test_a_particle_without_a_choice_is_just_added() -> None:
    assert reasons.fill("{w|에} {w}", {"w": "통장"}) == "통장에 통장"


def test_customers_read_different_words() -> None:
    ids = {BOOK.reason(item("home_account"), None, f"s_{n}", "ko", {}).template_id for n in range(40)}
    assert len(ids) == reasons.VARIANTS
    assert json.dumps(sorted(ids))
