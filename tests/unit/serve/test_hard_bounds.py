"""No file lifts a hard cap, and no value of a row permits more than the most careful value that is known."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_lib import hard_bounds, settings
from pipeline_lib.errors import SettingsError
from pipeline_lib.items import TableUnreadable
from pipeline_lib.serve.handler import open_service
from pipeline_lib.serve.suitability import (
    Caps,
    Item,
    Profile,
    Suitability,
    known_age,
    known_income,
    known_tolerance,
)
from pipeline_lib.settings import Place

from .asking import ask, assessed, rebaked
from .test_score import TODAY

Body = Callable[..., dict[str, Any]]
BANK = settings.load("synthetic", Place(dataset="synthetic"))
SERVING: dict[str, Any] = BANK.serving.model_dump(mode="json")
RATE = {"krw_per_unit": 1500, "as_of": "2026-11-01", "source": "a made-up source"}
LOOSE: list[tuple[str, Any]] = [
    ("suitability.age_cap", 66),
    ("suitability.age_cap_grade", 3),
    ("suitability.income_cap_krw", 29_999_999),
    ("suitability.income_cap_grade", 4),
    ("suitability.tolerance_max_age_d", 366),
    ("suitability.krw_rate_max_age_d", 93),
    ("feature.hard_max_age_d", 32),
    ("review.careful_grade", 4),
    ("kill_switch.cache_ms", 1001),
    ("suitability.krw_rates.EUR.krw_per_unit", 3001),
    ("suitability.krw_rates.EUR.krw_per_unit", 1.5),
    ("suitability.krw_rates.EUR.krw_per_unit", float("inf")),
    ("suitability.krw_rates.CZK.krw_per_unit", 1500),
    ("suitability.krw_rates.XAU", RATE),
    ("suitability.krw_rates.EUR.as_of", "2026-13-41"),
    ("scope.capital_market", []),
    ("scope.capital_market", ["derivatives"]),
]


def changed(policy: Mapping[str, Any], key: str, value: Any) -> dict[str, Any]:
    """The policy with one value replaced."""
    head, _, rest = key.partition(".")
    return {**policy, head: changed(policy[head], rest, value) if rest else value}


def as_override(key: str, value: Any) -> dict[str, Any]:
    head, _, rest = key.partition(".")
    return {head: as_override(rest, value) if rest else value}


@pytest.mark.parametrize(("key", "loose"), LOOSE, ids=lambda one: str(one)[:40])
def test_settings_that_loosen_a_cap_do_not_load(key: str, loose: Any, tmp_path: Any) -> None:
    overrides = tmp_path / "loose.yaml"
    overrides.write_text(json.dumps(as_override("serving." + key, loose)).replace("Infinity", ".inf"))
    with pytest.raises(SettingsError, match=key):
        settings.load("synthetic", Place(dataset="synthetic", overrides=overrides))


@pytest.mark.parametrize(("key", "loose"), [one for one in LOOSE if one[1] != math.inf], ids=lambda one: str(one)[:40])
def test_a_release_that_loosens_a_cap_does_not_start(release: Any, key: str, loose: Any) -> None:
    """Its manifest is right: the policy was baked by somebody whose settings were not checked."""
    assert open_service(release.environment())
    resealed = rebaked(release, "serving", lambda policy: changed(policy, key, loose))
    with pytest.raises(SettingsError, match=key):
        open_service(release.environment(SERVE_MANIFEST_SHA256=resealed))


@pytest.mark.parametrize("grade", [0, -1, 6, 1.5, "1", True])
def test_a_release_whose_product_has_no_such_grade_does_not_start(release: Any, grade: Any) -> None:
    def change(policy: Any) -> Any:
        first, *others = policy["products"]
        return {**policy, "products": [{**first, "risk_grade": grade}, *others]}

    with pytest.raises(SettingsError, match=r"products\.saving\.risk_grade"):
        open_service(release.environment(SERVE_MANIFEST_SHA256=rebaked(release, "products", change)))


@pytest.mark.parametrize("short", ["funds", "derivatives", "pension_plan"])
def test_what_may_lose_its_principal_is_never_of_grade_one(short: str) -> None:
    products = [
        {**product.model_dump(), **({"risk_grade": 1} if product.short == short else {})}
        for product in BANK.source.products
    ]
    (line,) = hard_bounds.broken_grades(products, BANK.source.nba_classes)
    assert f"products.{short}.risk_grade is 1" in line


@pytest.mark.parametrize("name", settings.source_names())
def test_the_policy_of_every_bank_is_within_bounds_and_may_be_tightened(name: str) -> None:
    policy = settings.load(name, Place(dataset=name)).serving.model_dump(mode="json")
    assert hard_bounds.broken(policy) == []
    assert hard_bounds.broken(changed(policy, "suitability.age_cap", 60)) == []
    assert hard_bounds.broken(changed(policy, "suitability.krw_rates", {})) == []


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, None, "65", True, [65]])
@pytest.mark.parametrize("key", hard_bounds.NUMBERS)
def test_a_bounded_number_is_a_number(key: str, value: Any) -> None:
    assert len(hard_bounds.broken(changed(SERVING, key, value))) == 1


GRADES = (1, 2, 3, 4, 5)
ITEMS = [
    Item(f"i{grade}{capital}", "x", 3, "deposits", "deposits", grade, capital, False, False)
    for grade in GRADES for capital in (False, True)
]  # fmt: skip
SUITABLE = Suitability(Caps.from_policy(SERVING["suitability"]), frozenset(), frozenset())
NUMBER = st.one_of(
    st.floats(), st.integers(), st.floats(-10, 200), st.integers(-5, 200), st.sampled_from([10**400, 2**63, -0.0])
)
ANY = st.one_of(
    NUMBER, st.none(), st.booleans(), st.text(max_size=5), st.sampled_from(["64", "1e9", "nan", "40000000"]),
    st.binary(max_size=5), st.lists(st.integers(), max_size=2),
)  # fmt: skip


def permitted(age: Any, income: Any, tolerance: Any = 5) -> set[str]:
    profile = Profile(tolerance, TODAY, age, income)
    return {item.item_id for item in ITEMS if SUITABLE.refusal(item, profile, TODAY) is None}


def is_age(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 123


def is_income(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 10**12


CAREFUL = permitted(90, 0.0)


@given(ANY, ANY, ANY)
def test_no_value_of_a_row_permits_more_than_the_most_careful_known_value(age: Any, income: Any, grade: Any) -> None:
    """Of each measure by itself: what cannot be true permits what an old, a poor, a never assessed customer may."""
    likely, rich = permitted(age, 10.0**9), permitted(40, income)
    assert likely <= permitted(90, 10.0**9) or (is_age(age) and age < 65)
    assert rich <= permitted(40, 0.0) or (is_income(income) and income >= 30_000_000)
    assert permitted(age, income) >= CAREFUL, "bad data takes nothing from anybody"
    assert not permitted(40, 10.0**9, grade) or grade in GRADES


@given(st.floats(0, 122.9), st.floats(0, 122.9), st.floats(0, 1e12), st.floats(0, 1e12))
def test_older_and_poorer_never_permits_more(age: float, other: float, income: float, another: float) -> None:
    young, old, poor, rich = min(age, other), max(age, other), min(income, another), max(income, another)
    assert permitted(old, poor) <= permitted(young, rich)


@given(ANY)
def test_what_is_known_is_a_number_in_its_range(value: Any) -> None:
    age, income, tolerance = known_age(value), known_income(value), known_tolerance(value)
    assert age is None or (is_age(value) and age == math.floor(value))
    assert income is None or (math.isfinite(income) and income == value >= 0)
    assert tolerance is None or (tolerance == value and tolerance in GRADES)


class Doctored:
    """The release's tables, some fields of every row replaced by what a table may hold of another kind."""

    def __init__(self, inner: Any, **fields: Any) -> None:
        self.inner, self.fields = inner, fields

    def get(self, table: str, key: str) -> Any:
        found = self.inner.get(table, key)
        return {**found, **{n: v for n, v in self.fields.items() if n in found}} if found else found

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


