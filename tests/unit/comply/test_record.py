"""A report depends on record, checkpoint and policy alone, and leads back to what was recorded."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from pipeline_lib.audit import session
from pipeline_lib.audit.operation import record_operation
from pipeline_lib.comply import quarterly, report
from pipeline_lib.comply.evidence import AsOf
from pipeline_lib.comply.trace import trace
from pipeline_lib.errors import NotReproducible, NotVerified, ObjectExists, ReportIncomplete, Tampered
from pipeline_lib.settings import Settings
from tests.unit.comply.bank import KINDS, Bank, number
from tests.unit.monitor.answers import Answer, serve

REPO = Path(__file__).resolve().parents[3]
AGAIN = """
import json, sys
from pathlib import Path
from pipeline_lib import settings
from pipeline_lib.comply import quarterly, report
from pipeline_lib.comply.evidence import AsOf
place = settings.Place(dataset="synthetic", home=Path(sys.argv[1]), overrides=Path(sys.argv[2]))
policy = settings.load("synthetic", place)
for kind in sys.argv[4:]:
    made = quarterly.body(policy, kind, AsOf(**json.loads(sys.argv[3])))
    print(__import__("hashlib").sha256(report.to_bytes(made)).hexdigest())
"""


Results = dict[str, dict[str, Any]]


def happen(bank: Bank) -> None:
    """More of everything that reports count."""
    serve(bank.settings, [Answer(f"late {n}", bank.world.seen.version or "") for n in range(5)])
    record_operation(
        bank.settings, "complaint", "c-1", service="branch", object_type="person", object_id="p", reason="rude"
    )
    session.commit(bank.settings)


def test_a_longer_record_does_not_change_what_was_frozen(own_bank: Bank) -> None:
    frozen = own_bank.freeze()
    before = {kind: quarterly.generate(own_bank.ctx, kind, frozen) for kind in KINDS}
    bodies = {kind: own_bank.bytes_of(before[kind]) for kind in KINDS}
    happen(own_bank)
    assert {kind: quarterly.generate(own_bank.ctx, kind, frozen) for kind in KINDS} == before
    assert {kind: own_bank.bytes_of(before[kind]) for kind in KINDS} == bodies
    later = own_bank.report("public_disclosure", own_bank.freeze())
    assert number(later, "S5", "complaints")["value"] == 1
    assert number(json.loads(bodies["public_disclosure"]), "S5", "complaints")["value"] == 0


def test_another_process_with_other_hash_seeds_gives_the_same_bytes(
    bank: Bank, frozen: dict[str, Any], results: Results
) -> None:
    expected = [hashlib.sha256(bank.bytes_of(results[kind])).hexdigest() for kind in KINDS]
    layer = bank.settings.place.home / "none.yaml"
    layer.write_text("{}")
    done = subprocess.run(
        [sys.executable, "-c", AGAIN, str(bank.settings.place.home), str(layer), json.dumps(frozen), *KINDS],
        cwd=REPO,
        env={**os.environ, "PYTHONHASHSEED": "4711", "TZ": "America/Lima"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == expected


def test_a_tampered_record_gives_no_report(own_bank: Bank) -> None:
    folder = Path(own_bank.settings.place.audit.removeprefix("file://"))
    segment = max(folder.rglob("*.jsonl"), key=lambda path: path.stat().st_size)
    segment.chmod(0o644)
    segment.write_bytes(segment.read_bytes().replace(b'"optout_state":"in"', b'"optout_state":"??"', 1))
    with pytest.raises(Tampered):
        own_bank.freeze()


def test_a_record_that_was_not_verified_intact_is_not_filed(bank: Bank, frozen: dict[str, Any]) -> None:
    made = bank.report("annex_iv", {**frozen, "verification": "NOT_VERIFIED"})
    with pytest.raises(ReportIncomplete, match="NOT_VERIFIED"):
        report.require_fileable(made)


def test_an_unknown_mandatory_section_is_drawn_and_keeps_the_report_from_being_filed(
    bank: Bank, results: Results, made: Results
) -> None:
    result = results["korean_fria"]
    with pytest.raises(ReportIncomplete) as refused:
        report.require_fileable(made["korean_fria"])
    assert refused.value.unknown_clauses == ("K5",)
    assert result["not_fileable_because"] == "K5 must be known first"
    page = bank.ctx.objects.get(f"{result['folder']}/page.md").decode()
    assert "## K5 Human oversight\n\n**Unknown.**" in page
    assert "**May not be filed**: K5" in page


def test_a_report_with_its_mandatory_sections_known_may_be_filed(results: Results, made: Results) -> None:
    for kind in ("annex_iv", "public_disclosure"):
        assert results[kind]["not_fileable_because"] == ""
        report.require_fileable(made[kind])


def amended(settings: Settings, kind: str) -> Settings:
    """One law changes: its report gets a new version and other titles; nothing else moves."""
    reports: dict[Any, Any] = dict(settings.compliance.reports)
    old = reports[kind]
    sections = {name: f"{title} (amended)" for name, title in old.sections.items()}
    reports[kind] = old.model_copy(update={"spec_version": "2.0.0", "sections": sections})
    compliance = settings.compliance.model_copy(update={"reports": reports})
    return settings.model_copy(update={"compliance": compliance})


@pytest.mark.parametrize("changed", KINDS)
def test_an_amendment_of_one_law_leaves_the_other_reports_bytes(
    bank: Bank, frozen: dict[str, Any], results: Results, changed: str
) -> None:
    before = {kind: bank.bytes_of(results[kind]) for kind in KINDS}
    other = amended(bank.settings, changed)
    after = {kind: report.to_bytes(quarterly.body(other, kind, AsOf(**frozen))) for kind in KINDS}
    assert [kind for kind in KINDS if before[kind] != after[kind]] == [changed]
    assert json.loads(before[changed])["spec_hash"] != json.loads(after[changed])["spec_hash"]


TRACED = [
    ("korean_fria", "K7", "share of model answers not traced to verdict, data and settings", "prediction"),
    ("korean_fria", "K5", "share of promotions without a human", "promotion_decision"),
    ("pia", "D1", "share of accesses without a purpose", "data_access"),
    ("public_disclosure", "S2", "avg_auc", "promotion_decision"),
    ("annex_iv", "A8", "drift windows", "drift_window"),
]


@pytest.mark.parametrize(("kind", "item_id", "name", "event"), TRACED)
def test_a_number_leads_back_to_its_entries(
    bank: Bank, made: Results, kind: str, item_id: str, name: str, event: str
) -> None:
    found = trace(bank.settings, made[kind], item_id, name)
    pointer = next(one for one in made[kind]["evidence"] if one["query_id"] == found.number["query_id"])
    hashes = sorted(header["entry_hash"] for header in found.headers)
    assert found.number == number(made[kind], item_id, name)
    assert len(hashes) == pointer["rows"] > 0
    assert hashlib.sha256("\n".join(hashes).encode()).hexdigest() == pointer["rows_sha256"]
    assert event in {header["event"] for header in found.headers}


@pytest.mark.parametrize(
    ("field", "value"), [("sql_sha256", "0" * 64), ("rows_sha256", "0" * 64), ("rows", 1)], ids=str
)
def test_a_pointer_that_does_not_resolve_is_refused(bank: Bank, made: Results, field: str, value: object) -> None:
    edited = {**made["pia"], "evidence": [{**one, field: value} for one in made["pia"]["evidence"]]}
    with pytest.raises(NotReproducible, match=field):
        trace(bank.settings, edited, "D1", "share of accesses without a purpose")


def test_a_number_that_is_not_printed_cannot_be_traced(bank: Bank, made: Results) -> None:
    with pytest.raises(KeyError, match="no number 'happiness' in D1"):
        trace(bank.settings, made["pia"], "D1", "happiness")


def test_each_report_and_each_review_is_a_row_of_the_record(own_bank: Bank) -> None:
    frozen = own_bank.freeze()
    made: list[Mapping[str, Any]] = [quarterly.generate(own_bank.ctx, kind, frozen) for kind in KINDS[:2]]
    quarterly.record_review(own_bank.ctx, made, "Reviewed", "compliance.officer", "read, asked 010-1234-5678")
    runs = [row.payload for row in own_bank.rows("compliance_run")]
    digests = {hashlib.sha256(own_bank.bytes_of(one)).hexdigest() for one in made}
    assert {row["after_hash"] for row in runs if row["details"]["state"] == "generated"} == digests
    reviews = [row for row in runs if row["details"]["state"] == "reviewed"]
    assert {row["object_id"] for row in reviews} == {one["report_id"] for one in made}
    assert {(row["actor_kind"], row["actor_ref"]) for row in reviews} == {("human", "compliance.officer")}
    assert {row["reason"] for row in reviews} == {"Reviewed by compliance.officer: read, asked [removed]"}


def test_a_review_that_nobody_gave_is_recorded_as_such(own_bank: Bank) -> None:
    made = [quarterly.generate(own_bank.ctx, "annex_iv", own_bank.freeze())]
    assert quarterly.record_review(own_bank.ctx, made, "Returned", None, "")["answer"] == "expired"
    (row,) = [row for row in own_bank.rows("compliance_run") if row.payload["details"]["state"] == "returned"]
    assert (row.payload["actor_kind"], row.payload["reason"]) == ("service", "nobody reviewed in time")


def test_the_reviewer_sees_what_is_unknown(results: Results) -> None:
    page = quarterly.summary(list(results.values()))
    assert (
        "| Privacy impact assessment, six domains | D1, D2, D3, D4, D5, D6 | no: D1, D2 must be known first |" in page
    )
    assert page.count("/page.md") == len(KINDS)


def test_a_record_without_a_checkpoint_cannot_be_vouched_for(make_settings: Callable[[], Settings]) -> None:
    with pytest.raises(NotVerified, match="no checkpoint"):
        Bank(make_settings()).freeze()


def test_a_report_that_was_stored_with_other_bytes_is_not_replaced(own_bank: Bank) -> None:
    frozen = own_bank.freeze()
    first = quarterly.generate(own_bank.ctx, "pia", frozen)
    key = f"{first['folder']}/body.json"
    own_bank.ctx.objects.put(key, b"{}")
    with pytest.raises(ObjectExists):
        quarterly.generate(own_bank.ctx, "pia", frozen)
    assert own_bank.ctx.objects.get(key) == b"{}"
