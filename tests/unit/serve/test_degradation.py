"""What is not there, not allowed or not readable, and what is answered then; ``faults/`` has the whole table."""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from datetime import timedelta
from typing import Any

import pytest

from pipeline_lib.errors import ManifestMismatch, SettingsError
from pipeline_lib.serve.handler import open_service

from .asking import SQL_OPT_OUT, SQL_SWITCH, ask, assessed, change

Body = Callable[..., dict[str, Any]]


def test_the_opt_out_is_the_first_read(release: Any, request_body: Body) -> None:
    service, reads = release.service(), []
    inner = service.tables.items

    class Watched:
        def get(self, table: str, key: str) -> Any:
            reads.append(table)
            return inner.get(table, key)

        def all(self, table: str) -> Any:
            reads.append(table)
            return inner.all(table)

        def put(self, table: str, item: Mapping[str, Any], expires_at: float | None = None) -> None:
            inner.put(table, item, expires_at)

    service.tables.items = Watched()
    ask(service, request_body(idempotency_key="k1"))
    assert reads[0] == "optout"
    assert len(reads) > 4
    assert reads.count("optout") == 1


@pytest.mark.parametrize("unreadable", [False, True], ids=["opted_out", "opt_out_unreadable"])
def test_an_opted_out_customer_is_answered_by_rules_with_all_four_rows(
    release: Any, request_body: Body, unreadable: bool
) -> None:
    service = release.service()
    assessed(release, service)
    change(release, "DROP TABLE optout") if unreadable else change(release, SQL_OPT_OUT, release.subject("c5"), None)
    http, body = ask(service, request_body())
    reason = "OPTOUT_UNREADABLE" if unreadable else "OPTED_OUT"
    assert (http, body["status"]) == (200, "opted_out_rules")
    assert {(one["layer"], one["layer_reason"]) for one in body["tasks"].values()} == {(3, reason)}
    rows = [row["header"]["event"] for row in release.lines()[-1]]
    assert rows == ["data_access", "prediction", "attribution", "guardrail"]
    payloads = {row["header"]["event"]: row["payload"] for row in release.lines()[-1]}
    assert payloads["attribution"]["method"] == "rule"
    assert payloads["attribution"]["gates"] is None
    assert payloads["prediction"]["optout_state"] == ("unreadable" if unreadable else "out")


@pytest.mark.parametrize(("choice", "status"), [("human_review", "human_fallback"), ("disable", "static_content")])
def test_an_opted_out_customer_may_choose_a_person_or_nothing(
    release: Any, request_body: Body, choice: str, status: str
) -> None:
    service = release.service()
    assessed(release, service)
    change(release, SQL_OPT_OUT, release.subject("c5"), choice)
    body = ask(service, request_body())[1]
    assert body["status"] == status
    assert all(one["score"] is None and one["reason"] is None for one in body["items"])


def test_a_fired_switch_counts_at_the_next_request_after_the_cache(release: Any, request_body: Body) -> None:
    service, clock = release.service(), [0.0]
    service.tables.clock = lambda: clock[0]
    assert ask(service, request_body())[1]["flags"]["switch"] == []
    change(release, SQL_SWITCH, "sw1", "global", "*", "rule_based")
    clock[0] = 1.0
    body = ask(service, request_body())[1]
    assert body["flags"]["switch"] == ["sw1"]
    assert {one["layer_reason"] for one in body["tasks"].values()} == {"SWITCH:sw1"}


def test_a_task_switch_stops_that_task_alone(release: Any, request_body: Body) -> None:
    change(release, SQL_SWITCH, "sw2", "task", "churn_signal", "rule_based")
    tasks = ask(release.service(), request_body())[1]["tasks"]
    assert (tasks["churn_signal"]["layer"], tasks["churn_signal"]["layer_reason"]) == (3, "SWITCH:sw2")
    assert tasks["nba_primary"]["layer"] == 1


def test_unreadable_switches_count_as_fired(release: Any, request_body: Body) -> None:
    change(release, "DROP TABLE kill_switch")
    body = ask(release.service(), request_body())[1]
    assert {one["layer"] for one in body["tasks"].values()} == {3}
    assert body["flags"]["degraded"]


def test_a_disabling_switch_leaves_non_personal_content(release: Any, request_body: Body) -> None:
    service = release.service()
    assessed(release, service)
    change(release, SQL_SWITCH, "sw3", "global", "*", "disable")
    assert ask(service, request_body())[1]["status"] == "static_content"


def test_an_unknown_customer_is_a_cold_start_and_never_a_row_of_zeros(release: Any, request_body: Body) -> None:
    http, body = ask(release.service(), request_body(customer_id="nobody"))
    assert http == 200
    assert body["flags"]["cold_start"]
    assert {(one["layer"], one["layer_reason"]) for one in body["tasks"].values()} == {(3, "COLD_START")}


def test_rows_that_are_too_old_are_not_used(release: Any, request_body: Body) -> None:
    release.now += timedelta(days=7)
    assert ask(release.service(), request_body())[1]["tasks"]["churn_signal"]["layer"] == 1
    release.now += timedelta(days=1)
    tasks = ask(release.service(), request_body())[1]["tasks"]
    assert tasks["churn_signal"]["layer_reason"] == "FEATURES_TOO_OLD"


def test_a_row_of_another_schema_is_not_used(release: Any, request_body: Body) -> None:
    with closing(sqlite3.connect(release.tables / "feature_rows.sqlite")) as database, database:
        database.execute("UPDATE meta SET body = json_set(body, '$.schema_hash', 'other')")
    tasks = ask(release.service(), request_body())[1]["tasks"]
    assert {one["layer_reason"] for one in tasks.values()} == {"SCHEMA_MISMATCH"}


