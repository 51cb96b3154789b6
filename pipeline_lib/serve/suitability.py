"""Who may be offered what: hard caps that no file, flag or operator can loosen.

Missing data never helps: no grade, no tolerance, no age or no income and the stricter reading applies. A customer
of exactly 65 is capped; an income of exactly 30,000,000 KRW is not. Source: serving.md 5, S7 and S8.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from pipeline_lib.errors import SettingsError

AGE_CAP = 65
AGE_CAP_GRADE = 2
INCOME_CAP_KRW = 30_000_000
INCOME_CAP_GRADE = 3
TOLERANCE_MAX_AGE_D = 365


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
        """Raises SettingsError when the policy loosens a cap: the function does not start."""
        caps = cls(
            int(policy["age_cap"]), int(policy["age_cap_grade"]), float(policy["income_cap_krw"]),
            int(policy["income_cap_grade"]), int(policy["tolerance_max_age_d"]),
        )  # fmt: skip
        loosened = {
            "age_cap": caps.age_cap > AGE_CAP,
            "age_cap_grade": caps.age_cap_grade > AGE_CAP_GRADE,
            "income_cap_krw": caps.income_cap_krw < INCOME_CAP_KRW,
            "income_cap_grade": caps.income_cap_grade > INCOME_CAP_GRADE,
            "tolerance_max_age_d": caps.tolerance_max_age_d > TOLERANCE_MAX_AGE_D,
        }
        if bad := sorted(name for name, is_loose in loosened.items() if is_loose):
            raise SettingsError(f"policy/serving.json: suitability {bad} loosen a hard cap; they may only be tightened")
        return caps


@dataclass(frozen=True)
class Suitability:
    caps: Caps
    blocked_classes: frozenset[str]
    blocked_groups: frozenset[str]

    def tolerance(self, profile: Profile, today: date) -> int | None:
        """The tolerance that counts: none when it was never assessed, is stale or is not 1 to 5."""
        if profile.tolerance not in range(1, 6) or profile.assessed_at is None:
            return None
        return profile.tolerance if self._fresh(profile.assessed_at, today) else None

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
        return profile.age is None or profile.age >= self.caps.age_cap

    def low_income(self, profile: Profile) -> bool:
        return profile.income_krw is None or profile.income_krw < self.caps.income_cap_krw

    def _fresh(self, assessed_at: date, today: date) -> bool:
        return 0 <= (today - assessed_at).days <= self.caps.tolerance_max_age_d
