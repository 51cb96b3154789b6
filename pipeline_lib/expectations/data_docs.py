"""The Data Docs of a run: Great Expectations' own pages, drawn from the verdicts that the stages have kept.

A view and no artefact: it lies in the place's home, and is drawn again whenever somebody asks. The library's pages ask
eight hosts for their styles and fetch a picture that counts readers; here they are cut off, and the pages carry their
own style, so that they look the same in a bank's closed network.
"""

from __future__ import annotations

import html
import json
import re
import shutil
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from importlib import resources
from pathlib import Path
from typing import Any

from pipeline_lib.errors import ObjectMissing
from pipeline_lib.expectations.library import great_expectations, quiet_context
from pipeline_lib.expectations.suites import Verdicts
from pipeline_lib.runs import RunContext

REPORT = "dq_report.json"
STAGES = ("ingest", "labels", "check_features")
"""Stages that keep verdicts."""
LAYERS = {"raw": "bronze", "customer": "silver", "transaction": "silver"}
"""First word of a suite's name -> layer; everything else is gold."""

_OUTSIDE = re.compile(
    r'<link[^>]*href="https?:[^>]*>|<script[^>]*src="https?:[^>]*>\s*</script>|<footer.*?</footer>', re.S
)
_PICTURE = re.compile(r'<img[^>]*src="https?:[^>]*>')
_BACKGROUND = re.compile(r"url\('https?:[^)]*\)")
_RANDOM = re.compile(r"-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_DECIMAL = re.compile(r"-?\d+\.\d{9}")
_STYLE = "offline.css"


def folder_of(ctx: RunContext) -> Path:
    """Where the Data Docs of a run lie."""
    return ctx.settings.place.home / "data_docs" / ctx.logical_date.isoformat()


def of_run(ctx: RunContext) -> Path | None:
    """Draw the Data Docs of the stages that have run; returns their first page, or None when none has."""
    reports: dict[str, Verdicts] = {}
    for stage in STAGES:
        try:
            found = ctx.read(stage)
        except ObjectMissing:
            continue
        if found.names(REPORT):
            reports[stage] = json.loads(found.path(REPORT).read_bytes())
    return build(reports, folder_of(ctx), ctx.dataset, ctx.logical_date) if reports else None


def build(reports: Mapping[str, Verdicts], folder: Path, dataset: str, day: date) -> Path:
    """Draw the pages of these verdicts into ``folder``, which is emptied before.

    Args:
        reports: stage -> its verdicts, as ``suites.verdicts`` gives them or as ``dq_report.json`` keeps them.
        day: logical date of the run; a page says which run it shows, not when it was drawn, so that the same verdicts
            give the same page.

    Returns:
        The first page.
    """
    shutil.rmtree(folder, ignore_errors=True)
    gx, _ = great_expectations()
    context = quiet_context(gx)
    _site(context, folder)
    for stage, suite, verdicts in _suites(reports):
        _keep(gx, context, (stage, day), suite, verdicts)
    context.build_data_docs()
    (folder / "static" / _STYLE).write_text(resources.files(__package__).joinpath(_STYLE).read_text("utf-8"), "utf-8")
    for page in sorted(folder.rglob("*.html")):
        page.write_text(_offline(page.read_text("utf-8"), "../" * (len(page.relative_to(folder).parts) - 1)), "utf-8")
    index = folder / "index.html"
    index.write_text(_index(reports, f"{dataset} {day}", folder), "utf-8")
    return index


def _suites(reports: Mapping[str, Verdicts]) -> Iterator[tuple[str, str, Verdicts]]:
    for stage, verdicts in reports.items():
        for suite in dict.fromkeys(str(v["suite"]) for v in verdicts):
            yield stage, suite, [v for v in verdicts if v["suite"] == suite]


def _site(context: Any, folder: Path) -> None:
    store = {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(folder)}
    site = {
        "class_name": "SiteBuilder",
        "show_how_to_buttons": False,
        "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
        "store_backend": store,
    }
    context.add_data_docs_site("run", site)
    context.delete_data_docs_site("local_site")


def _keep(gx: Any, context: Any, run: tuple[str, date], suite: str, verdicts: Verdicts) -> None:
    """Put a suite and its result where the site builder looks for them."""
    from great_expectations.core import ExpectationSuiteValidationResult
    from great_expectations.core.run_identifier import RunIdentifier
    from great_expectations.data_context.types.resource_identifiers import (
        ExpectationSuiteIdentifier,
        ValidationResultIdentifier,
    )

    name, passed = _page_name(suite), sum(v["success"] for v in verdicts)
    results = [_result(verdict) for verdict in verdicts]
    rules = [result.expectation_config for result in results]
    context.suites.add(gx.ExpectationSuite(name=name, expectations=rules))
    identity = RunIdentifier(run[0], datetime.combine(run[1], datetime.min.time(), UTC))
    value = ExpectationSuiteValidationResult(
        success=passed == len(verdicts),
        results=results,
        suite_name=name,
        statistics={
            "evaluated_expectations": len(verdicts),
            "successful_expectations": passed,
            "unsuccessful_expectations": len(verdicts) - passed,
            "success_percent": 100.0 * passed / len(verdicts),
        },
        meta={
            "run_id": identity.to_json_dict(),
            "great_expectations_version": gx.__version__,
            "batch_spec": {"data_asset_name": suite},
        },
    )
    key = ValidationResultIdentifier(ExpectationSuiteIdentifier(name), identity, _layer(suite))
    context.validation_results_store.set(key, value)


_FINE = {"raised_exception": False, "exception_message": None, "exception_traceback": None}


def _result(verdict: Mapping[str, Any]) -> Any:
    from great_expectations.core import ExpectationValidationResult
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

    kind, severity = _snake(verdict["expectation"]), verdict["severity"]
    rule = ExpectationConfiguration(type=kind, kwargs=_plain(verdict["args"]), severity=severity)
    said = f"{verdict['observed']} (rule {verdict['rule']}, {severity})"
    found = {**_plain(verdict["result"]), "observed_value": said}
    return ExpectationValidationResult(
        success=verdict["success"], expectation_config=rule, result=found, exception_info=_FINE
    )


def _offline(page: str, up: str) -> str:
    """The page without anything from outside, with its own style."""
    page = _RANDOM.sub("", _BACKGROUND.sub("none", page))
    plain = _PICTURE.sub(f'<img src="{up}static/images/logo-long.png" alt="Great Expectations" height="50">', page)
    plain = re.sub(r'(src|href)="\S*?static/images/', rf'\1="{up}static/images/', _OUTSIDE.sub("", plain))
    return plain.replace("</head>", f'<link rel="stylesheet" href="{up}static/{_STYLE}">\n</head>', 1)


def _index(reports: Mapping[str, Verdicts], run: str, folder: Path) -> str:
    """Our own first page: the library's is empty without scripts from four hosts."""
    pages = {page.parts[-4]: page for page in sorted(folder.glob("validations/*/*/*/*.html"))}
    lines = []
    for stage, suite, verdicts in _suites(reports):
        failed = [v for v in verdicts if not v["success"]]
        critical = sum(v["severity"] == "critical" for v in failed)
        state = "failed" if critical else "warning" if failed else "passed"
        link = html.escape(str(pages[_page_name(suite)].relative_to(folder)))
        lines.append(
            f'<tr class="{state}"><td>{state}</td><td>{_layer(suite)}</td><td>{stage}</td>'
            f'<td><a href="{link}">{html.escape(suite)}</a></td><td>{len(verdicts)}</td><td>{critical}</td>'
            f"<td>{len(failed) - critical}</td></tr>"
        )
    head = "".join(f"<th>{t}</th>" for t in ("", "layer", "stage", "suite", "rules", "critical failures", "warnings"))
    title = f"Data Docs of {html.escape(run)}"
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="UTF-8"><title>{title}</title>'
        f'<link rel="stylesheet" href="static/{_STYLE}"></head>\n<body class="index"><h1>{title}</h1>\n'
        f"<table><thead><tr>{head}</tr></thead>\n<tbody>\n" + "\n".join(lines) + "\n</tbody></table></body></html>\n"
    )


def _layer(suite: str) -> str:
    return LAYERS.get(suite.split("_", 1)[0], "gold")


def _page_name(suite: str) -> str:
    return suite.replace(".", "-")


def _snake(name: str) -> str:
    """``ColumnValuesToBeInSet`` -> ``expect_column_values_to_be_in_set``."""
    return "expect" + re.sub(r"(?<!^)(?=[A-Z])", "_", "_" + name).replace("__", "_").lower()


def _plain(value: Any) -> Any:
    """Decimal text of a kept report, as the number that it was."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return float(value) if isinstance(value, str) and _DECIMAL.fullmatch(value) else value
