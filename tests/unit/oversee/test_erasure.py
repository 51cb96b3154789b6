"""A customer is erased when two people who did not ask agree and no court holds it; the record proves itself after."""

from __future__ import annotations

import argparse
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import date
from io import BytesIO
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipeline_lib import cli_person, cli_privacy, signing
from pipeline_lib.audit import catalogue, expiry, lawful, mapping, query, record, session, verify
from pipeline_lib.audit.dispute.ask import ask as dispute
from pipeline_lib.audit.dispute.question import Question
from pipeline_lib.audit.operation import record_operation
from pipeline_lib.audit.segment import Entry
from pipeline_lib.business_time import SEOUL, utc_now
from pipeline_lib.errors import PipelineError, RequestRefused
from pipeline_lib.ingest.customer_keys import write_index
from pipeline_lib.items import place as places
from pipeline_lib.keys import KeyFolder, subject_ref
from pipeline_lib.objects import open_objects
from pipeline_lib.oversee import erasure, legal_hold
from pipeline_lib.publish.tables import FAIRNESS, FEATURE_TABLES, STATE_TABLES
from pipeline_lib.settings import Place, Settings
from tests.unit.serve.stores import make_tables

WHY = "the customer left the bank and asked for it"
LOOKED = "identity checked and no open complaint found"
OPERATOR = "o_" + "5" * 64
CUSTOMERS = ("7001", "7002", "7003")
_TABLES = {
    "log_data_access": ("data_access", {"denied": False}),
    "log_model_inference": ("prediction", {"layer": "L3_rules"}),
    "log_attribution": ("attribution", {"method": "rule"}),
    "log_guardrail": ("guardrail", {"verdict": "pass"}),
}


def settings_of(home: Path, made: Settings, tables: str | None = None) -> Settings:
    place = Place(
        root=f"file://{home}/store", audit=f"file://{home}/audit", anchors=f"file://{home}/anchors",
        query_store=f"{home}/lancedb", keys=home / "keys", tables=tables,
    )  # fmt: skip
    return made.model_copy(update={"place": place})


def subject(settings: Settings, customer: str) -> str:
    return subject_ref(KeyFolder(settings.place.keys).pepper(), customer)


def index_of(settings: Settings) -> pl.DataFrame:
    name = mapping.index_key(settings.source.name)
    return pl.read_parquet(BytesIO(open_objects(settings.place.root).get(name)))


def load_source(settings: Settings) -> None:
    keys = pl.DataFrame({"customer_id": CUSTOMERS, "customer_key": pl.Series([1, 2, 3], dtype=pl.Int32)})
    objects = open_objects(settings.place.root)
    write_index(objects, settings.source.name, keys, KeyFolder(settings.place.keys).pepper(), may_replace=False)


def serve_rows(settings: Settings) -> None:
    objects, dataset = open_objects(settings.place.root), settings.source.name
    for name, script in (("feature_rows", FEATURE_TABLES), ("state", STATE_TABLES + FAIRNESS)):
        with closing(sqlite3.connect(":memory:")) as database:
            database.executescript(script)
            for customer in CUSTOMERS:
                row = {"subject_ref": subject(settings, customer), "meta_id": "2026-11-01.0", "features": b"secret" * 9,
                       "snapshot_date": "2026-11-01", "held": "[]", "protected": "{}"}  # fmt: skip
                if name == "feature_rows":
                    names, marks = ", ".join(row), ", ".join("?" * len(row))
                    database.execute(f"INSERT INTO feature_row ({names}) VALUES ({marks})", tuple(row.values()))
                else:
                    database.execute("INSERT INTO suitability VALUES (?, 3, '2026-01-01')", (row["subject_ref"],))
            database.commit()
            objects.put(f"serving/{dataset}/{name}.sqlite", database.serialize())


def answer(settings: Settings, customer: str) -> None:
    of = f"{customer:0>32}"
    rows = [
        Entry(table, event, catalogue.complete(table, {**known, **_about(table, settings, customer)}),
              f"{event}:{of}", of, None if event == "data_access" else of)
        for table, (event, known) in _TABLES.items()
    ]  # fmt: skip
    writer = record.writer(settings, "serve")
    writer.append(rows)


