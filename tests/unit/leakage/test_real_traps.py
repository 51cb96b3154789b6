"""The traps of the real data sets, found by rules that know no column of theirs. Names of columns are in tests only."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from pipeline_lib import settings
from pipeline_lib.contracts.leakage import RawSet, RawTable, TableSet, raw_findings, table_findings
from pipeline_lib.contracts.leakage.bookings import same_day
from pipeline_lib.features.leak_inputs import raw_set_of
from pipeline_lib.features.plants.real import judge_raw
from pipeline_lib.records import Finding
from pipeline_lib.settings import Place
from pipeline_lib.settings.leakage import Leakage
from pipeline_lib.settings.source import RawColumn

FOLDERS = {"berka": "berka_czech_bank", "bank_marketing": "bank_marketing", "birmingham": "birmingham_purchase_cards"}
LABEL = RawColumn(role="label", known="after_outcome")
TIME = RawColumn(role="time", known="at_row_date")
STREAM = "transaction_1993q1_1994q1"
Find = Callable[[str], Path]


@pytest.fixture(scope="module")
def limits() -> Leakage:
    return settings.load("synthetic", Place(dataset="synthetic")).leakage


@pytest.fixture(scope="module")
def raw_of(real_folder: Find, limits: Leakage) -> Callable[[str], RawSet]:
    def load(name: str) -> RawSet:
        source = settings.load(name, Place(dataset=name)).source
        return raw_set_of(source, real_folder(FOLDERS[name]), limits.raw.sample_rows)[0]

    return load


@pytest.fixture(scope="module")
def census(real_folder: Find, limits: Leakage) -> RawSet:
    rows = pl.read_parquet(real_folder("census_income_kdd") / "train.parquet").gather_every(4)
    return RawSet("census", (RawTable("train", rows, {"income_50k": LABEL, "year": TIME}),))


def stopping(found: Iterable[Finding]) -> set[tuple[str, str]]:
    return {(f.check, f.column) for f in found if f.verdict == "FAIL"}


@pytest.mark.parametrize("name", FOLDERS)
def test_nothing_is_accused_as_declared(raw_of, limits, name: str):
    assert not stopping(raw_findings(raw_of(name), limits))


def test_blind_the_czech_bank_shows_its_traps_and_nothing_else(raw_of, limits):
    raw = raw_of("berka")
    found = stopping(raw_findings(raw.blind(), limits))
    orders = {("R02", f"standing_order.{name}") for name in ("bank_to", "account_to", "amount", "k_symbol")}
    years = {("R03", f"district.{name}") for name in ("unemployment_95", "unemployment_96", "crimes_95", "crimes_96")}
    expected = {("R04", "loan.status"), ("R07", f"{STREAM}.k_symbol"), *orders, *years}
    assert expected <= found
    assert {check for check, column in found - expected} == {"R02"}
    assert {column.split(".")[0] for _, column in found - expected} == {"district"}


def test_blind_the_length_of_a_call_is_found_and_no_other_column(raw_of, limits):
    found = stopping(raw_findings(raw_of("bank_marketing").blind(), limits))
    assert found == {("R05", "bank_full_2008_2009.duration")}


def test_blind_the_purchase_cards_have_no_trap_that_values_show(raw_of, limits):
    assert not stopping(raw_findings(raw_of("birmingham").blind(), limits))


def test_blind_the_weight_of_the_census_is_found_and_no_other_column(census, limits):
    assert stopping(raw_findings(census.blind(), limits)) == {("R08", "train.instance_weight")}


@pytest.mark.parametrize("name", FOLDERS)
def test_the_leak_table_catches_every_declared_trap(raw_of, limits, name: str):
    assert {row.verdict for row in judge_raw(raw_of(name), limits)} <= {"CAUGHT", "PASSED"}


def test_days_before_the_loan_exist_only_for_those_who_get_one(real_folder, limits):
    """Cutoff at the end of 1995; label: a loan in the next half year; feature: days to the customer's loan."""
    folder = real_folder("berka_czech_bank")
    accounts, loans = (pl.read_parquet(folder / f"{name}.parquet") for name in ("account", "loan"))
    rows = accounts.filter(pl.col("opened") <= pl.datetime(1995, 12, 31)).join(
        loans.select("account_id", loan="date"), on="account_id", how="left"
    )
    soon = pl.col("loan").is_between(pl.datetime(1996, 1, 1), pl.datetime(1996, 6, 30)).fill_null(False)
    table = rows.filter(pl.col("loan").is_null() | (pl.col("loan") > pl.datetime(1995, 12, 31))).select(
        gets_loan=soon.cast(pl.Int8),
        days_before_loan=(pl.col("loan") - pl.datetime(1995, 12, 31)).dt.total_days(),
        months_here=(pl.datetime(1995, 12, 31) - pl.col("opened")).dt.total_days() // 30,
        frequency="frequency",
    )
    raw = RawSet("loans", (RawTable("rows", table, {"gets_loan": LABEL}),)).blind()
    found = {(f.check, f.column) for f in raw_findings(raw, limits) if f.check == "R06" and f.verdict == "FAIL"}
    assert found == {("R06", "rows.days_before_loan")}


def test_interest_called_an_act_of_the_customer_stops_the_run(tables: TableSet, real_folder, limits):
    """The categories as they are declared pass; with every one of them a customer's act, the bank's own are found."""
    stream = pl.read_parquet(real_folder("berka_czech_bank") / f"{STREAM}.parquet").drop_nulls("k_symbol")
    counted = same_day(stream.select(who="account_id", day=pl.col("date").cast(pl.Date), code="k_symbol"), "code")
    bank = pl.col("code").is_in(["UROK", "SLUZBY", "SANKC. UROK"])
    typed = counted.select("code", pl.lit(True).alias("customer_made"), "month", "receivers", "same_day")
    honest = replace(tables, bookings=typed.with_columns(customer_made=~bank))
    assert not stopping(f for f in table_findings(honest, limits) if f.check == "R07")
    found = stopping(f for f in table_findings(replace(tables, bookings=typed), limits) if f.check == "R07")
    assert found == {("R07", "UROK"), ("R07", "SLUZBY")}


def test_a_loan_state_is_found_under_any_name_and_code(raw_of, limits):
    """The rule looks at values: renamed, recoded and with rows in another order it finds the same column."""
    raw = raw_of("berka")
    loans = next(t for t in raw.tables if t.name == "loan")
    code = pl.col("status").replace_strict({"A": 3, "B": 1, "C": 4, "D": 2}, return_dtype=pl.Int64)
    rows = loans.rows.select("date", term="duration", colour=code).sample(fraction=1.0, shuffle=True, seed=3)
    disguised = RawSet("x", (RawTable("t", rows, {"date": TIME}),)).blind()
    assert ("R04", "t.colour") in stopping(raw_findings(disguised, limits))


def test_an_honest_state_is_not_accused(raw_of, limits):
    """The same loans with a state known at the contract: whether the loan is long."""
    raw = raw_of("berka")
    loans = next(t for t in raw.tables if t.name == "loan")
    noise = np.random.default_rng(4).random(len(loans.rows)) < 0.3
    rows = loans.rows.select("date", "duration", long=(pl.col("duration") > 24) ^ pl.Series(noise))
    honest = RawSet("x", (RawTable("t", rows, {"date": TIME}),)).blind()
    assert not [f for f in raw_findings(honest, limits) if f.check == "R04"]
