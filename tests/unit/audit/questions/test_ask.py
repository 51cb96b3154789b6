"""The dispute question over a record whose every row is known."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date, datetime
from hashlib import sha256
from typing import Any

import pytest

from pipeline_lib.audit import session
from pipeline_lib.audit.dispute.ask import Answer, ask
from pipeline_lib.audit.dispute.question import Question
from pipeline_lib.errors import RequestRefused
from pipeline_lib.store import QueryStore

When = Callable[[str], datetime]
Ask = Callable[..., Answer]
DAY = date(2026, 4, 15)
V1, V2 = "v20260413-00000001", "v20260420-00000002"


@pytest.fixture
def put(bank: Any, operator: str) -> Ask:
    """Ask about a customer on the day."""

    def put(customer: str = "100001", on: date = DAY, **known: Any) -> Answer:
        return ask(bank.settings, Question(customer, on, "CASE-7", "the customer complains", **known), operator)

    return put


@pytest.fixture
def released(bank: Any, when: When) -> Any:
    bank.release(when("2026-04-13 03:05"), V1)
    return bank


def log_queries(bank: Any) -> list[dict[str, Any]]:
    found = sorted(session.rows(bank.settings, ["log_data_access"]), key=lambda row: str(row.header["ts"]))
    return [{**row.payload, "of": row.header["prediction_id"]} for row in found if row.header["event"] == "log_query"]


def test_an_answer_of_an_exact_minute_is_found_with_everything_behind_it(released: Any, when: When, put: Ask) -> None:
    made = released.decide(when("2026-04-15 14:37"), "100001", V1)
    released.decide(when("2026-04-15 14:38"), "100002", V1)
    released.commit(when("2026-04-15 14:38"))
    found = put()
    (one,) = found.body["answers"]
    assert (one["prediction_id"], one["event_time"]) == (made, "2026-04-15T05:37:00.000001Z")
    assert one["decided"]["recommended"][0]["product_id"] == "deposit_long"
    assert one["asked_by"]["purpose"] == "recommendation"
    assert (one["model"]["model_version"], one["model"]["pointer_then"]) == (V1, V1)
    assert one["model"]["verdicts"][0]["approver"] == "risk-1"
    assert [step["step"] for step in one["model"]["verdicts"][0]["gate_path"]] == ["fidelity", "competition"]
    assert one["why"]["top_features"][0]["feature"] == "num_products"
    assert one["reliability"]["ood"]["flag_over"] == "7.099337852"
    assert len(one["safeguards"]["criteria"]) == 5
    assert one["checkpoint"] == {"n": 1, "ts": "2026-04-15T05:38:00.000000Z", "after_us": 59_999_999, "late": False}
    assert one["holes"] == ["package: its words and limits cannot be shown: " + V1 + ": no registry was asked for it"]
    assert found.verified
    assert found.body["proof"] == {"rows": 6, "included": 6, "failures": []}


def test_two_answers_in_one_minute_are_two_answers(released: Any, when: When, put: Ask) -> None:
    made = [released.decide(when(f"2026-04-15 14:37:{second}"), "100001", V1) for second in ("10", "20")]
    released.commit(when("2026-04-15 14:40"))
    assert [one["prediction_id"] for one in put().body["answers"]] == made


def test_the_day_is_the_day_in_seoul(released: Any, when: When, put: Ask) -> None:
    inside = [released.decide(when(f"2026-04-15 {time}"), "100001", V1) for time in ("00:00:00", "23:59:59")]
    for outside in ("2026-04-14 23:59:59", "2026-04-16 00:00:00"):
        released.decide(when(outside), "100001", V1)
    released.commit(when("2026-04-16 00:01"))
    assert [one["prediction_id"] for one in put().body["answers"]] == inside


def test_a_product_narrows_the_question(released: Any, when: When, put: Ask) -> None:
    released.decide(when("2026-04-15 14:37"), "100001", V1)
    released.commit(when("2026-04-15 14:38"))
    assert len(put(product="saving").body["answers"]) == 1
    assert put(product="mortgage").body["answers"] == []


def test_an_opted_out_customer_was_answered_by_rules(released: Any, when: When, put: Ask) -> None:
    score = {"task": "churn_signal", "kind": "binary", "layer": 3, "layer_reason": "OPTED_OUT"}
    released.decide(
        when("2026-04-15 14:37"), "100001", V1,
        prediction={"layer": "L3_rules", "optout_state": "out", "task_scores": [score]},
        attribution={"method": "rule", "gates": None, "gate_entropy": None},
    )  # fmt: skip
    released.operation(when("2026-04-10 09:00"), "optout_set", object_id=released.subject("100001"), reason="branch")
    released.commit(when("2026-04-15 14:38"))
    body = put().body
    (one,) = body["answers"]
    assert one["asked_by"]["optout_state"] == "out"
    assert one["safeguards"]["layer_reasons"] == ["OPTED_OUT"]
    assert one["why"]["gates"] is None
    assert "gate weights: none recorded for this answer" in one["caveats"]
    assert [row["event"] for row in body["about_subject"]] == ["optout_set"]


def test_a_switch_that_was_on_is_shown_and_one_that_was_lifted_is_not(released: Any, when: When, put: Ask) -> None:
    for at, event, name in (
        ("2026-04-14 08:00", "kill_switch_fired", "lifted"),
        ("2026-04-14 09:00", "kill_switch_fired", "task:churn_signal"),
        ("2026-04-14 10:00", "kill_switch_cleared", "lifted"),
        ("2026-04-15 15:00", "kill_switch_fired", "later"),
    ):
        released.operation(when(at), event, object_type="kill_switch", object_id=name, reason="incident")
    score = {"task": "churn_signal", "layer": 3, "layer_reason": "SWITCH:task:churn_signal"}
    released.decide(when("2026-04-15 14:37"), "100001", V1, prediction={"layer": "L3_rules", "task_scores": [score]})
    released.commit(when("2026-04-15 16:00"))
    (one,) = put().body["answers"]
    assert [switch["object_id"] for switch in one["safeguards"]["switches_on"]] == ["task:churn_signal"]
    assert one["safeguards"]["layer_reasons"] == ["SWITCH:task:churn_signal"]


def test_a_switch_counts_from_when_it_acted_though_its_row_came_later(released: Any, when: When, put: Ask) -> None:
    """Fired while the record was down: the row is written days after."""
    fired = {"effective_at": when("2026-04-15 14:00").isoformat()}
    released.decide(when("2026-04-15 13:59"), "100001", V1)
    released.decide(when("2026-04-15 14:37"), "100001", V1)
    released.operation(when("2026-04-18 09:00"), "kill_switch_fired", object_id="global", reason="x", details=fired)
    released.commit(when("2026-04-18 10:00"))
    before, after = put().body["answers"]
    assert [len(one["safeguards"]["switches_on"]) for one in (before, after)] == [0, 1]


def test_a_far_out_customer_is_shown_with_the_limits_of_then(released: Any, when: When, put: Ask) -> None:
    ood = {"distance": "8.000000000", "flag_over": "7.099337852", "override_over": "9.000000000", "level": "flagged"}
    released.decide(when("2026-04-15 14:37"), "100001", V1, guardrail={"ood": ood, "verdict": "modify", "tier": 2})
    released.commit(when("2026-04-15 14:38"))
    (one,) = put().body["answers"]
    assert one["reliability"]["ood"] == ood
    assert (one["safeguards"]["verdict"], one["safeguards"]["tier"]) == ("modify", 2)


def test_the_model_of_then_is_named_before_and_after_a_release(released: Any, when: When, put: Ask) -> None:
    released.decide(when("2026-04-15 14:37"), "100001", V1)
    released.release(when("2026-04-20 03:05"), V2)
    released.decide(when("2026-04-21 10:00"), "100001", V2)
    released.decide(when("2026-04-21 11:00"), "100001", V1)
    released.commit(when("2026-04-21 12:00"))
    (before,) = put().body["answers"]
    after, share = put(on=date(2026, 4, 21)).body["answers"]
    assert [one["model"]["pointer_then"] for one in (before, after, share)] == [V1, V2, V2]
    assert [one["model"]["verdicts"][0]["challenger_version"] for one in (before, after, share)] == [V1, V2, V1]
    said = f"the pointer named {V2} at that moment; the answer came from {V1} (a share of traffic, or late)"
    assert said in share["caveats"]
    assert not any("the pointer named" in caveat for caveat in after["caveats"])


def test_what_changed_later_the_same_day_was_not_in_force(released: Any, when: When, put: Ask) -> None:
    released.operation(when("2026-04-14 09:00"), "config_change", object_id="then", reason="x")
    released.decide(when("2026-04-15 14:37"), "100001", V1)
    released.release(when("2026-04-15 15:00"), V2)
    released.release(when("2026-04-15 16:00"), V1, decision="force_promote", decision_id="b" * 32)
    released.operation(when("2026-04-15 17:00"), "config_change", object_id="later", reason="x")
    released.commit(when("2026-04-15 18:00"))
    (one,) = put().body["answers"]
    assert one["model"]["pointer_then"] == V1
    assert one["model"]["champion_since"] < "2026-04-14"
    assert [row["object_id"] for row in one["safeguards"]["latest_before"]] == ["then"]


def test_the_verdict_that_asked_for_a_person_is_shown_too(released: Any, when: When, put: Ask) -> None:
    asked = {"decision_id": "a" * 32, "decision": "await_signoff", "challenger_version": V2, "trigger": "auto"}
    released.release(when("2026-04-14 03:05"), "v-asked", **asked)
    released.release(when("2026-04-14 09:05"), V2, basis_decision_id="a" * 32)
    released.decide(when("2026-04-15 14:37"), "100001", V2)
    released.commit(when("2026-04-15 14:38"))
    (one,) = put().body["answers"]
    assert [verdict["decision"] for verdict in one["model"]["verdicts"]] == ["promote", "await_signoff"]


def test_a_segment_that_a_checkpoint_passed_by_is_called_late(released: Any, when: When, put: Ask) -> None:
    released.commit(when("2026-04-15 14:40"))
    released.decide(when("2026-04-15 14:37"), "100001", V1)
    released.commit(when("2026-04-15 15:00"))
    (one,) = put().body["answers"]
    assert one["checkpoint"]["late"]
    late = [caveat for caveat in one["caveats"] if caveat.startswith("late segment")]
    assert len(late) == 4
    assert one["event_time"] < "2026-04-15T05:40" < one["checkpoint"]["ts"]


def test_an_unknown_customer_is_answered_with_a_hole_and_logged(released: Any, when: When, put: Ask) -> None:
    released.commit(when("2026-04-15 14:38"))
    found = put("999999")
    assert found.body["answers"] == []
    assert found.body["holes"] == ["log_model_inference: no answer to this customer on 2026-04-15, as of checkpoint 1"]
    mapping, shown = log_queries(released)
    assert (mapping["subject_ref"], mapping["fields_read"]) == (None, ["customer_id", "subject_ref"])
    assert (shown["subject_ref"], shown["row_count"], shown["case_id"]) == (released.subject("999999"), 0, "CASE-7")


def test_every_answer_shown_is_logged_with_case_and_reason(released: Any, when: When, put: Ask, operator: str) -> None:
    made = [released.decide(when(f"2026-04-15 14:{minute}"), "100001", V1) for minute in (37, 39)]
    released.commit(when("2026-04-15 14:40"))
    put()
    logged = log_queries(released)
    assert [row["of"] for row in logged if row["of"]] == made
    assert {row["operator_ref"] for row in logged} == {operator}
    assert all("the customer complains" in row["purpose"] for row in logged)


@pytest.mark.parametrize(
    ("event", "table", "key"),
    [("attribution", "log_attribution", "prediction"), ("guardrail", "log_guardrail", "prediction"),
     ("data_access", "log_data_access", "request")],
)  # fmt: skip
def test_a_missing_partner_is_a_hole_and_the_answer_stays(
    released: Any, when: When, put: Ask, event: str, table: str, key: str
) -> None:
    released.decide(when("2026-04-15 14:37"), "100001", V1, without=(event,))
    released.commit(when("2026-04-15 14:38"))
    (one,) = put().body["answers"]
    (hole,) = [hole for hole in one["holes"] if hole.startswith(table)]
    assert hole == f"{table}: no row for {key} {one[f'{key}_id']}; expected 1"


def test_a_payload_that_was_lawfully_taken_is_a_hole_and_its_header_still_proves(
    released: Any, when: When, put: Ask
) -> None:
    released.decide(when("2026-04-15 14:37"), "100001", V1)
    released.commit(when("2026-04-15 14:38"))
    store, name = QueryStore(released.settings.place.query_store), "log_attribution__2026q2"
    table = store.read(name)
    store.replace(name, table.from_pylist([{**row, "payload": None} for row in table.to_pylist()], table.schema))
    found = put()
    (one,) = found.body["answers"]
    assert one["why"]["top_features"] == []
    assert any("was erased or retired; header kept" in hole for hole in one["holes"])
    assert found.verified


def test_an_answer_without_any_release_says_so(bank: Any, when: When, put: Ask) -> None:
    bank.decide(when("2026-04-15 14:37"), "100001", V1)
    bank.commit(when("2026-04-15 14:38"))
    (one,) = put().body["answers"]
    assert one["model"]["verdicts"] == []
    assert [hole.split(":")[0] for hole in one["holes"]] == ["manifest_swap", "log_model_promotion", "package"]


def test_the_same_question_as_of_the_same_checkpoint_has_the_same_bytes(released: Any, when: When, put: Ask) -> None:
    made = released.decide(when("2026-04-15 14:37"), "100001", V1)
    then = released.commit(when("2026-04-15 14:38"))
    before = put(as_of_ckpt=then)
    released.operation(when("2026-05-02 10:00"), "review_decided", object_id=made, actor_kind="human", reason="upheld")
    released.decide(when("2026-04-15 20:00"), "100001", V1)
    released.commit(when("2026-05-02 10:01"))
    assert put(as_of_ckpt=then).json == before.json == put(as_of_ckpt=then).json
    now = put()
    assert len(now.body["answers"]) == 2
    assert [event["event"] for event in now.body["answers"][0]["humans"]["events"]] == ["review_decided"]
    assert now.verified


def test_a_text_the_customer_shows_is_the_delivered_one_or_not(
    released: Any, when: When, put: Ask, delivered_text: str
) -> None:
    released.decide(when("2026-04-15 14:37"), "100001", V1)
    released.commit(when("2026-04-15 14:38"))
    for text, same in ((delivered_text, True), (delivered_text + "!", False)):
        (one,) = put(text_sha256=sha256(text.encode()).hexdigest()).body["answers"]
        assert one["why"]["text_shown_is_the_delivered_one"] is same
    assert put().body["answers"][0]["why"]["text_shown_is_the_delivered_one"] is None


def test_the_customers_number_is_in_no_byte_of_answer_or_log(released: Any, when: When, put: Ask) -> None:
    released.decide(when("2026-04-15 14:37"), "100001", V1)
    released.commit(when("2026-04-15 14:38"))
    assert b"100001" not in put().json
    assert "100001" not in json.dumps(log_queries(released))


def test_a_doctored_query_table_is_not_verified(released: Any, when: When, put: Ask) -> None:
    released.decide(when("2026-04-15 14:37"), "100001", V1)
    released.commit(when("2026-04-15 14:38"))
    store = QueryStore(released.settings.place.query_store)
    rows = store.read("log_model_inference__2026q2").to_pylist()
    doctored = [{**row, "payload": row["payload"].replace("deposit_long", "deposit_last")} for row in rows]
    table = store.read("log_model_inference__2026q2")
    store.replace("log_model_inference__2026q2", table.from_pylist(doctored, schema=table.schema))
    found = put()
    (failure,) = found.body["proof"]["failures"]
    assert failure["why"] == "the payload is not the one that was hashed"
    assert not found.verified


def test_a_question_without_case_reason_or_loaded_checkpoint_is_refused(released: Any, when: When, put: Ask) -> None:
    with pytest.raises(RequestRefused, match="case"):
        Question("100001", DAY, " ", "the customer complains")
    with pytest.raises(RequestRefused, match="10 characters"):
        Question("100001", DAY, "CASE-7", "because")
    with pytest.raises(RequestRefused, match="no checkpoint is loaded"):
        put()
    released.commit(when("2026-04-15 14:38"))
    with pytest.raises(RequestRefused, match="checkpoint 9 is not loaded"):
        put(as_of_ckpt=9)
