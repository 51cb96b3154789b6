"""The statements over small hand-written records: what each counts, and what it must not count."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipeline_lib import sql
from pipeline_lib.audit.catalogue import EVENTS, TABLES, complete
from pipeline_lib.comply.evidence import Answer, AsOf, EvidenceBook

DAY = "2026-11-{:02}T0{}:00:00.000000Z"
AS_OF = AsOf("o", 1, "0" * 64, "2026-10-01T00:00:00.000000Z", "2026-12-31T00:00:00.000000Z", "2026-Q4", "INTACT")
Row = tuple[str, str, dict[str, Any]]


def book(rows: list[Row]) -> EvidenceBook:
    """Rows (event, ts, payload) as frames of the record; the entry hash of a row is its place."""
    stored: dict[str, list[dict[str, Any]]] = {table: [] for table in TABLES}
    for place, (event, ts, known) in enumerate(rows):
        ids = {name: known.pop(name, None) for name in ("request_id", "prediction_id")}
        payload = json.dumps(complete(EVENTS[event], known))
        stored[EVENTS[event]].append({"event": event, "ts": ts, "entry_hash": f"e{place}", "payload": payload, **ids})
    names = ["event", "ts", "entry_hash", "payload", "request_id", "prediction_id"]
    schema = dict.fromkeys(names, pl.String)
    return EvidenceBook({table: pl.DataFrame(found, schema=schema) for table, found in stored.items()}, AS_OF)


def ask(name: str, *rows: Row) -> Answer:
    return book(list(rows)).ask(name)


def swap(day: int, decision: str, phase: str = "done") -> Row:
    details = {"decision_id": decision}
    return "manifest_swap", DAY.format(day, 1), {"phase": phase, "action_id": f"swap-{decision}", "details": details}


def verdict(day: int, decision_id: str, version: str, **known: Any) -> Row:
    payload = {"decision_id": decision_id, "challenger_version": version, "decision": "promote", "trigger": "manual"}
    return "promotion_decision", DAY.format(day, 0), {**payload, **known}


def test_the_champion_is_what_was_released_and_not_what_was_decided() -> None:
    rows = [verdict(1, "d1", "v1"), swap(1, "d1"), verdict(2, "d2", "v2"), swap(2, "d2", "intent")]
    assert ask("champion", *rows).one["version"] == "v1"
    assert ask("champion", *rows, swap(2, "d2", "failed")).one["version"] == "v1"
    assert ask("champion", *rows, swap(2, "d2")).one["version"] == "v2"
    assert ask("champion", verdict(1, "d1", "v1")).values == ()


def test_a_release_after_the_period_is_not_of_the_period() -> None:
    late = ("manifest_swap", AS_OF.end, {"phase": "done", "details": {"decision_id": "d1"}})
    assert ask("champion", verdict(1, "d1", "v1"), late).values == ()


def test_training_data_of_a_forced_version_come_from_its_earlier_verdict() -> None:
    rows = [
        verdict(1, "d1", "v1", training_snapshot_hash="abc"),
        verdict(2, "d2", "v1", decision="force_promote"),
        verdict(2, "d3", "v2", training_snapshot_hash="other"),
        swap(3, "d2"),
    ]
    assert ask("training", *rows).one["training_snapshot_hash"] == "abc"


def test_an_act_is_open_until_any_row_ends_it() -> None:
    assert ask("intents", swap(1, "d1", "intent")).one == {"intents": 1, "open_intents": 1}
    voided = ("decision_voided", DAY.format(1, 2), {"phase": "single", "action_id": "swap-d1"})
    for end in (swap(1, "d1"), swap(1, "d1", "failed"), voided):
        assert ask("intents", swap(1, "d1", "intent"), end).one["open_intents"] == 0


def test_an_act_of_the_last_day_is_not_yet_open() -> None:
    fresh = ("manifest_swap", "2026-12-30T00:00:01.000000Z", {"phase": "intent", "action_id": "a"})
    assert ask("intents", fresh).one["intents"] == 0


def result(ts: str, seen: str) -> Row:
    return "verify_result", ts, {"details": {"verdict": seen}}


def test_a_day_in_seoul_is_not_intact_when_one_of_its_verifications_was_not() -> None:
    rows = [
        result("2026-11-01T14:59:59.000000Z", "INTACT"),  # 1 November in Seoul
        result("2026-11-01T15:00:00.000000Z", "TAMPERED"),  # 2 November
        result("2026-11-02T02:00:00.000000Z", "INTACT"),  # 2 November
    ]
    assert ask("verifications", *rows).one == {"days_verified": 2, "days_not_intact": 1, "verifications": 3}


@pytest.mark.parametrize(("state", "despite"), [("in", 0), ("out", 1), ("unreadable", 1)])
@pytest.mark.parametrize(("layer", "by_model"), [("L1_distilled", 1), ("L2_direct", 1), ("L3_rules", 0)])
def test_an_opt_out_that_cannot_be_read_counts_as_out(state: str, despite: int, layer: str, by_model: int) -> None:
    answered = ("prediction", DAY.format(1, 1), {"layer": layer, "optout_state": state})
    assert ask("predictions", answered).one["model_based_despite_opt_out"] == despite * by_model


def row_set(*left_out: str) -> list[Row]:
    ids = {"request_id": "r", "prediction_id": "p"}
    rows: list[Row] = [
        ("data_access", DAY.format(1, 1), {"request_id": "r"}),
        ("prediction", DAY.format(1, 1), {**ids, "layer": "L1_distilled", "requester_kind": "service"}),
        ("attribution", DAY.format(1, 1), {**ids, "method": "student_contrib", "reason_text_hash": "h"}),
        ("guardrail", DAY.format(1, 1), {**ids, "delivered": True, "ai_notice_present": True, "verdict": "pass"}),
    ]
    return [row for row in rows if row[0] not in left_out]


@pytest.mark.parametrize("left_out", ["data_access", "attribution", "guardrail"])
def test_an_answer_without_one_of_its_four_rows_is_incomplete(left_out: str) -> None:
    assert ask("rowsets", *row_set()).one["incomplete"] == 0
    found = ask("rowsets", *row_set(left_out)).one
    assert (found["predictions"], found["incomplete"]) == (1, 1)
    assert found["without_access_row"] == (left_out == "data_access")


def test_a_delivered_answer_is_explained_by_a_reason_that_is_no_rule() -> None:
    assert ask("delivered", *row_set()).one["unexplained"] == 0
    assert ask("delivered", *row_set("attribution")).one["unexplained"] == 1
    for change in ({"method": "rule"}, {"reason_text_hash": None}):
        rows = [(event, ts, known | change if event == "attribution" else known) for event, ts, known in row_set()]
        assert ask("delivered", *rows).one["unexplained"] == 1


def test_what_was_not_delivered_is_not_judged_as_delivered() -> None:
    rows = [(e, ts, known | {"delivered": False} if e == "guardrail" else known) for e, ts, known in row_set()]
    assert ask("delivered", *rows).one["delivered"] == 0
    assert ask("automation", *rows).one["delivered"] == 0
    assert ask("automation", *row_set()).one == {"delivered": 1, "without_a_person": 1}


def traced(*rows: Row, config: str = "c1") -> int:
    answered = {"layer": "L1_distilled", "model_version": "v1", "config_hash": config}
    return int(ask("traced", ("prediction", DAY.format(5, 1), answered), *rows).one["untraced"])


def test_an_answer_is_traced_to_a_champion_its_data_and_its_settings() -> None:
    known = {"training_snapshot_hash": "abc", "gate_config_hash": "c1"}
    assert traced(verdict(1, "d1", "v1", **known)) == 0
    assert traced() == 1
    assert traced(verdict(1, "d1", "v1", **known, decision="reject")) == 1
    assert traced(verdict(1, "d1", "v1", gate_config_hash="c1")) == 1
    assert traced(verdict(1, "d1", "v1", **known), config="c2") == 1
    changed = ("config_change", DAY.format(2, 1), {"after_hash": "c2", "phase": "single"})
    assert traced(verdict(1, "d1", "v1", **known), changed, config="c2") == 0


def test_days_since_a_drill_that_never_was_are_unknown() -> None:
    assert ask("drill").one["days_since"] is None
    drills = [("drill", "2026-12-20T00:00:00.000000Z", {}), ("drill", "2026-11-20T00:00:00.000000Z", {})]
    assert ask("drill", *drills).one["days_since"] == 11


@pytest.mark.parametrize("name", [name for name in sql.names() if name.startswith("comply/")])
def test_a_statement_over_nothing_counts_nothing(name: str) -> None:
    found = book([]).ask(name.removeprefix("comply/"))
    assert found.pointer.rows == 0
    assert found.pointer.rows_sha256 == hashlib.sha256(b"").hexdigest()
    assert all(value in (0, None) for row in found.values for value in row.values())


@pytest.mark.parametrize("name", [name for name in sql.names() if name.startswith("comply/")])
def test_the_same_rows_in_another_order_give_the_same_answer(name: str) -> None:
    window = {"details": {"readings": [{"state": "FAIL"}], "comparisons": [{"attribute": "gender", "group": "F"}]}}
    comparison = [{"metric": "avg_auc", "challenger": "0.7", "champion": "0.6"}]
    fidelity = [{"task": task, "verdict": "pass", "kl": "0.1"} for task in ("b", "a")]
    rows: list[Row] = [
        *row_set(),
        verdict(1, "d1", "v1", comparison=comparison, fidelity=fidelity, training_snapshot_hash="abc"),
        swap(1, "d1", "intent"),
        swap(1, "d1"),
        ("fairness_window", DAY.format(2, 1), window),
        ("drift_window", DAY.format(2, 1), {"details": {"readings": []}}),
        ("drill", DAY.format(3, 1), {}),
        result(DAY.format(3, 2), "INTACT"),
    ]
    short = name.removeprefix("comply/")
    asked = book([(event, ts, dict(known)) for event, ts, known in rows]).ask(short)
    named = {f"e{place}": event for place, (event, _, _) in enumerate(rows)}
    turned = book([(event, ts, dict(known)) for event, ts, known in reversed(rows)]).ask(short)
    assert turned.values == asked.values
    renamed = {f"e{len(rows) - 1 - int(entry[1:])}" for entry in turned.entries}
    assert renamed == set(asked.entries) <= named.keys()
    assert asked.entries


def test_a_question_is_computed_once() -> None:
    one = book(row_set())
    assert one.ask("predictions") is one.ask("predictions")
    assert [pointer.query_id for pointer in one.asked] == ["predictions"]


@pytest.fixture
def statements(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "comply").mkdir()
    monkeypatch.setattr(sql, "ROOT", tmp_path)
    sql.load.cache_clear()
    yield tmp_path / "comply"
    sql.load.cache_clear()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("select 1 as n", "no column named evidence"),
        ("select 0.5::double as rate, ['a'] as evidence", "rate is a float"),
    ],
)
def test_an_answer_without_evidence_or_with_floats_is_refused(statements: Path, text: str, why: str) -> None:
    (statements / "bad.sql").write_text(text)
    with pytest.raises(ValueError, match=why):
        book([]).ask("bad")
