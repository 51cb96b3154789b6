"""Data Docs: drawn from what the stages keep, without a network, the same pages for the same verdicts."""

from __future__ import annotations

import json
import re
from datetime import date
from html.parser import HTMLParser
from pathlib import Path

import polars as pl
import pytest

from pipeline_lib.errors import SchemaError
from pipeline_lib.expectations import data_docs, stage, suites
from pipeline_lib.runs import Out, RunContext
from pipeline_lib.settings import Place, Settings, load
from pipeline_lib.settings.data import Expectation

DAY = date(2026, 11, 16)
ROWS = pl.DataFrame({"amount": [1.0, 2.0, -3.0], "customer_key": [11, 11, 12]})
OUTSIDE = re.compile(r"""(?:src|href)=["']https?:[^"']*|url\(["']?https?:[^)]*""")


def rule(expect: str, severity: str, **args: object) -> Expectation:
    return Expectation.model_validate({"expect": expect, "args": args, "severity": severity})


POLICY = {
    "raw_snapshot": {"amount": rule("ColumnValuesToBeBetween", "warning", column="amount", min_value=0)},
    "customer_snapshot.profile": {"rows": rule("TableRowCountToBeBetween", "critical", min_value=0.5)},
    "label_table": {"keys": rule("ColumnValuesToBeUnique", "critical", column="customer_key")},
}


@pytest.fixture(scope="module")
def verdicts() -> suites.Verdicts:
    return suites.verdicts(dict.fromkeys(POLICY, ROWS), POLICY)


@pytest.fixture(scope="module")
def page(verdicts: suites.Verdicts, tmp_path_factory: pytest.TempPathFactory) -> Path:
    kept = json.loads(suites.report_bytes(verdicts))
    return data_docs.build({"ingest": kept}, tmp_path_factory.mktemp("docs") / "site", "toy", DAY)


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.targets: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.targets += [value for name, value in attrs if name in ("href", "src") and value]


def test_first_page_names_layer_state_and_counts_of_every_suite(page: Path) -> None:
    cells = re.findall(r"<tr class=\"(\w+)\">(.*?)</tr>", page.read_text("utf-8"))
    shown = [[re.sub("<[^>]*>", "", cell) for cell in re.findall("<td>(.*?)</td>", row)] for _, row in cells]
    assert shown == [
        ["warning", "bronze", "ingest", "raw_snapshot", "1", "0", "1"],
        ["passed", "silver", "ingest", "customer_snapshot.profile", "1", "0", "0"],
        ["failed", "gold", "ingest", "label_table", "1", "1", "0"],
    ]


def test_no_page_asks_anything_of_a_network_and_every_link_leads_somewhere(page: Path) -> None:
    pages = sorted(page.parent.rglob("*.html"))
    assert len(pages) == 1 + 2 * len(POLICY)
    for file in pages:
        text = file.read_text("utf-8")
        assert not [found for found in OUTSIDE.findall(text) if "greatexpectations.io" not in found], file
        links = _Links()
        links.feed(text)
        local = [t for t in links.targets if not t.startswith(("#", "http"))]
        assert [t for t in local if not (file.parent / t.split("#")[0]).exists()] == []
        assert not [t for t in links.targets if t.startswith("http") and "greatexpectations.io" not in t]


def test_a_result_shows_what_was_found_and_no_identifier(page: Path) -> None:
    failed = next((page.parent / "validations/label_table").rglob("*.html")).read_text("utf-8")
    assert "2 of 3 rows, first in row 0 (rule keys, critical)" in failed
    assert not re.search(r">\s*11\s*<", failed), "the customer's key"
    warned = next((page.parent / "validations/raw_snapshot").rglob("*.html")).read_text("utf-8")
    assert "-3.0" in warned


def test_the_same_verdicts_give_the_same_bytes(verdicts: suites.Verdicts, tmp_path: Path) -> None:
    one, two = (data_docs.build({"ingest": verdicts}, tmp_path / name, "toy", DAY).parent for name in "ab")
    pages = [file.relative_to(one) for file in sorted(one.rglob("*.html"))]
    assert [p for p in pages if (one / p).read_bytes() != (two / p).read_bytes()] == []


def context(tmp_path: Path) -> RunContext:
    shipped = load("synthetic", Place(dataset="synthetic", home=tmp_path / "home"))
    data = shipped.data.model_copy(update={"suites": POLICY})
    return RunContext.open(Settings(**{**dict(shipped), "data": data}), DAY)


def test_a_failed_stage_leaves_pages_and_says_where(tmp_path: Path) -> None:
    ctx, out = context(tmp_path), Out(tmp_path / "out")
    failed = tmp_path / "home/data_docs/2026-11-16-failed-labels"
    with pytest.raises(SchemaError, match=f"1 critical expectations failed, see {failed}/index.html"):
        stage.judge(ctx, "labels", {"label_table": ROWS}, out)
    assert (failed / "index.html").is_file()
    stage.judge(ctx, "labels", {"label_table": ROWS.unique("customer_key")}, out)
    assert not failed.exists(), "what has been mended is not shown as failed"


def test_docs_of_a_run_show_all_stages_that_have_run(tmp_path: Path) -> None:
    ctx = context(tmp_path)
    assert data_docs.of_run(ctx) is None
    for name, frame in (("ingest", "raw_snapshot"), ("labels", "customer_snapshot.profile")):
        ctx.produce(name, lambda out, name=name, frame=frame: stage.judge(ctx, name, {frame: ROWS}, out))  # type: ignore[misc]
    index = data_docs.of_run(ctx)
    assert index == tmp_path / "home/data_docs/2026-11-16/index.html"
    assert {"raw_snapshot", "customer_snapshot.profile"} <= set(re.findall(">([a-z_.]+)</a>", index.read_text("utf-8")))
