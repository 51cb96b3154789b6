"""``POST /v1/reasons``: what is kept of an answer, who may read it, and that every path leaves its rows."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from hashlib import sha256
from typing import Any

import pytest

from pipeline_lib.errors import AppendFailed
from pipeline_lib.items import KEPT as FILE
from pipeline_lib.items import SqliteItems, TableUnreadable
from pipeline_lib.serve import local
from pipeline_lib.serve.guardrail import CRITERIA
from pipeline_lib.serve.handler import respond
from pipeline_lib.serve.keep import Keep, text_key
from pipeline_lib.serve.reasons import Grounds, Reason
from pipeline_lib.serve.rewrite.loop import Rewriter
from pipeline_lib.serve.rewrite.provider import Prompt, ProviderFailed

Body = Callable[..., dict[str, Any]]
ROWS = ["data_access", "attribution_late", "guardrail_late"]
YES = '{"f": 1, "c": 1}'


class Echo:
    """Writes a good text about the product it is told of; approves of everything."""

    name = "echo:1"

    def __init__(self, verdict: str = YES, failing: bool = False) -> None:
        self.verdict, self.failing, self.asked = verdict, failing, list[Prompt]()

    def ask(self, prompt: Prompt) -> str:
        self.asked.append(prompt)
        if self.failing:
            raise ProviderFailed("down")
        if prompt.text.count("\nTEXT\n"):
            return self.verdict
        product = json.loads(prompt.text.partition("\n")[2])["product"]
        return f"고객님께 도움이 되실 수 있는 {product} 이용을 정중하게 안내해 드리고자 합니다."


class Desk:
    """A service whose answers are asked about."""

    def __init__(self, release: Any, body: Body, provider: Echo | None = None) -> None:
        self.release, self.body = release, body
        self.service = release.service()
        if provider is not None:
            l2a = {**self.service.policy.serving["l2a"], "provider": "recorded"}
            self.service.policy.serving["l2a"] = l2a
            self.service.rewriter = Rewriter(provider, self.service.policy.gate, l2a)
        self.service.tables.switch_cache_ms = 0
        self.service.tables.record_assessment(release.subject("c5"), 3, release.now.date())

    def recommend(self, **changed: Any) -> dict[str, Any]:
        answered = respond(local.event(self.body(**changed)), lambda: self.service)
        assert answered["statusCode"] == 200
        found: dict[str, Any] = json.loads(answered["body"])
        return found

    def ask(self, **asked: Any) -> tuple[int, dict[str, Any]]:
        answered = respond(local.event(asked, "/v1/reasons"), lambda: self.service)
        return answered["statusCode"], json.loads(answered["body"])

    def ask_first(self, answer: dict[str, Any], **more: Any) -> tuple[int, dict[str, Any]]:
        return self.ask(prediction_id=answer["prediction_id"], item_id=answer["items"][0]["item_id"], **more)

    def opt_out(self, customer: str = "c5") -> None:
        with closing(sqlite3.connect(self.release.tables / "state.sqlite")) as database, database:
            database.execute("INSERT INTO optout VALUES (?, NULL, '2026-11-01')", (self.release.subject(customer),))

    def fire(self, scope: str = "task", target: str = "churn_signal", fallback: str = "rule_based") -> None:
        with closing(sqlite3.connect(self.release.tables / "state.sqlite")) as database, database:
            database.execute("INSERT INTO kill_switch VALUES ('k1', ?, ?, ?, 1, 1)", (scope, target, fallback))

    def late(self) -> list[list[dict[str, Any]]]:
        """Rows of each explanation."""
        entries = [{**e["header"], **e} for segment in self.release.lines() for e in segment]
        ids = list(dict.fromkeys(e["request_id"] for e in entries if e["event"] == "guardrail_late"))
        return [[e for e in entries if e["request_id"] == one] for one in ids]


@pytest.fixture
def desk(release: Any, request_body: Body) -> Desk:
    return Desk(release, request_body)


@pytest.fixture
def echo(release: Any, request_body: Body) -> tuple[Desk, Echo]:
    provider = Echo()
    return Desk(release, request_body, provider), provider


def hashed(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def test_an_answer_is_explained_with_the_text_it_gave_and_a_receipt(desk: Desk) -> None:
    answer = desk.recommend()
    for item in answer["items"]:
        http, found = desk.ask(prediction_id=answer["prediction_id"], item_id=item["item_id"])
        assert http == 200
        assert (found["text"], found["source"], found["cached"]) == (item["reason"]["text"], "L1", False)
        assert found["receipt"]["last_entry_hash"]
    rows = desk.late()
    assert len(rows) == len(answer["items"])
    assert [e["event"] for e in rows[0]] == ROWS


def test_it_is_said_in_the_language_that_is_asked_for(desk: Desk) -> None:
    answer = desk.recommend()
    _, korean = desk.ask_first(answer, locale="ko")
    _, english = desk.ask_first(answer, locale="en")
    assert korean["text"] == answer["items"][0]["reason"]["text"]
    assert english["text"].endswith("This notice was written by an AI system.")
    again = desk.recommend(context={"locale": "en"})
    assert english["text"] == again["items"][0]["reason"]["text"]


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"item_id": "saving"}, "prediction_id"),
        ({"prediction_id": "p"}, "item_id"),
        ({"prediction_id": 5, "item_id": "saving"}, "prediction_id"),
        ({"prediction_id": "p" * 65, "item_id": "saving"}, "prediction_id"),
        ({"prediction_id": "p", "item_id": ["saving"]}, "item_id"),
        ({"prediction_id": "p", "item_id": "saving", "locale": "de"}, "locale"),
        ({"prediction_id": "p", "item_id": "saving", "locale": None}, "locale"),
        ({"prediction_id": "p", "item_id": "saving", "customer_id": "c5"}, "customer_id"),
    ],
)
def test_a_bad_question_is_refused_naming_the_field(desk: Desk, asked: dict[str, Any], field: str) -> None:
    http, body = desk.ask(**asked)
    assert (http, body["error"]["code"]) == (400, "INVALID_REQUEST")
    assert field in body["error"]["message"]


def test_unknown_answers_unknown_items_and_expired_ones_are_404(desk: Desk) -> None:
    answer = desk.recommend()
    unknown = [desk.ask(prediction_id="nobody", item_id="saving")]
    unknown.append(desk.ask(prediction_id=answer["prediction_id"], item_id="no_such_item"))
    desk.release.now += timedelta(hours=23, minutes=59)
    assert desk.ask_first(answer)[0] == 200
    desk.release.now += timedelta(minutes=1)
    unknown.append(desk.ask_first(answer))
    assert [(http, body["error"]["code"]) for http, body in unknown] == [(404, "UNKNOWN_PREDICTION")] * 3


def test_an_opt_out_makes_void_what_models_said(echo: tuple[Desk, Echo]) -> None:
    desk, provider = echo
    answer = desk.recommend()
    assert desk.ask_first(answer)[1]["source"] == "L2a"
    desk.opt_out()
    asked = len(provider.asked)
    assert desk.ask_first(answer)[0] == 404
    with closing(sqlite3.connect(desk.release.tables / FILE)) as database:
        assert database.execute("SELECT DISTINCT body FROM kept").fetchall() == [("{}",)]
    assert len(provider.asked) == asked


def test_an_answer_by_rules_to_somebody_opted_out_is_explained_by_its_template(echo: tuple[Desk, Echo]) -> None:
    desk, provider = echo
    desk.opt_out()
    answer = desk.recommend()
    http, found = desk.ask_first(answer)
    assert (answer["status"], http, found["source"]) == ("opted_out_rules", 200, "L1")
    assert found["text"] == answer["items"][0]["reason"]["text"]
    assert not provider.asked


def test_the_opt_out_is_read_before_anything_else_but_whom_it_is_about(desk: Desk) -> None:
    answer = desk.recommend()
    (desk.release.tables / "state.sqlite").write_bytes(b"broken")
    http, body = desk.ask_first(answer)
    assert (http, body["error"]["code"], body["error"]["retryable"]) == (503, "NO_SAFE_ANSWER", True)
    assert not desk.late()


def test_an_answer_is_given_when_it_cannot_be_kept_and_a_broken_store_explains_nothing(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    (desk.release.tables / FILE).write_bytes(b"not a database at all" * 99)
    answer = desk.recommend()
    assert answer["items"]
    assert "was not kept" in caplog.text
    assert desk.ask_first(answer)[0] == 503


def test_nothing_is_explained_unrecorded(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = desk.recommend()

    def down(_: Any) -> Any:
        raise AppendFailed("down")

    monkeypatch.setattr(desk.service, "append", down)
    http, body = desk.ask_first(answer)
    assert (http, body["error"]["code"]) == (503, "AUDIT_UNAVAILABLE")


def test_a_rewrite_is_delivered_recorded_and_reused(echo: tuple[Desk, Echo]) -> None:
    desk, provider = echo
    answer = desk.recommend()
    template = answer["items"][0]["reason"]["text"]
    _, first = desk.ask_first(answer)
    _, second = desk.ask_first(answer)
    assert (first["source"], first["cached"]) == ("L2a", False)
    assert (second["source"], second["cached"], second["text"]) == ("L2a", True, first["text"])
    assert len(provider.asked) == 2
    fresh, reused = desk.late()
    for rows in (fresh, reused):
        attribution, guarded = (row["payload"] for row in rows[1:])
        assert (attribution["llm_used"], attribution["provider_model"]) == (True, "echo:1")
        assert attribution["prompt_hash"] == provider.asked[0].sha256
        assert (attribution["reason_layer"], attribution["reason_text_hash"]) == ("L2a", hashed(first["text"]))
        assert (guarded["text_hash_before"], guarded["text_hash_after"]) == (hashed(template), hashed(first["text"]))
        assert tuple(sorted(guarded["criteria"])) == tuple(sorted(CRITERIA))
        assert guarded["verdict"] == "pass"
        assert {rows[1]["prediction_id"], rows[2]["prediction_id"]} == {answer["prediction_id"]}
    assert fresh[2]["payload"]["edits"] == [{"k": "rewrite", "v": "PASSED"}]


@pytest.mark.parametrize(
    ("provider", "why", "verdict", "llm"),
    [
        (Echo(failing=True), "PROVIDER", "pass", True),
        (Echo(verdict="fine"), "UNREADABLE_VERDICT", "modify", True),
        (Echo(verdict='{"f": 0.1, "c": 1}'), "NOT_FACTUAL", "modify", True),
        (Echo(verdict='{"f": 1, "c": 0}'), "NOT_COMPLIANT", "modify", True),
        (None, "PROVIDER_NONE", "pass", False),
    ],
    ids=["provider_fails", "unreadable", "not_factual", "not_compliant", "none"],
)
def test_a_failed_rewrite_delivers_the_template_and_is_recorded_too(
    release: Any, request_body: Body, provider: Echo | None, why: str, verdict: str, llm: bool
) -> None:
    desk = Desk(release, request_body, provider)
    answer = desk.recommend()
    _, found = desk.ask_first(answer)
    assert (found["text"], found["source"]) == (answer["items"][0]["reason"]["text"], "L1")
    access, attribution, guarded = (row["payload"] for row in desk.late()[0])
    assert (access["purpose"], access["subject_ref"]) == ("explanation", release.subject("c5"))
    assert (attribution["llm_used"], attribution["reason_layer"]) == (llm, "L1")
    assert guarded["edits"] == [{"k": "rewrite", "v": why}]
    assert guarded["verdict"] == verdict
    assert guarded["text_hash_after"] == hashed(found["text"])
    assert (guarded["text_hash_before"] == guarded["text_hash_after"]) == (verdict == "pass")
    scores = {name: one["verdict"] for name, one in guarded["criteria"].items()}
    assert ("block" in scores.values()) == (verdict == "modify")


def test_an_active_switch_and_a_sparse_context_ask_nobody(echo: tuple[Desk, Echo]) -> None:
    desk, provider = echo
    sparse = {**desk.service.policy.serving["l2a"], "moderate": [], "rich": ["num_products >= 99"]}
    rich, desk.service.policy.serving["l2a"] = desk.service.policy.serving["l2a"], sparse
    answer = desk.recommend()
    assert desk.ask_first(answer)[1]["source"] == "L1"
    desk.service.policy.serving["l2a"] = rich
    answer = desk.recommend()
    desk.fire()
    assert desk.ask_first(answer)[1]["source"] == "L1"
    assert not provider.asked
    whys = [rows[2]["payload"]["edits"][0]["v"] for rows in desk.late()]
    assert whys == ["SPARSE", "SWITCH"]


def test_a_recommendation_uses_a_rewrite_of_exactly_the_same_and_nothing_else(echo: tuple[Desk, Echo]) -> None:
    desk, provider = echo
    first = desk.recommend()
    _, said = desk.ask_first(first)
    again = desk.recommend()
    assert (again["items"][0]["reason"]["source"], again["items"][0]["reason"]["text"]) == ("L2a", said["text"])
    assert {item["reason"]["source"] for item in again["items"][1:]} <= {"L1"}
    assert desk.recommend(context={"locale": "en"})["items"][0]["reason"]["source"] == "L1"
    assert len(provider.asked) == 2
    recorded = [e["payload"] for s in desk.release.lines() for e in s if e["header"]["event"] == "attribution"]
    assert [(one["reason_layer"], one["llm_used"], one["provider_model"]) for one in recorded] == [
        ("L1", False, None), ("L2a", True, "echo:1"), ("L1", False, None),
    ]  # fmt: skip
    _, explained = desk.ask_first(again)
    assert (explained["text"], explained["cached"]) == (said["text"], True)


def test_a_cached_text_that_the_rules_no_longer_pass_gives_way_to_the_template(echo: tuple[Desk, Echo]) -> None:
    desk, _ = echo
    first = desk.recommend()
    desk.ask_first(first)
    with closing(sqlite3.connect(desk.release.tables / FILE)) as database, database:
        database.execute("UPDATE kept SET body = replace(body, '정중하게', '무조건') WHERE key LIKE 'texts/%'")
    again = desk.recommend()
    assert [(i["item_id"], i["reason"]) for i in again["items"]] == [
        (i["item_id"], i["reason"]) for i in first["items"]
    ]


def test_without_a_provider_no_cache_is_read(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Keep, "texts", lambda *_: pytest.fail("read"))
    assert desk.recommend()["items"]


def reason(**changed: Any) -> Reason:
    grounds = {"item_id": "i", "name": "n", "category": "c", "task": "t", "direction": "up", "feature": "f",
               "facts": (), **{k: v for k, v in changed.items() if k in Grounds.__dataclass_fields__}}  # fmt: skip
    own = {"text": "x", "template_id": "t2/c/ko/1", "locale": "ko", "product": "p", "known": ("p", "w"),
           **{k: v for k, v in changed.items() if k in Reason.__dataclass_fields__}}  # fmt: skip
    return Reason(grounds=Grounds(**grounds), **own)


def test_the_key_of_a_text_is_everything_it_rests_on() -> None:
    keys = [
        text_key("s", reason(), "v1"), text_key("s2", reason(), "v1"), text_key("s", reason(), "v2"),
        text_key("s", reason(item_id="j"), "v1"), text_key("s", reason(task="u"), "v1"),
        text_key("s", reason(known=("p", "w2")), "v1"), text_key("s", reason(locale="en"), "v1"),
        text_key("s", reason(template_id="t3/c/ko/1"), "v1"),
    ]  # fmt: skip
    assert len(set(keys)) == len(keys)
    assert text_key("s", reason(), "v1") == keys[0]


def test_what_is_kept_is_gone_after_its_hours_and_forgotten_by_customer(tmp_path: Any) -> None:
    keep = Keep(SqliteItems(tmp_path), 24)
    assert keep.answer("p", 0.0) is None
    keep.forget("s", None, 0.0)
    keep.put_text("s", "k1", {"text": "a"}, 1.0)
    keep.put_text("s", "k2", {"text": "b"}, 50_000.0)
    keep.put_text("t", "k1", {"text": "c"}, 50_000.0)
    keep.put_answer("p", {"subject": "s"}, 50_000.0)
    assert set(keep.texts("s", 86_400.0)) == {"k1", "k2"}
    assert set(keep.texts("s", 86_401.0)) == {"k2"}
    keep.forget("s", "p", 50_001.0)
    assert (keep.texts("s", 50_001.0), keep.answer("p", 50_001.0)) == ({}, None)
    assert set(keep.texts("t", 50_001.0)) == {"k1"}
    keep.put_answer("q", {}, 200_000.0)
    with closing(sqlite3.connect(tmp_path / FILE)) as database:
        assert database.execute("SELECT key FROM kept").fetchall() == [("answer/q",)]


def test_a_kept_answer_that_is_no_json_is_unreadable(tmp_path: Any) -> None:
    keep = Keep(SqliteItems(tmp_path), 24)
    keep.put_answer("p", {}, 1.0)
    with closing(sqlite3.connect(tmp_path / FILE)) as database, database:
        database.execute("UPDATE kept SET body = '{'")
    with pytest.raises(TableUnreadable, match="answer"):
        keep.answer("p", 2.0)


@pytest.mark.parametrize(
    ("scope", "target", "fallback", "http"),
    [("global", "*", "rule_based", 200), ("cluster", "3", "rule_based", 200), ("global", "*", "disable", 503),
     ("cluster", "3", "disable", 503)],
)  # fmt: skip
def test_a_switch_that_lets_nothing_personal_be_shown_stops_explanations(
    desk: Desk, scope: str, target: str, fallback: str, http: int
) -> None:
    answer = desk.recommend()
    desk.fire(scope, target, fallback)
    found, body = desk.ask_first(answer)
    assert found == http
    if http == 503:
        assert (body["error"]["code"], body["error"]["retryable"]) == ("NO_SAFE_ANSWER", True)
        assert desk.late() == []
    else:
        assert body["text"] == answer["items"][0]["reason"]["text"]


@pytest.mark.parametrize(("channels", "http"), [("branch web", 200), (None, 200), ("web", 403)])
def test_who_asks_is_recorded_and_sees_answers_of_their_own_channels(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, channels: str | None, http: int
) -> None:
    answer = desk.recommend()
    monkeypatch.setenv("SERVE_AUTHORIZER", "jwt")
    asked = {"prediction_id": answer["prediction_id"], "item_id": answer["items"][0]["item_id"]}
    event = local.event(asked, "/v1/reasons")
    claims = {"sub": "u1", "operator_id": "teller-1"} | ({"channels": channels} if channels else {})
    event["requestContext"]["authorizer"] = {"jwt": {"claims": claims}}
    found = respond(event, lambda: desk.service)
    assert found["statusCode"] == http
    if http == 200:
        accesses = [row["payload"] for segment in desk.release.lines() for row in segment if
                    row["header"]["event"] == "data_access"]  # fmt: skip
        given, explained = accesses
        assert explained["operator_ref"] == given["operator_ref"]
        assert (explained["operator_kind"], explained["access_reason"]) == ("human", "branch_initiated")
