from __future__ import annotations

import polars as pl
import pytest
import yaml

from pipeline_lib.contracts.tables import EVENT, SNAPSHOT, Column
from pipeline_lib.errors import SchemaError, SettingsError
from pipeline_lib.expectations.suites import judge, report_bytes, verdicts
from pipeline_lib.settings import CONFIG
from pipeline_lib.settings.data import Expectation

SUITES = yaml.safe_load((CONFIG / "data.yaml").read_text(encoding="utf-8"))["suites"]
ROWS = pl.DataFrame({"amount": [1.0, 2.0, -3.0], "customer_key": [1, 1, 2]})


def rule(expect: str, severity: str = "critical", **args: object) -> Expectation:
    return Expectation.model_validate({"expect": expect, "args": args, "severity": severity})


def test_frame_without_a_suite_is_not_waved_through() -> None:
    with pytest.raises(SettingsError, match=r"no suite for \['orders'\]"):
        judge({"orders": ROWS}, {"others": {}})


def test_unknown_expectation_is_named() -> None:
    with pytest.raises(SettingsError, match="suites.t.r.expect: no expectation named 'ColumnToBeNice'"):
        judge({"t": ROWS}, {"t": {"r": rule("ColumnToBeNice")}})


def test_argument_that_the_expectation_refuses_is_named() -> None:
    with pytest.raises(SettingsError, match="suites.t.r.args"):
        judge({"t": ROWS}, {"t": {"r": rule("ColumnValuesToBeBetween", column="amount", lowest=0)}})


def test_missing_column_fails_with_its_reason() -> None:
    with pytest.raises(SchemaError) as caught:
        judge({"t": ROWS}, {"t": {"r": rule("ColumnValuesToNotBeNull", column="gone")}})
    assert "could not be judged" in caught.value.findings[0].value


def test_identifiers_are_not_quoted() -> None:
    rules = {
        "keys": rule("ColumnValuesToBeUnique", "warning", column="customer_key"),
        "sign": rule("ColumnValuesToBeBetween", "warning", column="amount", min_value=0),
    }
    found = judge({"t": ROWS}, {"t": rules})
    assert [v["observed"] for v in found] == ["2 of 3 rows, first in row 0", "1 of 3 rows, first in row 2, e.g. -3.0"]
    assert b'"success": false' in report_bytes(found)


def test_row_of_a_profile_is_named() -> None:
    rows = pl.DataFrame({"column": ["age", "income"], "std_train": [1.0, 0.2]})
    rules = {"scaled": rule("ColumnValuesToBeBetween", "warning", column="std_train", min_value=0.99)}
    assert verdicts({"t.profile": rows}, {"t.profile": rules})[0]["observed"] == "1 of 2 rows, e.g. income: 0.2"


def test_every_critical_failure_is_reported_at_once() -> None:
    rules = {
        "keys": rule("ColumnValuesToBeUnique", column="customer_key"),
        "sign": rule("ColumnValuesToBeBetween", column="amount", min_value=0),
    }
    with pytest.raises(SchemaError, match="2 critical expectations failed") as caught:
        judge({"t": ROWS}, {"t": rules})
    assert [f.check for f in caught.value.findings] == ["t.keys", "t.sign"]


@pytest.mark.parametrize(("suite", "columns"), [("customer_snapshot", SNAPSHOT), ("transaction_event", EVENT)])
def test_shipped_suites_ask_for_the_ranges_of_the_contract(suite: str, columns: tuple[Column, ...]) -> None:
    promised = {c.name: c for c in columns}
    compared = 0
    for shipped in SUITES[suite].values():
        args = shipped["args"]
        column = promised.get(args.get("column"))
        if shipped["expect"] == "ColumnValuesToBeBetween" and column:
            assert (args.get("min_value"), args.get("max_value")) == (column.low, column.high), column.name
            compared += 1
        if shipped["expect"] == "ColumnValuesToBeInSet" and column and column.values:
            assert tuple(args["value_set"]) == column.values
            compared += 1
    assert compared >= 4