BAD = [math.nan, math.inf, -1, -1e9, 1e300, 10**400, True, "40", b"40", [40], None, ""]


@pytest.mark.parametrize("value", BAD, ids=repr)
@pytest.mark.parametrize("field", ["age", "income"])
def test_a_stored_value_that_cannot_be_true_counts_as_unknown(release: Any, field: str, value: Any) -> None:
    service = release.service()
    policy, subject, today = service.policy, release.subject("c13"), release.now.date()
    assessed(release, service, "c13", 5)
    service.tables.items = Doctored(service.tables.items, **{field: value})
    try:
        customer = service.tables.customer(subject)
    except TableUnreadable:  # of another kind: the whole row is not used
        customer = None
    profile = policy.profile(service.tables.assessment(subject), customer, today)
    assert policy.suitability.senior(profile) or field != "age"
    assert policy.suitability.low_income(profile) or field != "income"
    assert (customer is None) == isinstance(value, (bool, str, bytes, list)), "a bad number leaves the row"


@pytest.mark.parametrize("value", [5.9, True, "5", 0, 6, math.nan, math.inf, 10**400, b"5"], ids=repr)
def test_a_tolerance_that_is_none_of_five_is_none(release: Any, request_body: Body, value: Any) -> None:
    service = release.service()
    assessed(release, service)
    service.tables.items = Doctored(service.tables.items, tolerance=value)
    assert ask(service, request_body())[1]["status"] == "no_suitable_candidate"


@pytest.mark.parametrize(("days", "known"), [(0, True), (7, True), (8, False), (-1, True), (-2, False)])
def test_age_and_income_of_a_row_that_is_not_used_are_not_known(release: Any, days: int, known: bool) -> None:
    service = release.service()
    policy, subject = service.policy, release.subject("c13")
    customer = service.tables.customer(subject)
    assert customer.age is not None
    assert customer.income is not None
    today = customer.refreshed + timedelta(days=days)
    profile = policy.profile(service.tables.assessment(subject), customer, today)
    assert (profile.age is not None, profile.income_krw is not None) == (known, known)
