"""Who may be offered what: hard caps that no file, flag or operator can loosen.

Missing data never helps: no grade, no tolerance, no age or no income and the stricter reading applies; a value that
cannot be true counts as missing. A customer of exactly 65 is capped; an income of exactly 30,000,000 KRW is not. What
a policy may say is bounded in ``hard_bounds.py``. Source: serving.md 5, S7 and S8.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from math import isfinite
from typing import Any

OLDEST = 122
"""Years that the oldest person on record reached; a higher age is a mistake."""
HIGHEST_INCOME_KRW = 10**12
"""A higher annual income is a mistake of unit; several times the highest that is known of anybody in Korea."""
TOLERANCES = range(1, 6)


@dataclass(frozen=True)
class Item:
    """One product as the rules see it."""

    item_id: str
    name: str
    nba_class: int
    class_name: str
    group: str | None
    risk_grade: int | None
    capital_market: bool
    retention: bool
    long_horizon: bool


@dataclass(frozen=True)
class Profile:
    """What is known about a customer's suitability; None = not known."""

    tolerance: int | None
    assessed_at: date | None
    age: int | None
    income_krw: float | None


def krw_rate(policy: Mapping[str, Any], currency: str, today: date) -> float | None:
    """KRW per unit, for the income cap alone; None where no rate is set or it is too old, and then the cap applies."""
    if currency == "KRW":
        return 1.0
    rate = policy.get("krw_rates", {}).get(currency)
    if rate is None or not 0 <= (today - date.fromisoformat(rate["as_of"])).days <= int(policy["krw_rate_max_age_d"]):
        return None
    return float(rate["krw_per_unit"])


@dataclass(frozen=True)
class Caps:
    age_cap: int
    age_cap_grade: int
    income_cap_krw: float
    income_cap_grade: int
    tolerance_max_age_d: int

    @classmethod
    def from_policy(cls, policy: Mapping[str, Any]) -> Caps:
        """Of a policy that ``hard_bounds.require`` let pass."""
        return cls(
            int(policy["age_cap"]), int(policy["age_cap_grade"]), float(policy["income_cap_krw"]),
            int(policy["income_cap_grade"]), int(policy["tolerance_max_age_d"]),
        )  # fmt: skip


def known_age(value: object) -> int | None:
    """Completed years [0..122]; None for what is no number or no age."""
    number = _number(value)
    return int(number) if number is not None and 0 <= number < OLDEST + 1 else None


def known_income(value: object) -> float | None:
    """An income [per year]; None for what is no number, or negative."""
    number = _number(value)
    return number if number is not None and number >= 0 else None


def known_tolerance(value: object) -> int | None:
    """1 to 5; None for everything else."""
    number = _number(value)
    return int(number) if number is not None and number in TOLERANCES else None


def _number(value: object) -> float | None:
    """A finite number; neither a text that looks like one nor a truth value is."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        number = float(value)
    except OverflowError:  # an integer beyond every float
        return None
    return number if isfinite(number) else None


@dataclass(frozen=True)
class Suitability:
    caps: Caps
    blocked_classes: frozenset[str]
    blocked_groups: frozenset[str]

    def tolerance(self, profile: Profile, today: date) -> int | None:
        """The tolerance that counts: none when it was never assessed, is stale or is not 1 to 5."""
        tolerance = known_tolerance(profile.tolerance)
        if tolerance is None or profile.assessed_at is None:
            return None
        return tolerance if self._fresh(profile.assessed_at, today) else None

    def stale(self, profile: Profile, today: date) -> bool:
        return profile.assessed_at is not None and not self._fresh(profile.assessed_at, today)

    def refusal(self, item: Item, profile: Profile, today: date) -> str | None:
        """Why this item may not be offered to this customer, or None."""
        if self.out_of_scope(item):
            return "scope"
        if item.risk_grade is None:
            return "no_risk_grade"
        tolerance = self.tolerance(profile, today)
        if tolerance is None:
            return "no_tolerance"
        if item.risk_grade > tolerance:
            return "risk_match"
        if self.senior(profile) and item.risk_grade > self.caps.age_cap_grade:
            return "senior_cap"
        if self.low_income(profile) and (item.risk_grade > self.caps.income_cap_grade or item.capital_market):
            return "low_income_cap"
        return None

    def out_of_scope(self, item: Item) -> bool:
        """Not offered to anybody in this deployment."""
        return item.class_name in self.blocked_classes or item.group in self.blocked_groups

    def senior(self, profile: Profile) -> bool:
        age = known_age(profile.age)
        return age is None or age >= self.caps.age_cap

    def low_income(self, profile: Profile) -> bool:
        income = known_income(profile.income_krw)
        return income is None or income > HIGHEST_INCOME_KRW or income < self.caps.income_cap_krw

    def _fresh(self, assessed_at: date, today: date) -> bool:
        return 0 <= (today - assessed_at).days <= self.caps.tolerance_max_age_d
