"""Layer 3: rules."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_lib import settings
from pipeline_lib.serve.rules import RuleBook, Task
from pipeline_lib.settings import Place

BANK = settings.load("synthetic", Place(dataset="synthetic"))
PRODUCTS = [product.model_dump(mode="json") for product in BANK.source.products]
BOOK = RuleBook(BANK.serving.rules.model_dump(mode="json"), PRODUCTS)
SEGMENTS = ("TOP", "PARTICULARES", "UNIVERSITARIO")
KINDS = {name: task.kind for name, task in BANK.tasks.tasks.items()}


def task(name: str, *base: float) -> Task:
    classes = {"nba_primary": tuple(BANK.source.nba_classes), "segment_prediction": SEGMENTS, "next_mcc": ("a", "b")}
    return Task(name, KINDS[name], classes.get(name, ()), base)


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
