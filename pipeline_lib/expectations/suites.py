"""Great Expectations suites built from policy. Critical failures stop the stage; warnings go to dq_report.json.

Only pandas frames are judged (there is no Polars or DuckDB source in 1.24): the rows of one partition, or a profile
with one row per partition. Source: data.md 11.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

import polars as pl

from pipeline_lib.canonical import with_decimals
from pipeline_lib.errors import SchemaError, SettingsError
from pipeline_lib.expectations.library import great_expectations, quiet_context
from pipeline_lib.records import Finding
from pipeline_lib.settings.data import Expectation

log = logging.getLogger(__name__)

Rules = Mapping[str, Expectation]
Verdicts = list[dict[str, Any]]
_IDENTIFIERS = {"customer_key", "customer_id", "event_id", "ncodpers"}
_ROW_NAMES = ("column", "snapshot_date", "month", "task", "metric")
"""What tells the rows of a profile apart."""
_SHOWN = 3
_COUNTS = ("element_count", "missing_count", "missing_percent", "unexpected_count", "unexpected_percent")


def judge(frames: Mapping[str, pl.DataFrame], suites: Mapping[str, Rules]) -> Verdicts:
    """Run the suite of each frame, and stop on a critical failure.

    Args:
        frames: suite name -> rows. A frame without a suite in the policy is an error: nothing is waved through.

    Returns:
        What ``verdicts`` says.

    Raises:
        SettingsError: see ``verdicts``.
        SchemaError: see ``require_no_critical``.
    """
    found = verdicts(frames, suites)
    require_no_critical(found)
    return found


def verdicts(frames: Mapping[str, pl.DataFrame], suites: Mapping[str, Rules]) -> Verdicts:
    """Run the suite of each frame; failures are logged and returned.

    Returns:
        One verdict per rule: suite, rule, expectation, column, severity, success, observed, expected, and what the
        Data Docs are drawn from: args of the rule, result (counts, and a few unexpected values that name nobody).

    Raises:
        SettingsError: a frame has no suite, a rule names no expectation of Great Expectations, or gives it arguments
            that it refuses.
    """
    if missing := sorted(frames.keys() - suites.keys()):
        raise SettingsError(f"data.yaml: suites: no suite for {missing}")
    found = [verdict for name, rows in frames.items() for verdict in _judge_one(name, rows, suites[name])]
    for verdict in found:
        if not verdict["success"]:
            log.warning("%s", _finding(verdict))
    return found


def critical_failures(found: Verdicts) -> list[Finding]:
    """Findings of the critical rules that failed: suite, expectation, column, observed, expected."""
    return [_finding(v) for v in found if not v["success"] and v["severity"] == "critical"]


def require_no_critical(found: Verdicts, page: str = "") -> None:
    """Raises SchemaError with all findings when a critical rule failed.

    Args:
        page: where people can look at it, for the message.
    """
    if critical := critical_failures(found):
        raise SchemaError(f"{len(critical)} critical expectations failed" + (f", see {page}" if page else ""), critical)


def columns_of(rows: pl.DataFrame) -> pl.DataFrame:
    """The columns of a table as rows (column, type), for suites that judge which columns there are."""
    return pl.DataFrame({"column": rows.columns, "type": [str(dtype) for dtype in rows.dtypes]})


def report_bytes(verdicts: Verdicts) -> bytes:
    """``dq_report.json``: the verdicts with reals as decimal text."""
    return (json.dumps(with_decimals(verdicts), indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def _judge_one(suite: str, rows: pl.DataFrame, rules: Rules) -> Verdicts:
    gx, expectations = great_expectations()
    context = quiet_context(gx)
    built = [_build(expectations, suite, name, rule) for name, rule in rules.items()]
    asset = context.data_sources.add_pandas("pandas").add_dataframe_asset(suite)
    batch = asset.add_batch_definition_whole_dataframe("whole").get_batch(
        batch_parameters={"dataframe": rows.to_pandas(date_as_object=True)}
    )
    names = [name for name in _ROW_NAMES if name in rows.columns and "." in suite][:1]
    wanted = {"result_format": "SUMMARY", "partial_unexpected_count": _SHOWN}
    wanted |= {"unexpected_index_column_names": names} if names else {}
    results = batch.validate(gx.ExpectationSuite(name=suite, expectations=built), result_format=wanted).results
    by_rule = {result.expectation_config.meta["rule"]: result for result in results}
    return [_verdict(suite, name, rule, by_rule[name]) for name, rule in rules.items()]


def _build(expectations: Any, suite: str, name: str, rule: Expectation) -> Any:
    kind = getattr(expectations, f"Expect{rule.expect}", None)
    if kind is None:
        raise SettingsError(f"data.yaml: suites.{suite}.{name}.expect: no expectation named {rule.expect!r}")
    try:
        return kind(**rule.args, severity=rule.severity, meta={"rule": name})
    except ValueError as error:
        raise SettingsError(f"data.yaml: suites.{suite}.{name}.args: {error}") from error


def _verdict(suite: str, name: str, rule: Expectation, result: Any) -> dict[str, Any]:
    column = rule.args.get("column", "")
    return {
        "suite": suite,
        "rule": name,
        "expectation": rule.expect,
        "column": column,
        "severity": rule.severity,
        "success": bool(result.success),
        "observed": _observed(column, result),
        "expected": ", ".join(f"{k}={v}" for k, v in rule.args.items() if k != "column"),
        "args": dict(rule.args),
        "result": _shown(column, result),
    }


def _shown(column: str, result: Any) -> dict[str, Any]:
    """Counts and examples of a result: no identifier, and nothing that only a batch has."""
    found = {name: result.result[name] for name in _COUNTS if name in result.result}
    if "observed_value" in result.result:
        found["observed_value"] = str(result.result["observed_value"])
    if column and column not in _IDENTIFIERS:
        found["partial_unexpected_list"] = [
            str(value) for value in (result.result.get("partial_unexpected_list") or [])[:_SHOWN]
        ]
    return found


def _observed(column: str, result: Any) -> str:
    if trouble := _trouble(result.exception_info):
        return f"could not be judged: {trouble}"
    found = result.result
    if "observed_value" in found:
        return str(found["observed_value"])
    count = f"{found.get('unexpected_count', 0)} of {found.get('element_count', 0)} rows"
    places = found.get("partial_unexpected_index_list") or []
    if places and not isinstance(places[0], dict):
        count += f", first in row {min(places)}"
    values = found.get("partial_unexpected_list") or []
    if column in _IDENTIFIERS or not column or not values:
        return count
    named = [_named(column, place) for place in places if isinstance(place, dict)] or [str(v) for v in values]
    return f"{count}, e.g. {', '.join(named[:_SHOWN])}"


def _named(column: str, place: Mapping[str, Any]) -> str:
    """The value of a profile's row, after the name of that row."""
    return ": ".join([*(str(v) for k, v in place.items() if k != column), str(place[column])])


def _trouble(info: Mapping[str, Any]) -> str | None:
    """What went wrong inside an expectation: told once, or once per metric."""
    if "raised_exception" in info:
        return str(info["exception_message"]) if info["raised_exception"] else None
    told = [str(metric["exception_message"]) for metric in info.values() if metric["raised_exception"]]
    return "; ".join(sorted(told)) or None


def _finding(verdict: Mapping[str, Any]) -> Finding:
    return Finding(
        check=f"{verdict['suite']}.{verdict['rule']}",
        column=str(verdict["column"] or verdict["expected"]),
        statistic=str(verdict["expectation"]),
        value=str(verdict["observed"]),
        threshold=str(verdict["expected"]),
        message=f"severity {verdict['severity']}",
        verdict="FAIL" if verdict["severity"] == "critical" else "WARN",
    )
