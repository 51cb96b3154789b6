"""What no file may say: bounds on every number and list of the policy by which a hard cap could be lifted.

The caps protect the old, the poor and who was never asked how much risk they bear. A file may tighten them. Whatever
would loosen one is refused twice by the same lines: when settings load, and when a release starts, which reads its
baked policy without any other check. Money is in KRW, ages of data in days.

The bounds of currency rates are the extremes of what the European Central Bank has published since 1999, half as
much again on either side: EUR/KRW lay between about 930 (October 2000) and about 2,000 (March 2009), and CZK, as
the quotient of two such rates, between about 27 and 75. A rate beyond cannot be right: of another currency, for 100
units, or made up. A currency without bounds here gets no rate, and without one an income is not known.

Source: serving.md 5, S7 and 15 (keys marked T); ECB euro foreign exchange reference rates.
"""

from __future__ import annotations

from math import isfinite

from pipeline_lib.errors import SettingsError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Any

AGE_CAP = 65
AGE_CAP_GRADE = 2
INCOME_CAP_KRW = 30_000_000
INCOME_CAP_GRADE = 3
TOLERANCE_MAX_AGE_D = 365

NUMBERS = {
    "suitability.age_cap": (0, AGE_CAP),
    "suitability.age_cap_grade": (1, AGE_CAP_GRADE),
    "suitability.income_cap_krw": (INCOME_CAP_KRW, 10**12),
    "suitability.income_cap_grade": (1, INCOME_CAP_GRADE),
    "suitability.tolerance_max_age_d": (1, TOLERANCE_MAX_AGE_D),
    "suitability.krw_rate_max_age_d": (1, 92),
    "feature.hard_max_age_d": (1, 31),
    "review.careful_grade": (1, 3),
    "kill_switch.cache_ms": (0, 1000),
}
"""Key -> (lowest, highest). A rate is reviewed once a quarter at least; age and income of a row may be used as long as
the row, and rows are refreshed weekly, a month at most; the last two are the contract's own."""
KRW_PER_UNIT = {"EUR": (620.0, 3000.0), "CZK": (18.0, 112.0)}
CAPITAL_MARKET = ("investments",)
"""Acquisition groups and classes that are capital-market products whatever a file says; it may add others."""
CAPITAL_MARKET_GRADE = 2
"""Lowest risk grade of such a product: what may lose its principal is never of grade 1. Source: Financial Investment
Services and Capital Markets Act (KR), art. 3(1)."""
GRADES = range(1, 6)


def require(serving: Mapping[str, Any], products: Mapping[str, Any], where: str) -> None:
    """Refuse a release whose policy says what no policy may.

    Args:
        serving, products: contents of ``policy/serving.json`` and ``policy/products.json``.

    Raises:
        SettingsError: naming every key, what was found and what is allowed.
        KeyError: a key is missing.
    """
    grades = broken_grades(products["products"], products["nba_classes"])
    if wrong := [*broken(serving), *grades]:
        raise SettingsError(f"{where}: a hard cap may be tightened, never loosened: {'; '.join(wrong)}")


def broken(serving: Mapping[str, Any]) -> list[str]:
    """What the serving policy says that it may not; empty: all is within bounds. Raises KeyError."""
    numbers = [(key, _at(serving, key), *bounds) for key, bounds in NUMBERS.items()]
    return [line for one in numbers if (line := _outside(*one))] + [*_rates(serving), *_scope(serving)]


def broken_grades(products: Iterable[Mapping[str, Any]], nba_classes: Any) -> list[str]:
    """Products whose risk grade is no grade, or too low for what they are. None is no grade: never recommended."""
    found = []
    for product in products:
        kinds = (product["acquire_group"], nba_classes[int(product["nba_class"])])
        low = CAPITAL_MARKET_GRADE if any(kind in CAPITAL_MARKET for kind in kinds) else GRADES[0]
        grade, name = product["risk_grade"], f"products.{product['short']}.risk_grade"
        if grade is not None and (type(grade) is not int or not low <= grade <= GRADES[-1]):
            found.append(f"{name} is {grade!r}, allowed {low} to {GRADES[-1]}")
    return found


def _at(serving: Mapping[str, Any], key: str) -> Any:
    part, name = key.split(".")
    return serving[part][name]


def _outside(key: str, value: Any, low: float, high: float) -> str | None:
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and isfinite(value)
    return None if number and low <= value <= high else f"{key} is {value!r}, allowed {low} to {high}"


def _rates(serving: Mapping[str, Any]) -> Iterator[str]:
    from datetime import date

    for currency, rate in serving["suitability"].get("krw_rates", {}).items():
        key = f"suitability.krw_rates.{currency}"
        if currency not in KRW_PER_UNIT:
            yield f"{key}: no bounds are known of this currency, only of {', '.join(KRW_PER_UNIT)}"
        elif line := _outside(f"{key}.krw_per_unit", rate["krw_per_unit"], *KRW_PER_UNIT[currency]):
            yield line
        try:
            date.fromisoformat(rate["as_of"])
        except (TypeError, ValueError):
            yield f"{key}.as_of is {rate['as_of']!r}, expected YYYY-MM-DD"


def _scope(serving: Mapping[str, Any]) -> Iterator[str]:
    named = serving["scope"]["capital_market"]
    if lacking := [kind for kind in CAPITAL_MARKET if kind not in named]:
        yield f"scope.capital_market is {list(named)}, which must contain {', '.join(lacking)}"
