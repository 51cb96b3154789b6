"""Rules about how a customer behaves: leaving, shifting, repeating, falling silent, diversifying.

Source: serving.md 8, row by row; thresholds are policy (``serving.rules``).
"""

from __future__ import annotations

from math import expm1, log1p

from pipeline_lib.serve.rules.base import Case, RuleAnswer, within

CATEGORY = "category_n_"
"""Prefix of the acts in a category of the last 90 days, with the category's code."""
_MOST_ACTS = 1e6


def churn_signal(case: Case) -> RuleAnswer | None:
    """At least two of: long silence, visits falling three months, spend down. Fewer than two inputs: unknown."""
    if short := case.shortcut():
        declining = short[0] >= case.limit("declining_state")
        return case.fires(declining, 0.40 + 0.15 * 2 * declining, short[1], "declining_state")
    tests = {"recency_days": _silent(case), "roll_30d_count": _falling(case), "roll_30d_sum": _spend_down(case)}
    known = {name: hit for name, hit in tests.items() if hit is not None}
    if len(known) < 2:
        return None
    hits = sum(known.values())
    return case.fires(hits >= case.limit("churn_hits"), 0.40 + 0.15 * hits, sorted(known), "decline")


def top_mcc_shift(case: Case) -> RuleAnswer | None:
    """The mix of categories is no longer what it was."""
    if short := case.shortcut():
        return case.fires(short[0] >= case.limit("topology_shift"), 0.50, short[1], "topology")
    jsd = case.row.get("category_shift_jsd")
    if jsd is None:
        return None
    confidence = 0.50 + min(0.35, 2 * max(jsd, 0.0))
    return case.fires(jsd >= case.limit("shift_jsd_bit"), confidence, ("category_shift_jsd",), "divergence")


def next_mcc(case: Case) -> RuleAnswer | None:
    """The habitual categories, Laplace-smoothed over all classes, with the season's factor."""
    names = case.known(*(CATEGORY + code for code in case.task.classes))
    if not names:
        return None
    smoothing, month = case.limit("next_mcc_smoothing"), case.row.get("month")
    weights = [
        (within(case.row.get(CATEGORY + code, 0.0), 0.0, _MOST_ACTS) + smoothing) * _season(case, code, month)
        for code in case.task.classes
    ]
    total = sum(weights)
    return RuleAnswer("next_mcc.habit", tuple(weight / total for weight in weights), 0.45, names)


def product_stability(case: Case) -> RuleAnswer | None:
    """Dormancy: the longer the silence, the less stable."""
    if short := case.shortcut():
        return case.value(within(1 - short[0]), 0.50, short[1], "active_state")
    silence = case.row.get("recency_days")
    if silence is None:
        return None
    steps = zip(case.limits["stability_days"], case.limits["stability_values"], strict=False)
    value = next((float(v) for days, v in steps if silence < float(days)), float(case.limits["stability_values"][-1]))
    trend = within(case.row.get("balance_trend", 0.0), -1.0)
    value = within(value + case.limit("stability_balance_weight") * trend)
    return case.value(value, 0.50, ("recency_days", *case.known("balance_trend")), "dormancy")


def mcc_diversity_trend(case: Case) -> RuleAnswer | None:
    """What the variety of categories did is what it will do; a transitory income raises it a little."""
    change = case.row.get("category_entropy_change")
    if change is None:
        return None
    part, whole = (case.row.get(name) for name in ("transitory_income_avg", "permanent_income_avg"))
    if case.raw_only or part is None or whole is None or part <= 0 or whole <= 0:
        return case.value(change, 0.40, ("category_entropy_change",), "entropy")
    share = 1 / (1 + whole / part)
    inputs = ("category_entropy_change", "transitory_income_avg", "permanent_income_avg")
    return case.value(change + case.limit("diversity_transitory") * share, 0.40, inputs, "entropy_and_income")


def cross_sell_count(case: Case) -> RuleAnswer | None:
    """The gap to what customers of this value hold, times the rate at which gaps close in a month [ln(1 + count)]."""
    held = case.row.get("num_products")
    value = next(iter(case.known(*case.limits["value_percentiles"])), None)
    if held is None or value is None:
        return None
    steps = zip(case.limits["cross_sell_percentiles"], case.limits["cross_sell_targets"], strict=False)
    targets = case.limits["cross_sell_targets"]
    target = next((float(t) for limit, t in steps if case.row[value] >= float(limit)), float(targets[-1]))
    monthly = expm1(within(case.task.base[0], 0.0, 10.0))
    return case.value(log1p(max(0.0, target - max(held, 0.0)) * monthly), 0.50, ("num_products", value), "gap")


def _silent(case: Case) -> bool | None:
    return case.row["recency_days"] > case.limit("churn_recency_days") if "recency_days" in case.row else None


def _falling(case: Case) -> bool | None:
    """Monthly counts of the last 30 days, the 60 before and the 90 before those fall."""
    names = ("roll_30d_count", "roll_90d_count", "roll_180d_count")
    if len(case.known(*names)) < len(names):
        return None
    month, quarter, half = (case.row[name] for name in names)
    return month < (quarter - month) / 2 < (half - quarter) / 3


def _spend_down(case: Case) -> bool | None:
    if len(case.known("roll_30d_sum", "roll_90d_sum")) < 2:
        return None
    before = (case.row["roll_90d_sum"] - case.row["roll_30d_sum"]) / 2
    return before > 0 and case.row["roll_30d_sum"] < (1 - case.limit("churn_spend_drop")) * before


def _season(case: Case, code: str, month: float | None) -> float:
    found = (s for s in case.limits["seasons"] if month in s["months"] and s["group"] == case.groups.get(code))
    return max((float(season["factor"]) for season in found), default=1.0)
