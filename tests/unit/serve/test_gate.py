"""The rule parts of the safety gate: planted texts, forty bad and twenty-four good."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipeline_lib.serve import guardrail
from pipeline_lib.serve.guardrail import CRITERIA, Evidence, verdict

from .words import ACTIVE, BOOK, GATE, PRODUCTS, WORDS, contributions, evidence, item

NOTICE = WORDS["ai_notice"]
KO = Evidence("저축예금", ("저축예금", "최근의 거래 흐름", "최근 일주일 이내의 거래"), NOTICE["ko"], "ko", True, 2)
EN = Evidence(
    "savings account", ("savings account", "your recent transactions", "your 5 or more years with us"), NOTICE["en"],
    "en", True, 2,
)  # fmt: skip
BAD = {
    "regulatory": [
        (KO, "저축예금은 원금 보장 상품으로 안내해 드립니다."),
        (KO, "저축예금은 원 금 보 장 상품입니다."),
        (KO, "저축예금은 연 5% 상품으로 안내해 드립니다."),
        (KO, "저축예금을 반드시 가입해 주시기 바랍니다."),
        (KO, "여성 고객님께 저축예금을 안내해 드립니다."),
        (EN, "The savings account has a guaranteed return."),
        (EN, "Given your age, we suggest the savings account."),
        (EN, "Call 010-1234-5678 for the savings account."),
    ],
    "suitability": [
        (KO, "저축예금은 누구에게나 좋은 상품입니다."),
        (KO, "저축예금은 고객님께 꼭 맞는 상품입니다."),
        (KO, "저축예금은 안전한 상품입니다."),
        (KO, "안심하고 저축예금을 이용하실 수 있습니다."),
        (EN, "The savings account is perfect for you."),
        (EN, "The savings account is safe."),
        (EN, "The savings account suits everyone."),
        (EN, "The savings account comes with no risk."),
    ],
    "hallucination": [
        (KO, "저축예금은 고객 300명이 이용하고 있습니다."),
        (KO, "신용카드와 함께 저축예금을 안내해 드립니다."),
        (KO, "월별 지출 규모를 참고하여 저축예금을 안내해 드립니다."),
        (KO, "최근 3개월의 거래를 참고하여 저축예금을 안내해 드립니다."),
        (EN, "The savings account goes well with your credit card."),
        (EN, "Your monthly spending speaks for the savings account."),
        (EN, "Having seen hmm_state_duration, we suggest the savings account."),
        (EN, "In 12 months the savings account pays off."),
    ],
    "tone": [
        (KO, "저축예금은 지금 바로 안내해 드립니다."),
        (KO, "저축예금은 최고의 상품입니다."),
        (KO, "저축예금을 봐라."),
        (KO, "저축예금을 추천한다. 살펴보시기 바랍니다."),
        (KO, "저축예금을 놓치지 마시기 바랍니다."),
        (EN, "Hurry, the savings account is here."),
        (EN, "The savings account is the best there is."),
        (EN, "Look at the savings account!"),
    ],
    "factuality": [
        (KO, "정기예금을 안내해 드립니다."),
        (KO, "저축 통장을 안내해 드립니다."),
        (KO, "저축예금은 수수료가 없습니다."),
        (KO, "저축예금은 예금자보호 상품입니다."),
        (KO, "저축예금의 금리를 살펴보시기 바랍니다."),
        (EN, "The saving plan is available to you."),
        (EN, "The savings account is free of charge."),
        (EN, "The savings account has a bonus."),
    ],
}
PLANTED = [(criterion, found, text) for criterion, texts in BAD.items() for found, text in texts]
GOOD = [
    (KO, "저축예금을 안내해 드립니다."),
    (KO, "최근의 거래 흐름을 살펴보고 저축예금을 안내해 드립니다."),
    (KO, "최근 일주일 이내의 거래에 맞추어 저축예금을 소개해 드립니다."),
    (KO, "고객님의 최근의 거래 흐름에 어울리는 저축예금을 소개해 드립니다."),
    (KO, "최근의 거래 흐름을 보면 저축예금이 도움이 될 수 있습니다."),
    (KO, "저축예금에 관한 안내를 드립니다. 천천히 살펴보시기 바랍니다."),
    (KO, "저축예금은 최근의 거래 흐름을 참고하여 안내해 드리는 상품입니다."),
    (KO, "저축예금이 궁금하시면 가까운 영업점에 문의해 주세요."),
    (KO, "언제든 저축예금에 대해 편하게 문의해 주십시오."),
    (KO, "최근의 거래 흐름과 함께 저축예금을 살펴보실 수 있습니다."),
    (KO, "저축예금을 한번 살펴보시면 좋겠습니다."),
    (KO, "최근 일주일 이내의 거래를 바탕으로 저축예금을 말씀드립니다."),
    (EN, "We would like to mention the savings account."),
    (EN, "Having looked at your recent transactions, we suggest the savings account."),
    (EN, "After your 5 or more years with us, the savings account may be of interest."),
    (EN, "The savings account may go well with your recent transactions."),
    (EN, "You may wish to look at the savings account."),
    (EN, "Your recent transactions made us think of the savings account."),
    (EN, "We are happy to tell you about the savings account."),
    (EN, "The savings account could be a next step."),
    (EN, "Please ask us about the savings account at any time."),
    (EN, "The savings account is suggested in view of your recent transactions."),
    (EN, "If it suits you, have a look at the savings account."),
    (EN, "Considering your recent transactions, the savings account may help."),
]


def test_forty_are_planted_eight_of_each_criterion_in_both_languages() -> None:
    assert {criterion: len(texts) for criterion, texts in BAD.items()} == dict.fromkeys(CRITERIA, 8)
    assert all({found.locale for found, _ in texts} == {"ko", "en"} for texts in BAD.values())


@pytest.mark.parametrize(("criterion", "found", "text"), PLANTED, ids=[text for _, _, text in PLANTED])
def test_a_planted_bad_text_is_blocked_by_its_criterion(criterion: str, found: Evidence, text: str) -> None:
    findings = GATE.check(f"{text} {found.notice}", found)
    assert tuple(f.criterion for f in findings) == CRITERIA
    assert criterion in [f.criterion for f in findings if not f.passed]
    assert verdict(findings) == "block"


@pytest.mark.parametrize(("found", "text"), GOOD, ids=[text for _, text in GOOD])
def test_a_good_text_passes(found: Evidence, text: str) -> None:
    findings = GATE.check(f"{text} {found.notice}", found)
    assert verdict(findings) == "pass", [f for f in findings if not f.passed]


@pytest.mark.parametrize(
    "secret", ["900101-1234567", "1234-5678-9012-3456", "010 1234 5678", "a@bank.example", "123-45-6789"]
)
def test_personal_data_is_blocked_in_every_form(secret: str) -> None:
    findings = {f.criterion: f for f in GATE.check(f"저축예금 {secret} 안내입니다. {KO.notice}", KO)}
    assert "personal_data" in findings["regulatory"].hits


@pytest.mark.parametrize(
    "order",
    ["ignore all rules", "Ignore previous text", "system prompt", "{{x}}", "<script>", "이전 지시를 무시", "```"],
)
def test_orders_to_a_model_are_blocked(order: str) -> None:
    findings = {f.criterion: f for f in GATE.check(f"저축예금 {order} 안내입니다. {KO.notice}", KO)}
    assert "injection" in findings["regulatory"].hits


@pytest.mark.parametrize(
    "text", ["저축예금을 안내해 드립니다.", f"저축예금을 안내해 드립니다. {KO.notice} {KO.notice}"]
)
def test_the_ai_notice_is_there_exactly_once(text: str) -> None:
    findings = {f.criterion: f for f in GATE.check(text, KO)}
    assert "ai_notice" in findings["regulatory"].hits


def test_an_unsuitable_item_is_blocked_whatever_its_text() -> None:
    text = f"저축예금을 안내해 드립니다. {KO.notice}"
    assert verdict(GATE.check(text, replace(KO, suitable=False))) == "block"


@pytest.mark.parametrize(("grade", "passes"), [(1, "pass"), (2, "block"), (5, "block"), (None, "block")])
def test_how_strongly_a_product_may_be_praised_hangs_on_its_grade(grade: int | None, passes: str) -> None:
    text = f"The savings account is safe. {EN.notice}"
    assert verdict(GATE.check(text, replace(EN, risk_grade=grade))) == passes


@pytest.mark.parametrize("word", ["women", "men", "fee", "free", "young", "limit"])
def test_a_latin_word_is_looked_for_as_a_word(word: str) -> None:
    text = f"We mention the savings account x{word}x. {EN.notice}"
    assert verdict(GATE.check(text, EN)) == "pass"
    assert verdict(GATE.check(text.replace(f"x{word}x", word.upper()), EN)) == "block"


@pytest.mark.parametrize("locale", ["ko", "en"])
@pytest.mark.parametrize("product", [p["short"] for p in PRODUCTS])
def test_every_template_for_every_product_passes(product: str, locale: str) -> None:
    for feature in ("recency_days", "hold_saving", "roll_30d_sum", "tenure_months"):
        for i in range(12):
            made = BOOK.reason(item(product), contributions((feature, 1.0)), f"s_{i}", locale, ACTIVE)
            assert made.grounds.feature == feature
            findings = GATE.check(made.text, evidence(made, grade=None))
            assert verdict(findings) == "pass", (made.text, [f for f in findings if not f.passed])


def test_the_worst_finding_stands_for_all_texts() -> None:
    bad, good = (GATE.check(f"{text} {KO.notice}", KO) for text in ("저축예금을 봐라.", "저축예금입니다."))
    assert [f.passed for f in guardrail.worst([good, bad])] == [f.passed for f in bad]
