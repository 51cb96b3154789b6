"""The shipped wording of the synthetic bank, and customers to say it to."""

from __future__ import annotations

from typing import Any

from pipeline_lib import settings
from pipeline_lib.serve.guardrail import Evidence, Gate
from pipeline_lib.serve.reasons import Attribution, Reason, ReasonBook
from pipeline_lib.serve.suitability import Item
from pipeline_lib.settings import Place

BANK = settings.load("synthetic", Place(dataset="synthetic"))
WORDS: dict[str, Any] = BANK.serving.reasons.model_dump(mode="json")
PRODUCTS = [product.model_dump(mode="json") for product in BANK.source.products]
GROUPS = {
    "recency_days": "txn_behavior", "monthly_txns": "txn_behavior", "stability": "txn_behavior",
    "hold_saving": "product_holdings", "num_products": "demographics", "age": "demographics", "odd": "tda_long",
    "roll_30d_sum": "txn_rolling", "gmm_prob_00": "gmm_clustering", "province_freq": "relationship",
    "income": "demographics", "ph_norm": "product_hierarchy", "mamba_00": "mamba_temporal",
    "tenure_months": "demographics", "months_observed": "derived_temporal",
    "hmm_lifecycle_state_prob_growing": "hmm_lifecycle",
}  # fmt: skip
BOOK = ReasonBook(WORDS, GROUPS, ["direct_debit", "saving"])
GATE = Gate(WORDS)
ACTIVE = {"recency_days": 30.0, "num_products": 2.0}
"""Somebody of whom something may be said, and no fact holds."""


def item(name: str = "saving", *, grade: int | None = 1, retention: bool = False) -> Item:
    return Item(name, name, 1, "savings_guarantee", None, grade, False, retention, False)


def contributions(*pairs: tuple[str, float], name: str = "nba_primary") -> Attribution:
    return Attribution(name, "student_contrib", 0.0, sum(v for _, v in pairs), pairs)


def evidence(reason: Reason, *, grade: int | None = 1) -> Evidence:
    return Evidence(reason.product, reason.known, WORDS["ai_notice"][reason.locale], reason.locale, True, grade)
