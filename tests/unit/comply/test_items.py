"""Scores, levels and what stays unknown, with the golden values of compliance.md 5.1."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline_lib.comply.evidence import Answer, Pointer
from pipeline_lib.comply.items import Number, level, risk, scored, share, stated
from pipeline_lib.comply.reports import korean_fria
from pipeline_lib.settings import Settings
from pipeline_lib.settings.compliance import Compliance, Levels, Part, ReportPolicy

IMPACT = Levels(names=["MINIMAL", "LIMITED", "HIGH", "UNACCEPTABLE"], cuts=[0.4, 0.7, 0.9])
amounts = st.decimals(min_value=0, max_value=1000, places=6)


@pytest.fixture
def compliance(policy: Settings) -> Compliance:
    return policy.compliance


def fact(value: str | int | None) -> Number:
    return Number("fact", Decimal(value) if isinstance(value, str) else value, "q")


def answer(**columns: int) -> Answer:
    return Answer((columns,), Pointer("q", "0" * 64, 0, "0" * 64), ())


def test_the_published_example_of_the_first_dimension(compliance: Compliance) -> None:
    inputs = {
        "blocked_as_unsuitable": fact("0.00002"),
        "high_risk_to_protected": fact("0.01"),
        "harm_complaints": fact(2),
    }
    item = scored("K1", compliance.reports["korean_fria"].formulas["K1"], inputs)
    assert (item.status, item.score) == ("OK", Decimal("0.35"))
    assert level(item.score, compliance.levels["impact"]) == "MINIMAL"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("score", "name"),
    [("0", "MINIMAL"), ("0.399999", "MINIMAL"), ("0.4", "LIMITED"), ("0.7", "HIGH"), ("0.9", "UNACCEPTABLE")],
)
def test_a_cut_belongs_to_the_level_above_it(score: str, name: str) -> None:
    assert level(Decimal(score), IMPACT) == name


@given(amounts, amounts, st.floats(0.00001, 100))
def test_a_capped_risk_is_between_0_and_1_and_never_falls(a: Decimal, b: Decimal, cap: float) -> None:
    part = Part(weight=1, cap=cap)
    low, high = risk(min(a, b), part), risk(max(a, b), part)
    assert 0 <= low <= high <= 1
    assert risk(Decimal(repr(cap)), part) == 1


def test_a_limit_itself_is_not_above_it() -> None:
    part = Part(weight=1, above=100)
    assert [risk(Decimal(days), part) for days in (99, 100, 101)] == [0, 0, 1]


def test_one_missing_part_leaves_the_item_unknown_with_what_is_certain() -> None:
    formula = {"a": Part(weight=0.25, cap=1), "b": Part(weight=0.75, cap=1)}
    item = scored("X", formula, {"a": fact(1), "b": "the register of everything"})
    assert (item.status, item.score, item.at_least) == ("UNKNOWN", None, Decimal("0.25"))
    assert item.looked_for == ("the register of everything",)


def test_a_ratio_without_a_denominator_is_unknown_and_not_zero() -> None:
    ratio = share("late requests", answer(late=0, requests=0), "late", "requests")
    assert ratio.value is None
    item = scored("X", {"late": Part(weight=1, cap=0.1)}, {"late": ratio})
    assert (item.status, item.looked_for) == ("UNKNOWN", ("late requests: no row to count",))


def test_a_statement_with_a_gap_is_unknown() -> None:
    assert stated("X", [fact(1), fact(None)]).status == "UNKNOWN"
    assert stated("X", [], "rows of the period").looked_for == ("rows of the period",)


def test_inputs_are_the_parts_of_the_formula() -> None:
    with pytest.raises(ValueError, match="weather"):
        scored("X", {"a": Part(weight=1, cap=1)}, {"weather": fact(1)})


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        (["0"] * 7, (Decimal(0), "MINIMAL")),
        (["0.75"] + ["0"] * 6, (Decimal("0.75") / 7, "LIMITED")),  # one step below the worst dimension
        (["1"] + ["0"] * 6, (Decimal(1) / 7, "HIGH")),
        ([None] + ["0"] * 6, (None, "LIMITED")),  # one unknown: not the best
    ],
)
def test_the_level_of_the_whole_follows_its_worst_dimension(
    scores: list[str | None], expected: tuple[Decimal | None, str]
) -> None:
    formula = {"a": Part(weight=1, cap=1)}
    items = [scored(f"K{i}", formula, {"a": "nothing" if s is None else fact(s)}) for i, s in enumerate(scores)]
    assert korean_fria._overall(items, IMPACT) == expected


def test_weights_that_do_not_add_up_are_refused(compliance: Compliance) -> None:
    given_ = compliance.reports["pia"].model_dump()
    given_["formulas"]["D1"]["no_purpose"]["weight"] = 0.5
    with pytest.raises(ValidationError, match="weights of D1 add up to 1.35"):
        ReportPolicy.model_validate(given_)


@pytest.mark.parametrize("scale", [{}, {"cap": 1.0, "above": 1.0}])
def test_a_part_has_one_scale(scale: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match="either cap or above"):
        Part(weight=1, **scale)


def test_a_mandatory_section_exists(compliance: Compliance) -> None:
    given_ = compliance.reports["pia"].model_dump()
    with pytest.raises(ValidationError, match="D9"):
        ReportPolicy.model_validate({**given_, "mandatory": ["D9"]})
