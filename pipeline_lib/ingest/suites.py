"""Great Expectations suites built from policy. Critical failures stop the stage; warnings go to dq_report.json.

Only pandas frames are judged (there is no Polars or DuckDB source in 1.24): the rows of one partition, or a profile
with one row per partition. Source: data.md 11.
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Mapping
from typing import Any

import polars as pl

from pipeline_lib.canonical import with_decimals
from pipeline_lib.errors import SchemaError, SettingsError
from pipeline_lib.records import Finding
from pipeline_lib.settings.data import Expectation

log = logging.getLogger(__name__)

Rules = Mapping[str, Expectation]
Verdicts = list[dict[str, Any]]
_IDENTIFIERS = {"customer_key", "customer_id", "event_id", "ncodpers"}
_SHOWN = 3
_TALKATIVE = ("great_expectations", "great_expectations.data_context.types.base")


def judge(frames: Mapping[str, pl.DataFrame], suites: Mapping[str, Rules]) -> Verdicts:
    """Run the suite of each frame.

    Args:
        frames: suite name -> rows. A frame without a suite in the policy is an error: nothing is waved through.

    Returns:
        One verdict per rule: suite, rule, expectation, column, severity, success, observed, expected.

    Raises:
        SettingsError: a rule names no expectation of Great Expectations, or gives it arguments that it refuses.
        SchemaError: a critical rule failed; findings name suite, expectation, column, observed and expected.
    """
    if missing := sorted(frames.keys() - suites.keys()):
        raise SettingsError(f"data.yaml: suites: no suite for {missing}")
    verdicts = [verdict for name, rows in frames.items() for verdict in _judge_one(name, rows, suites[name])]
    failed = [v for v in verdicts if not v["success"]]
    for verdict in failed:
        log.warning("%s", _finding(verdict))
    critical = [_finding(v) for v in failed if v["severity"] == "critical"]
    if critical:
        raise SchemaError(f"{len(critical)} critical expectations failed", critical)
    return verdicts


def report_bytes(verdicts: Verdicts) -> bytes:
    """``dq_report.json``: the verdicts with reals as decimal text."""
    return (json.dumps(with_decimals(verdicts), indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def _judge_one(suite: str, rows: pl.DataFrame, rules: Rules) -> Verdicts:
    gx, expectations = _great_expectations()
    context = gx.get_context(mode="ephemeral")
    context.enable_analytics(False)
    context.variables.progress_bars = {"globally": False, "metric_calculations": False}
    built = [_build(expectations, suite, name, rule) for name, rule in rules.items()]
    asset = context.data_sources.add_pandas("pandas").add_dataframe_asset(suite)
    batch = asset.add_batch_definition_whole_dataframe("whole").get_batch(
        batch_parameters={"dataframe": rows.to_pandas(date_as_object=True)}
    )
    results = batch.validate(gx.ExpectationSuite(name=suite, expectations=built)).results
    by_rule = {result.expectation_config.meta["rule"]: result for result in results}
    return [_verdict(suite, name, rule, by_rule[name]) for name, rule in rules.items()]


def _great_expectations() -> tuple[Any, Any]:
    """Imported late: three seconds, and warnings of its own dependencies that are not ours to fix."""
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import great_expectations as gx
        import great_expectations.expectations as expectations
    for name in _TALKATIVE:  # its import sets levels of its own
        logging.getLogger(name).setLevel(logging.WARNING)
    return gx, expectations


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
    }


def _observed(column: str, result: Any) -> str:
    if trouble := _trouble(result.exception_info):
        return f"could not be judged: {trouble}"
    found = result.result
    if "observed_value" in found:
        return str(found["observed_value"])
    count = f"{found.get('unexpected_count', 0)} of {found.get('element_count', 0)} rows"
    values = found.get("partial_unexpected_list") or []
    if column in _IDENTIFIERS or not column or not values:
        return count
    return f"{count}, e.g. {', '.join(str(v) for v in values[:_SHOWN])}"


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
