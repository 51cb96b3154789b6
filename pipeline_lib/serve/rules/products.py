"""Rules about what a customer may want next: the next action, five groups of acquisitions, the segment.

Some inputs are carried by no source there is (credit grade, debt to income, assets, foreign spend, salary and primary
bank, maturing deposits): a source that carries them only has to export them under these names.
Source: serving.md 8, row by row; thresholds are policy (``serving.rules``).
"""

from __future__ import annotations

from collections.abc import Sequence

from pipeline_lib.serve.rules.base import Case, RuleAnswer, within


def nba_primary(case: Case) -> RuleAnswer | None:
    """The first step of the adjacency path that is not held; by class name, never by position."""
    held = _held_classes(case)
    if held is None:
        return None
    few = case.row.get("num_products", float(len(held))) < case.limit("nba_few_products")
    path = [str(case.limits["nba_first"])] if few else [str(step) for step in case.limits["nba_path"]]
    step = next((name for name in path if name in case.task.classes and name not in held), None)
    if step is None:
        return None
    inputs = ("holdings", *case.known("num_products"))
    return case.towards(case.task.classes.index(step), 0.55, inputs, "adjacent")


def will_acquire_deposits(case: Case) -> RuleAnswer | None:
    """Idle cash without a term deposit, or a deposit that matures."""
    matures = case.row.get("deposit_matures_days")
    held = case.held(lambda product: product["acquire_group"] == "deposits")
    names = ("balance", "monthly_outflow", "balance_percentile")
    ratio, idle = 0.0, None
    if held is not None and len(case.known(*names)) == len(names):
        balance = case.row["balance"]
        ratio = within((balance - case.row["monthly_outflow"]) / balance) if balance > 0 else 0.0
        rich = case.row["balance_percentile"] > case.limit("deposits_balance_percentile")
        idle = ratio > case.limit("deposits_idle_share") and rich and not held
    due = None if matures is None else 0 <= matures <= case.limit("deposits_matures_days")
    fired = _either(idle, due)
    if fired is None:
        return None
    return case.fires(fired, 0.40 + 0.30 * ratio, case.known(*names, "deposit_matures_days"), "idle_cash")


def will_acquire_investments(case: Case) -> RuleAnswer | None:
    """A tolerance for risk and means to bear it: the top three tenths by assets, not the top seven."""
    tolerant, wealthy = (
        case.over("tolerance", "investments_tolerance"),
        case.over("asset_percentile", "investments_asset_percentile"),
    )
    if tolerant is None or wealthy is None:
        return None
    return case.fires(tolerant and wealthy, 0.55, ("tolerance", "asset_percentile"), "means")


def will_acquire_accounts(case: Case) -> RuleAnswer | None:
    """Share of wallet, in points; fewer than two of the three signs known: unknown."""
    row = case.row
    both = len(case.known("salary_credited", "is_primary_bank")) == 2
    points = {
        "salary_credited": (2 * (row["salary_credited"] > 0 and row["is_primary_bank"] <= 0)) if both else None,
        "interbank_share": case.over("interbank_share", "accounts_interbank_share"),
        "tenure_months": row["tenure_months"] < case.limit("accounts_new_months") if "tenure_months" in row else None,
    }
    known = {name: int(point) for name, point in points.items() if point is not None}
    if len(known) < 2:
        return None
    score = sum(known.values())
    return case.fires(score >= case.limit("accounts_points"), 0.40 + 0.15 * min(score, 3), sorted(known), "wallet")


def will_acquire_lending(case: Case) -> RuleAnswer | None:
    """Both tests of credit; nothing a model says may stand for either."""
    if len(case.known("credit_grade", "debt_to_income")) < 2:
        return None
    good = 1 <= case.row["credit_grade"] <= case.limit("lending_credit_grade")
    bearable = case.row["debt_to_income"] < case.limit("lending_debt_to_income")
    return case.fires(good and bearable, 0.60, ("credit_grade", "debt_to_income"), "credit")


def will_acquire_payments(case: Case) -> RuleAnswer | None:
    """Much spent abroad, or much spent by card with at most one card."""
    abroad = case.over("foreign_spend_share", "payments_foreign_share")
    spends = case.over("card_spend_percentile", "payments_card_percentile")
    cards = case.held(lambda product: product["short"] in case.limits["card_products"])
    short_of_cards = None if spends is None or cards is None else spends and cards <= case.limit("payments_cards")
    fired = _either(abroad, short_of_cards)
    if fired is None:
        return None
    inputs = case.known("foreign_spend_share", "card_spend_percentile")
    return case.fires(fired, 0.65, inputs, "card_mismatch")


def segment_prediction(case: Case) -> RuleAnswer | None:
    """Points for transactions and products, and for the balance where it is known: otherwise it scores nothing."""
    inputs = case.known("monthly_txns", "num_products")
    names = [str(name) for name in case.limits["segment_names"]]
    if len(inputs) < 2 or not set(names) <= set(case.task.classes):
        return None
    points = _points(case.row["monthly_txns"], case.limits["segment_transactions"])
    points += _points(case.row["num_products"], case.limits["segment_products"])
    if "balance" in case.row:
        points += _points(case.row["balance"], case.limits["segment_balance"])
    many, some = (float(limit) for limit in case.limits["segment_points"])
    name = names[0] if points >= many else names[1] if points >= some else names[2]
    return case.towards(case.task.classes.index(name), 0.50, (*inputs, *case.known("balance")), "points")


def _either(*tests: bool | None) -> bool | None:
    """Whether one of the tests that can be made holds; None when none can be made."""
    known = [test for test in tests if test is not None]
    return any(known) if known else None


def _held_classes(case: Case) -> set[str] | None:
    """Names of the classes of which a product is held; None when holdings are not in the row."""
    seen = [p for p in case.products if f"hold_{p['short']}" in case.row]
    if not seen:
        return None
    held = {int(p["nba_class"]) for p in seen if case.row[f"hold_{p['short']}"] > 0}
    return {case.task.classes[k] for k in held if k < len(case.task.classes)}


def _points(value: float, limits: Sequence[float]) -> int:
    return 2 if value >= float(limits[0]) else 1 if value >= float(limits[1]) else 0