def test_one_corrupt_model_refuses_all_models_and_rules_answer(release: Any, request_body: Body) -> None:
    model = release.folder / "students" / "nba_primary" / "model.forest"
    model.write_bytes(model.read_bytes()[:-1] + b"x")
    service = release.service()
    http, body = ask(service, request_body())
    assert http == 200
    assert body["flags"]["degraded"]
    assert {one["layer"] for one in body["tasks"].values()} == {3}
    assert body["tasks"]["churn_signal"]["layer_reason"] == "MODELS_REFUSED"
    assert body["receipt"]
    assert service.health()["status"] == "degraded"


def test_a_model_that_fails_leaves_its_task_to_the_twin_and_then_to_rules(release: Any, request_body: Body) -> None:
    service = release.service()
    service.policy.models.predictor.student("churn_signal", 1).base = (math.inf,)
    found = ask(service, request_body())[1]["tasks"]["churn_signal"]
    assert (found["layer"], found["layer_reason"]) == (2, "NON_FINITE")
    service = release.service()
    service.policy.models.predictor.student("churn_signal", 1).base = (math.inf,)
    (release.folder / "students" / "churn_signal" / "direct.forest").unlink()
    found = ask(service, request_body())[1]["tasks"]["churn_signal"]
    assert (found["layer"], found["layer_reason"]) == (3, "MODEL_MISSING")


def test_a_changed_policy_or_manifest_does_not_start(release: Any) -> None:
    with pytest.raises(ManifestMismatch):
        release.service(SERVE_MANIFEST_SHA256="0" * 64)
    (release.folder / "policy" / "serving.json").write_text("{}")
    with pytest.raises(ManifestMismatch, match=r"serving\.json"):
        release.service()


def test_a_missing_variable_stops_the_start_naming_it(release: Any) -> None:
    environment = release.environment()
    del environment["SERVE_AUDIT"]
    with pytest.raises(SettingsError, match="SERVE_AUDIT"):
        open_service(environment)


def test_without_a_receipt_nothing_personal_is_answered(release: Any, request_body: Body) -> None:
    service = release.service()
    assessed(release, service)
    release.audit.mkdir()
    (release.audit / ".tmp").write_text("a file where the store wants a folder")
    http, body = ask(service, request_body())
    assert (http, body["status"], body["receipt"]) == (200, "static_content", None)
    assert body["tasks"] == {}
    assert body["items"]
    assert all(one["score"] is None for one in body["items"])


def test_without_static_content_a_missing_receipt_is_an_error(release: Any, request_body: Body) -> None:
    service = release.service()
    service.policy.serving["static_content"] = False
    release.audit.mkdir()
    (release.audit / ".tmp").write_text("")
    http, body = ask(service, request_body())
    assert (http, body["error"]["code"], body["error"]["retryable"]) == (503, "AUDIT_UNAVAILABLE", True)


def test_after_a_taken_place_in_the_chain_another_chain_is_opened(release: Any, request_body: Body) -> None:
    service = release.service()
    first = ask(service, request_body())[1]["receipt"]
    folder = release.audit / "seg" / first["writer_id"] / f"{first['epoch']:010}"
    place = folder / f"{first['last_seq'] + 1:012}.jsonl"
    assert folder.is_dir()
    place.write_bytes(b"somebody else was here")
    second = ask(service, request_body())[1]["receipt"]
    assert second["writer_id"] != first["writer_id"]
    assert (second["first_seq"], second["last_seq"]) == (2, 5)


def test_what_no_step_named_is_503_and_the_log_says_where_and_not_about_whom(
    release: Any, request_body: Body, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = release.service()

    def stumbled(subject: str) -> Any:
        raise RuntimeError(f"nobody foresaw {subject} of c5")

    monkeypatch.setattr(service.tables, "opt_out", stumbled)
    http, body = ask(service, request_body())
    assert (http, body["error"]["code"], body["error"]["retryable"]) == (503, "NO_SAFE_ANSWER", True)
    assert "RuntimeError at test_degradation.py:" in caplog.text
    assert release.subject("c5") not in caplog.text
    assert "of c5" not in json.dumps(body) + caplog.text


def test_a_stored_value_of_another_kind_is_in_no_log(
    release: Any, request_body: Body, caplog: pytest.LogCaptureFixture
) -> None:
    service = release.service()
    change(release, "INSERT INTO suitability VALUES (?, 'Kim Min-su 4111', '2026-11-01')", release.subject("c5"))
    assert ask(service, request_body())[0] == 200
    assert "suitability: TypeError" in caplog.text
    assert "Min-su" not in caplog.text


@pytest.mark.parametrize(
    ("gone", "channel", "fields"),
    [
        (None, "branch", ["feature_row", "optout", "suitability"]),
        (None, "email", ["contact", "feature_row", "optout", "suitability"]),
        ("suitability", "branch", ["feature_row", "optout"]),
        ("optout", "branch", ["feature_row", "suitability"]),
    ],
)
def test_the_access_entry_lists_what_was_read(
    release: Any, request_body: Body, gone: str | None, channel: str, fields: list[str]
) -> None:
    if gone:
        change(release, f"DROP TABLE {gone}")
    ask(release.service(), request_body(channel=channel))
    (access,) = [row for row in release.lines()[-1] if row["header"]["event"] == "data_access"]
    assert [name.partition(":")[0] for name in access["payload"]["fields_read"]] == fields
