"""The function as the gateway sees it: requests, answers, the record, and what it imports."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline_lib.errors import AppendFailed
from pipeline_lib.serve.request import MAX_BODY

from .asking import ask, assessed, change

Body = Callable[..., dict[str, Any]]
REPO = Path(__file__).resolve().parents[3]
FORBIDDEN = (
    "torch", "airflow", "lancedb", "fastapi", "pyarrow", "pydantic", "yaml", "cryptography", "polars", "pandas",
    "sklearn", "lightgbm", "numpy", "boto3",
)  # fmt: skip


def test_the_handler_answers_where_torch_and_airflow_cannot_be_imported(
    release: Any, request_body: Body, tmp_path: Path
) -> None:
    script = tmp_path / "isolated.py"
    script.write_text(
        f"""
import json, sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {FORBIDDEN!r}:
            raise ImportError(f"{{name}} is not installed here")

import importlib.util
real = importlib.util.find_spec
importlib.util.find_spec = real
place = real("lightgbm")
sys.meta_path.insert(0, Blocked())
importlib.util.find_spec = lambda name, package=None: place if name == "lightgbm" else real(name, package)
from pipeline_lib.serve.handler import handler
body = json.loads({json.dumps(json.dumps(request_body()))})
event = {{"rawPath": "/v1/recommendations", "headers": {{"Content-Type": "application/json"}},
         "requestContext": {{"http": {{"method": "POST"}}}}, "body": json.dumps(body)}}
answer = handler(event, None)
health = handler({{"rawPath": "/v1/health", "requestContext": {{"http": {{"method": "GET"}}}}}}, None)
print(json.dumps({{"http": answer["statusCode"], "body": json.loads(answer["body"]),
                  "health": json.loads(health["body"]), "loaded": sorted(set({FORBIDDEN!r}) & set(sys.modules))}}))