def _about(table: str, settings: Settings, customer: str) -> dict[str, Any]:
    return {"subject_ref": subject(settings, customer)} if "subject_ref" in catalogue.COLUMNS[table] else {}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bank of three customers, each with one answer of today."""
    from pipeline_lib import settings as settings_module

    home = tmp_path_factory.mktemp("bank")
    made = settings_of(home, settings_module.load("synthetic", Place()))
    keys = KeyFolder(made.place.keys)
    keys.create_secrets(made.audit.key_id)
    signing.create_keys(keys)
    load_source(made)
    serve_rows(made)
    for customer in CUSTOMERS:
        answer(made, customer)
    session.commit(made)
    return home


@pytest.fixture
def settings(tmp_path: Path, built: Path, make_settings: Callable[..., Settings]) -> Settings:
    shutil.copytree(built, tmp_path / "own")
    return settings_of(tmp_path / "own", make_settings())


def letting_go(settings: Settings, *tables: str) -> Settings:
    """Policy by which an erasure takes these payloads too."""
    kept = settings.audit.retention
    retention = kept.model_copy(update={"on_erasure": {**kept.on_erasure, **dict.fromkeys(tables, "drop")}})
    return settings.model_copy(update={"audit": settings.audit.model_copy(update={"retention": retention})})


def approved(settings: Settings, customer: str = "7001") -> str:
    request = str(erasure.ask(settings, customer, "ann", WHY, "DSR-1")["request"])
    erasure.approve(settings, request, "ben", LOOKED)
    erasure.approve(settings, request, "cho", LOOKED)
    return request


def in_file(settings: Settings, name: str, what: str) -> bool:
    data = open_objects(settings.place.root).get(f"serving/{settings.source.name}/{name}.sqlite")
    return what.encode() in data


def judged(settings: Settings, check: str) -> Any:
    return next(one for one in verify.examine(settings).checks if one.id == check)


def test_an_erased_customer_is_in_no_table_and_the_record_is_intact(settings: Settings) -> None:
    gone, stays = subject(settings, "7001"), subject(settings, "7002")
    done = erasure.execute(settings, approved(settings), "ann")
    assert done["state"] == "done"
    assert set(index_of(settings)["customer_digest"]) == {subject(settings, one) for one in ("7002", "7003")}
    for name in ("feature_rows", "state"):
        assert not in_file(settings, name, gone)
        assert in_file(settings, name, stays)
    assert verify.examine(settings).verdict == "INTACT"
    assert (judged(settings, "V19").n, judged(settings, "V19").status) == (2, "pass")


def test_the_next_load_does_not_bring_the_customer_back(settings: Settings) -> None:
    erasure.execute(settings, approved(settings), "ann")
    load_source(settings)
    assert index_of(settings).sort("customer_key")["customer_key"].to_list() == [2, 3]


def test_the_customers_number_is_written_nowhere(settings: Settings) -> None:
    erasure.execute(settings, approved(settings), "ann")
    said = [str(row.payload) for row in session.rows(settings) if row.header["writer_id"].startswith("once:privacy")]
    assert said
    assert not any("7001" in one.replace(subject(settings, "7001"), "") for one in said)


def test_access_to_the_mapping_is_in_the_record_before_it_is_answered(settings: Settings) -> None:
    erasure.ask(settings, "7001", "ann", WHY, "DSR-1")
    rows = [row.payload for row in session.rows(settings, ["log_data_access"]) if row.header["event"] == "log_query"]
    assert [(row["operator_ref"], row["fields_read"]) for row in rows] == [("ann", ["customer_id", "subject_ref"])]


def test_it_takes_two_people_neither_of_whom_asked(settings: Settings) -> None:
    request = str(erasure.ask(settings, "7001", "ann", WHY, "DSR-1")["request"])
    with pytest.raises(RequestRefused, match="0 of 2 approvals"):
        erasure.execute(settings, request, "ann")
    with pytest.raises(RequestRefused, match="asked or approved already"):
        erasure.approve(settings, request, "Ann ", LOOKED)
    erasure.approve(settings, request, "ben", LOOKED)
    with pytest.raises(RequestRefused, match="asked or approved already"):
        erasure.approve(settings, request, "BEN", LOOKED)
    with pytest.raises(RequestRefused, match="1 of 2 approvals"):
        erasure.execute(settings, request, "ann")
    assert index_of(settings).height == 3


def test_asking_again_is_the_same_request(settings: Settings) -> None:
    first = erasure.ask(settings, "7001", "ann", WHY, "DSR-1")["request"]
    assert erasure.ask(settings, "7001", "dan", WHY, "DSR-2")["request"] == first


@pytest.mark.parametrize("of", ["7001", None])
def test_a_legal_hold_blocks_until_it_is_released(settings: Settings, of: str | None) -> None:
    request = approved(settings)
    legal_hold.hold(settings, of, "lee", "a court asked us to keep everything", "CASE-9")
    with pytest.raises(RequestRefused, match="a legal hold is on"):
        erasure.execute(settings, request, "ann")
    assert index_of(settings).height == 3
    legal_hold.release(settings, of, "lee", "the court closed the case", "CASE-9")
    assert erasure.execute(settings, request, "ann")["state"] == "done"
    assert verify.examine(settings).verdict == "INTACT"


def test_a_hold_on_somebody_else_blocks_nothing(settings: Settings) -> None:
    legal_hold.hold(settings, "7002", "lee", "a court asked us to keep everything", "CASE-9")
    assert erasure.execute(settings, approved(settings), "ann")["state"] == "done"


def test_a_request_lapses(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    from datetime import timedelta

    request = approved(settings)
    later = utc_now() + timedelta(days=settings.audit.retention.erasure_valid_days + 1)
    monkeypatch.setattr(erasure, "utc_now", lambda: later)
    with pytest.raises(RequestRefused, match="lapsed"):
        erasure.execute(settings, request, "ann")


class Killed(Exception):
    """The process ends here."""


@pytest.mark.parametrize(("owner", "name"), [
    (mapping, "erase"), (erasure, "_from_file"), (erasure, "_kept"), (expiry, "remove"),
], ids=["index", "file", "kept", "payloads"])  # fmt: skip
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_an_erasure_that_was_killed_is_finished_by_the_same_command(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, after: bool
) -> None:
    settings = letting_go(settings, "log_attribution")
    request, real = approved(settings), getattr(owner, name)

    def dies(*given: Any) -> Any:
        if after:
            real(*given)
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(owner, name, dies)
        with pytest.raises(Killed):
            erasure.execute(settings, request, "ann")
    assert erasure.status(settings)["requests"][0]["state"] == "begun"
    assert verify.examine(settings).codes() == set()
    assert erasure.execute(settings, request, "ben")["state"] == "done"
    assert erasure.execute(settings, request, "ben") == {"request": request, "state": "done"}
    assert not in_file(settings, "feature_rows", subject(settings, "7001"))
    assert verify.examine(settings).verdict == "INTACT"


def test_payloads_that_policy_lets_go_leave_the_record(settings: Settings) -> None:
    settings = letting_go(settings, "log_model_inference", "log_attribution", "log_guardrail", "log_data_access")
    assert erasure.execute(settings, approved(settings), "ann")["payloads"] == 4
    objects, of = open_objects(settings.place.audit), f"{'7001':0>32}"
    kept = [raw for key in objects.list("") for raw in objects.get(key).splitlines() if of.encode() in raw]
    assert len(kept) == 4
    assert all(raw.endswith(b'"payload":null}') for raw in kept)
    report = verify.examine(settings)
    assert report.verdict == "INTACT", report.findings
    assert next(check.n for check in report.checks if check.id == "V18") == 4


def test_what_reports_are_made_of_is_the_same_before_and_after_an_erasure(settings: Settings) -> None:
    asked = [(table, tuple(sorted(catalogue.COLUMNS[table]))) for table in _TABLES]
    before = [query.frame(settings, table, 1, columns) for table, columns in asked]
    erasure.execute(settings, approved(settings), "ann")
    assert all(frame.equals(query.frame(settings, table, 1, columns))
               for (table, columns), frame in zip(asked, before, strict=True))  # fmt: skip
    assert sum(frame.height for frame in before) == 12


def test_more_payloads_than_one_row_can_name_go_in_several(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expiry, "BATCH", 1)
    settings = letting_go(settings, "log_attribution", "log_guardrail")
    assert erasure.execute(settings, approved(settings), "ann")["payloads"] == 2
    assert verify.examine(settings).verdict == "INTACT"
    assert judged(settings, "V19").n == 4


def test_payloads_taken_in_the_name_of_an_erasure_that_nobody_approved_are_found(settings: Settings) -> None:
    drops = [one.item(None) for one in expiry.of_subject(settings, subject(settings, "7001"), {"log_guardrail"})]
    record_operation(
        settings, "erasure", "erasure:forged", service="privacy", object_type="subject", object_id="e-forged",
        reason=WHY, actor=("human", "eve"), phase="intent",
        details={"step": "execute", "subject_ref": subject(settings, "7001"), "drops": drops},
    )  # fmt: skip
    expiry.remove(settings, drops)
    assert {"EARLY_DELETE", "ERASURE_UNAUTHORISED"} <= verify.examine(settings).codes()


@pytest.mark.parametrize("who", [("ben",), ("ben", "ben "), ("ann", "ben")])
def test_an_erasure_row_with_one_approval_is_found(settings: Settings, who: tuple[str, ...]) -> None:
    ref = subject(settings, "7001")
    steps = [("request", "ann"), *(("approve", one) for one in who), ("execute", "ann")]
    for at, (step, actor) in enumerate(steps):
        record_operation(
            settings, "erasure", f"erasure:e-1:{at}", service="privacy", object_type="subject", object_id="e-1",
            reason=WHY, actor=("human", actor), details={"step": step, "subject_ref": ref, "at": at},
            approvals=[{"actor_ref": "ben", "method": "login", "at": ""}, {"actor_ref": "cho", "method": "login"}],
        )  # fmt: skip
    report = verify.examine(settings)
    found = [one for one in report.findings if one.code == "ERASURE_UNAUTHORISED"]
    assert [one.detail for one in found] == ["e-1: approved by 1 who did not ask, two are needed"]
    assert report.verdict == "TAMPERED"


def test_an_erasure_under_a_hold_is_found(settings: Settings) -> None:
    request = approved(settings)
    legal_hold.hold(settings, "7001", "lee", "a court asked us to keep everything", "CASE-9")
    erasure._begin(settings, expiry.acts(settings), erasure._find(settings, expiry.acts(settings), request), "ann")
    assert verify.examine(settings).codes() == {"ERASURE_UNAUTHORISED"}


def test_a_dispute_about_an_erased_customer_says_erased_and_proves_the_structure(settings: Settings) -> None:
    today = utc_now().astimezone(SEOUL).date()
    asked = Question("7001", date(today.year, today.month, today.day), "CASE-7", "the heirs dispute the advice")
    before = dispute(settings, asked, OPERATOR)
    assert len(before.body["answers"]) == 1
    erasure.execute(settings, approved(settings), "ann")
    after = dispute(settings, asked, OPERATOR)
    assert (after.body["answers"], after.body["erased"], after.verified) == ([], True, True)
    assert "erased on request" in after.body["holes"][0]
    assert [one["event"] for one in after.body["entries"]][:2] == ["data_access", "prediction"]
    assert subject(settings, "7001") not in after.json.decode()
    assert {row.event for row in after.rows} == {"erasure"}
    assert "erased" not in dispute(settings, Question("7002", asked.on, "C", "another customer asks"), OPERATOR).body


def test_rows_in_dynamodb_and_in_the_file_both_go(settings: Settings, aws: Any) -> None:
    make_tables()
    settings = settings_of(Path(settings.place.keys).parent, settings, tables="dynamodb:bank-")
    items, gone = places.writable(settings), subject(settings, "7001")
    items.put("feature_row", {"subject_ref": gone, "meta_id": "2026-11-01.0", "features": b"x"})
    items.put("suitability", {"subject_ref": gone, "tolerance": 1})
    erasure.execute(settings, approved(settings), "ann")
    assert (items.get("feature_row", gone), items.get("suitability", gone)) == (None, None)
    assert not in_file(settings, "feature_rows", gone)


def test_the_commands_take_the_person_from_the_login(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    parser = argparse.ArgumentParser()
    cli_privacy.add(parser.add_subparsers())

    def typed(who: str, *words: str) -> dict[str, Any]:
        monkeypatch.setattr(cli_person, "person", lambda: who)
        asked = parser.parse_args(words)
        return dict(asked.act(settings, asked))

    request = typed("ann", "privacy", "request", "--customer", "7001", "--ticket", "DSR-1", "--operator", "ann",
                    "--reason", WHY)["request"]  # fmt: skip
    with pytest.raises(PipelineError, match="is not who is typing"):
        typed("eve", "privacy", "hold", "--everybody", "--ticket", "C", "--operator", "ann", "--reason", WHY)
    typed("ben", "privacy", "approve", request, "--statement", LOOKED)
    typed("cho", "privacy", "approve", request, "--statement", LOOKED)
    assert typed("ann", "privacy", "status")[request].startswith("open, DSR-1, asked by ann, approved by ben, cho")
    assert typed("ann", "privacy", "execute", request)["state"] == "done"
    assert typed("ann", "retention")["would drop"] == "nothing"
    assert lawful.holds(expiry.acts(settings)) == []
