"""The report of a check: what it covers, that it is the same every time, and who has seen its warnings."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from pipeline_lib import settings
from pipeline_lib.contracts.leakage import judge_frame
from pipeline_lib.errors import RequestRefused
from pipeline_lib.features import leak_acks, leak_plots, leak_report
from pipeline_lib.features.check import check_features, check_tables
from pipeline_lib.features.plants.leaky_frames import label_copy
from pipeline_lib.features.plants.run import small_settings
from pipeline_lib.runs import RunContext


@pytest.fixture(scope="module")
def page(small) -> str:
    return check_features(small).path("leakage_report.html").read_text(encoding="utf-8")


def test_the_page_needs_nothing_beside_itself(page: str):
    assert not re.findall(r"(?:src|href)=[\"'](?!#)", page)
    assert "<script" not in page
    assert not re.findall(r"url\((?!#)", page)
    assert page.count("<svg") >= 4


def test_the_page_shows_every_rule_and_label(small, page: str):
    coverage = json.loads(check_features(small).path("coverage.json").read_bytes())
    for rule, ids in coverage["rules"].items():
        assert f"<td>{', '.join(ids)}<td>{rule.replace('_', ' ')}" in page
    for label in coverage["labels"]:
        assert f'<th class="l">{label}' in page


def test_what_could_not_be_judged_is_on_the_page(small, page: str):
    coverage = json.loads(check_features(small).path("coverage.json").read_bytes())
    assert "raw_ancestors_are_known" in coverage["not_judged"]
    assert all(why in page for why in coverage["not_judged"].values())


def test_the_same_judgement_gives_the_same_page(small, frame):
    limits = small.settings.leakage
    coverage, found = judge_frame(frame, limits)
    pages = [leak_report.page(coverage, found, {}, leak_plots.of_frame(coverage.measures, limits)) for _ in range(2)]
    assert pages[0] == pages[1]


def test_findings_are_counted_where_they_were_found(small, frame):
    coverage, _ = judge_frame(label_copy(frame), small.settings.leakage)
    counts = coverage.measures["counts"]
    assert counts["same_values"] == {"will_acquire_accounts": 1}
    assert "keys_are_unique" not in counts


@pytest.fixture
def own(small, tmp_path: Path) -> RunContext:
    """A copy of the run's store, so that acknowledgements stay in this test."""
    home = tmp_path / "home"
    shutil.copytree(small.settings.place.home, home)
    return RunContext.open(small_settings(home), small.logical_date)


def test_a_warning_is_open_until_somebody_has_seen_it(own):
    before = check_features(own)
    first = next(w for w in json.loads(before.path("leakage_report.json").read_bytes()) if w["verdict"] == "WARN")
    assert not first["acknowledged"]
    leak_acks.acknowledge(own, first["check"], first["column"], first["label"], "risk", "known wave of customers")
    after = check_features(own)
    rows = json.loads(after.path("leakage_report.json").read_bytes())
    same = next(r for r in rows if all(r[k] == first[k] for k in ("check", "column", "label")))
    assert same["acknowledged"]
    assert len(after.facts["open_warnings"]) < len(before.facts["open_warnings"])
    assert "seen by risk" in after.path("leakage_report.html").read_text(encoding="utf-8")


def test_an_acknowledgement_ends_with_the_configuration(own, tmp_path):
    first = json.loads(check_features(own).path("leakage_report.json").read_bytes())[0]
    leak_acks.acknowledge(own, first["check"], first["column"], first["label"], "risk", "known wave of customers")
    other = tmp_path / "other.yaml"
    other.write_text("leakage: {sample_rows: 40000}\n")
    place = own.settings.place.model_copy(update={"overrides": other})
    changed = settings.load("synthetic", place)
    assert changed.config_hash != own.settings.config_hash
    assert leak_acks.acknowledged(own.objects, own.settings.config_hash)
    assert not leak_acks.acknowledged(own.objects, changed.config_hash)


@pytest.mark.parametrize(
    ("column", "by", "reason", "said"),
    [
        ("no_such_column", "risk", "a reason that is long", "has no warning"),
        ("months_observed", " ", "a reason that is long", "names its approver"),
        ("months_observed", "risk", "short", "names its approver"),
    ],
)
def test_an_acknowledgement_that_says_nothing_is_refused(own, column: str, by: str, reason: str, said: str):
    check_features(own)
    with pytest.raises(RequestRefused, match=said):
        leak_acks.acknowledge(own, "L28", column, "", by, reason)


def test_tables_have_a_page_too(small):
    text = check_tables(small).path("leakage_report.html").read_text(encoding="utf-8")
    assert "Customers per snapshot" in text