"""
    )
    environment = release.environment(SERVE_ENV="local")
    done = subprocess.run(
        [sys.executable, str(script)], cwd=REPO, capture_output=True, text=True, check=False,
        env={**environment, "PYTHONPATH": str(REPO), "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])  # after the lines of metrics
    assert found["http"] == 200
    assert found["loaded"] == []
    assert found["health"]["status"] == "ok"
    assert found["body"]["model"]["version"] == release.bank.read("package").facts["version"]
    assert found["body"]["receipt"]


def test_an_answer_has_receipt_versions_and_a_layer_with_its_reason_per_task(release: Any, request_body: Body) -> None:
    service = release.service()
    assessed(release, service)
    http, body = ask(service, request_body(include=["components", "attribution"]))
    assert (http, body["status"]) == (200, "ok")
    assert set(body["tasks"]) == set(release.bank.settings.tasks.names())
    by_task = {name: (one["layer"], one["layer_reason"]) for name, one in body["tasks"].items()}
    assert by_task["churn_signal"] == (1, "MANIFEST")
    assert by_task["will_acquire_deposits"] == (2, "FIDELITY_FAILED")
    assert by_task["product_stability"] == (2, "TEACHER_WEAK")
    assert by_task["will_acquire_lending"] == (3, "DISABLED_BY_DATA")
    assert 1 <= len(body["items"]) <= 5
    assert all(one["reason"]["text"] and one["components"]["s"] > 0 for one in body["items"])
    assert body["items"][0]["score"] == max(one["score"] for one in body["items"])
    assert '"c5"' not in json.dumps(body)


@pytest.mark.parametrize(
    ("changed", "code", "field"),
    [
        ({"customer_id": None}, "INVALID_REQUEST", "customer_id"),
        ({"customer_id": 5}, "INVALID_REQUEST", "customer_id"),
        ({"customer_id": "x" * 65}, "INVALID_REQUEST", "customer_id"),
        ({"customer_id": "a\nb"}, "INVALID_REQUEST", "customer_id"),
        ({"channel": None}, "INVALID_REQUEST", "channel"),
        ({"channel": "fax"}, "INVALID_REQUEST", "channel"),
        ({"access_reason": "curiosity"}, "INVALID_REQUEST", "access_reason"),
        ({"operator_id": None}, "INVALID_REQUEST", "operator_id"),
        ({"terminal_id": None}, "INVALID_REQUEST", "terminal_id"),
        ({"k": 0}, "INVALID_REQUEST", "k"),
        ({"k": 6}, "INVALID_REQUEST", "k"),
        ({"k": True}, "INVALID_REQUEST", "k"),
        ({"k": 2.5}, "INVALID_REQUEST", "k"),
        ({"k": [1]}, "INVALID_REQUEST", "k"),
        ({"tasks": "churn_signal"}, "INVALID_REQUEST", "tasks"),
        ({"tasks": ["no_such_task"]}, "UNKNOWN_TASK", "tasks"),
        ({"include": ["everything"]}, "INVALID_REQUEST", "include"),
        ({"include": [{}]}, "INVALID_REQUEST", "include"),
        ({"context": []}, "INVALID_REQUEST", "context"),
        ({"context": {"mood": "good"}}, "INVALID_REQUEST", "context.mood"),
        ({"context": {"locale": "de"}}, "INVALID_REQUEST", "context.locale"),
        ({"context": {"session_id": " "}}, "INVALID_REQUEST", "context.session_id"),
        ({"customer_id": "   "}, "INVALID_REQUEST", "customer_id"),
        ({"context": {"as_of": "yesterday"}}, "INVALID_REQUEST", "context.as_of"),
        ({"context": {"as_of": 5}}, "INVALID_REQUEST", "context.as_of"),
        ({"locale": "ko"}, "INVALID_REQUEST", "locale"),
        ({"colour": "red"}, "INVALID_REQUEST", "colour"),
    ],
)
def test_a_bad_request_is_refused_naming_the_field_before_anything_is_read(
    release: Any, request_body: Body, changed: dict[str, Any], code: str, field: str
) -> None:
    service = release.service()
    (release.tables / "state.sqlite").unlink()
    http, body = ask(service, request_body(**changed))
    assert (http, body["error"]["code"]) == (400, code)
    assert body["error"]["message"].startswith(field)
    assert not body["error"]["retryable"]
    assert release.lines() == []


def test_as_of_is_refused_in_production(release: Any, request_body: Body) -> None:
    body = request_body(context={"as_of": "2026-11-16"})
    assert ask(release.service(SERVE_ENV="prod"), body)[0] == 400
    assert ask(release.service(SERVE_ENV="staging"), body)[0] == 200


@pytest.mark.parametrize(
    ("event", "http", "code"),
    [
        ({"body": "{"}, 400, "INVALID_REQUEST"),
        ({"body": "[]"}, 400, "INVALID_REQUEST"),
        ({"body": '{"k":1,"k":2}'}, 400, "INVALID_REQUEST"),
        ({"body": None}, 400, "INVALID_REQUEST"),
        ({"body": "%%%", "isBase64Encoded": True}, 400, "INVALID_REQUEST"),
        ({"body": '{"k": "' + "x" * MAX_BODY + '"}'}, 413, "TOO_LARGE"),
        ({"headers": {"content-type": "text/plain"}}, 415, "MEDIA_TYPE"),
        ({"headers": None}, 415, "MEDIA_TYPE"),
        ({"rawPath": "/v1/everything"}, 404, "NO_SUCH_ROUTE"),
        ({"requestContext": {}}, 404, "NO_SUCH_ROUTE"),
    ],
)
def test_what_is_no_request_gets_its_documented_error(
    release: Any, request_body: Body, event: dict[str, Any], http: int, code: str
) -> None:
    found, body = ask(release.service(), request_body(), **event)
    assert (found, body["error"]["code"]) == (http, code)


def test_one_request_is_one_segment_of_four_rows_that_share_their_ids(release: Any, request_body: Body) -> None:
    service = release.service()
    assessed(release, service)
    body = ask(service, request_body())[1]
    opened, segment = release.lines()
    assert [row["header"]["event"] for row in opened] == ["writer_open"]
    headers = [row["header"] for row in segment]
    assert [h["log_table"] for h in headers] == [
        "log_data_access",
        "log_model_inference",
        "log_attribution",
        "log_guardrail",
    ]
    assert {h["request_id"] for h in headers} == {body["request_id"]}
    assert [h["prediction_id"] for h in headers] == [None] + [body["prediction_id"]] * 3
    receipt = body["receipt"]
    assert (receipt["first_seq"], receipt["last_seq"]) == (headers[0]["seq"], headers[-1]["seq"])
    assert receipt["last_entry_hash"] == segment[-1]["entry_hash"]


def test_the_record_holds_no_raw_customer_or_operator_id(release: Any, request_body: Body) -> None:
    ask(release.service(), request_body(customer_id="c17", operator_id="alice"))
    text = json.dumps(release.lines())
    assert release.subject("c17") in text
    assert '"c17"' not in text
    assert "alice" not in text


def test_recorded_contributions_add_up_and_name_the_deciding_task(release: Any, request_body: Body) -> None:
    service = release.service()
    assessed(release, service)
    body = ask(service, request_body(include=["attribution"]))[1]
    payload = next(row["payload"] for row in release.lines()[-1] if row["header"]["event"] == "attribution")
    shown = body["attribution"]
    assert payload["task"] == body["items"][0]["deciding_task"] == shown["task"]
    assert payload["method"] == "student_contrib"
    assert float(payload["residual"]) == pytest.approx(0, abs=1e-9)
    assert shown["base_value"] + sum(c["value"] for c in shown["contributions"]) == pytest.approx(
        shown["raw"], abs=1e-9
    )
    assert {gate["expert"] for gate in payload["gates"]} == {"deepfm", "temporal", "lightgcn"}
    assert payload["source_asof"] == "2026-11-16"


OUTBOUND = {"channel": "app_push", "access_reason": "self_service", "operator_id": None, "terminal_id": None}


def test_nobody_is_written_to_with_what_was_not_recorded(release: Any, request_body: Body) -> None:
    service = release.service()

    def refuse(_: Any) -> Any:
        raise AppendFailed("the record is down")

    service.append = refuse
    answers = [ask(service, request_body(**channel))[1] for channel in ({}, OUTBOUND)]
    assert [one["status"] for one in answers if one["receipt"] is None] == ["static_content"] * 2
    assert [bool(one["items"]) for one in answers] == [True, False]


def test_whoever_may_not_be_contacted_is_not_although_nothing_personal_is_wanted(
    release: Any, request_body: Body
) -> None:
    service = release.service()
    change(release, "INSERT INTO kill_switch VALUES ('s', 'global', '*', 'disable', 1, 1)")
    assert ask(service, request_body(**OUTBOUND))[1]["status"] == "no_contact"


@pytest.mark.parametrize(
    ("contact", "hour", "status"),
    [
        (None, 3, "no_contact"),
        ((1, 0, 0), 3, "ok"),
        ((0, 0, 0), 3, "no_contact"),
        ((1, 1, 0), 3, "no_contact"),
        ((1, 0, 5), 3, "no_contact"),
        ((1, 0, 0), 12, "no_contact"),
    ],
    ids=["unknown", "consented", "no_consent", "do_not_contact", "too_many_messages", "nine_in_the_evening_in_seoul"],
)
def test_outbound_contact_needs_consent_and_waking_hours(
    release: Any, request_body: Body, contact: tuple[int, int, int] | None, hour: int, status: str
) -> None:
    service = release.service()
    assessed(release, service)
    release.now = release.now.replace(hour=hour)
    if contact:
        change(release, "INSERT INTO contact VALUES (?, ?, ?, ?)", release.subject("c5"), *contact)
    body = ask(service, request_body(channel="email", operator_id=None, terminal_id=None))[1]
    assert body["status"] in ((status,) if status != "ok" else ("ok", "withheld_for_review"))


def test_without_an_assessment_no_product_is_recommended(release: Any, request_body: Body) -> None:
    body = ask(release.service(), request_body())[1]
    assert (body["status"], body["items"]) == ("no_suitable_candidate", [])
    assert body["filters"]["dropped_by_reason"]["no_tolerance"] > 0


def test_what_is_owned_is_not_recommended(release: Any, request_body: Body) -> None:
    service = release.service()
    for customer in ("c3", "c5", "c8", "c13"):
        assessed(release, service, customer)
        held = service.tables.customer(release.subject(customer)).held
        shown = {one["item_id"] for one in ask(service, request_body(customer_id=customer))[1]["items"]}
        assert not shown & set(held)


def test_a_doubtful_answer_is_withheld_outside_the_branch_and_visible_inside(release: Any, request_body: Body) -> None:
    service = release.service()
    assessed(release, service)
    service.policy.serving["review"]["min_margin"] = 2.0
    inside = ask(service, request_body())[1]
    outside = ask(service, request_body(channel="web", operator_id=None, terminal_id=None))[1]
    assert inside["review"]["required"]
    assert inside["items"][0]["layer"] == 1
    assert outside["status"] == "withheld_for_review"
    assert {one["layer_reason"] for one in outside["tasks"].values()} == {"WITHHELD_FOR_REVIEW"}
