"""All rules on five customers, when a function starts: what raises or leaves its range would do so in a branch.

Source: serving.md 8, last paragraph.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import isfinite

from pipeline_lib.errors import SettingsError
from pipeline_lib.serve.rules import RuleBook
from pipeline_lib.serve.rules.base import Named, RuleAnswer, Task

_RAW = {
    "recency_days": 3.0, "roll_30d_sum": 300.0, "roll_90d_sum": 900.0, "roll_30d_count": 20.0, "roll_90d_count": 60.0,
    "roll_180d_count": 120.0, "monthly_txns": 20.0, "num_products": 3.0, "tenure_months": 40.0, "hold_saving": 1.0,
    "hold_deposit_short": 0.0, "hold_credit_card": 1.0, "spend_percentile": 85.0, "card_spend_percentile": 75.0,
    "monthly_outflow": 800.0, "balance": 12_000.0, "balance_percentile": 80.0, "balance_trend": 0.2,
    "category_shift_jsd": 0.2, "category_entropy_change": 0.3, "month": 12.0, "tolerance": 3.0,
    "asset_percentile": 90.0, "foreign_spend_share": 0.2, "salary_credited": 1.0, "is_primary_bank": 0.0,
    "interbank_share": 0.4, "credit_grade": 2.0, "debt_to_income": 0.2, "deposit_matures_days": 10.0,
}  # fmt: skip
_MADE = {
    "hmm_lifecycle_state_prob_at_risk": 0.5, "hmm_lifecycle_state_prob_churned": 0.2,
    "hmm_behavior_state_prob_dormant": 0.7, "pt_transition_probability": 0.6, "transitory_income_avg": 100.0,
    "permanent_income_avg": 2_000.0,
}  # fmt: skip
CUSTOMERS: Mapping[str, Named] = {
    "nothing known": {},
    "everything raw": _RAW,
    "everything": {**_RAW, **_MADE},
    "all zero": dict.fromkeys({**_RAW, **_MADE}, 0.0),
    "silent and negative": {**_RAW, "recency_days": 400.0, "balance": -50.0, "category_entropy_change": -9.0},
}
_EXACT = 1e-6


def checked(book: RuleBook, tasks: Iterable[Task]) -> None:
    """Raises SettingsError naming task, customer and what was found."""
    for task in tasks:
        used = {f"category_n_{code}": 7.0 for code in task.classes[:5]} if task.name == "next_mcc" else {}
        for name, row in CUSTOMERS.items():
            for raw_only in (False, True):
                _check(book, task, name, {**row, **used} if row else row, raw_only)


def in_range(task: Task, found: RuleAnswer) -> bool:
    """Whether an answer is one the task can have; nothing at all is an answer where no base rate is known."""
    values = found.values
    if not all(map(isfinite, (*values, found.confidence))) or not 0 <= found.confidence <= 1:
        return False
    if not task.base:
        return not values
    if task.kind == "multiclass":
        return len(values) == len(task.base) and min(values) >= 0 and abs(sum(values) - 1) <= _EXACT
    if task.kind == "binary":
        return len(values) == 1 and 0 <= values[0] <= 1
    low = values[0] if task.low is None else task.low
    high = values[0] if task.high is None else task.high
    return len(values) == 1 and low - _EXACT <= values[0] <= high + _EXACT


def _check(book: RuleBook, task: Task, customer: str, row: Named, raw_only: bool) -> None:
    try:
        found = book.answer(task, row, raw_only=raw_only)
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        raise SettingsError(f"rule {task.name}, customer '{customer}': {type(error).__name__} {error}") from error
    if not in_range(task, found):
        raise SettingsError(f"rule {task.name}, customer '{customer}': {found.rule} answers {found.values}")
