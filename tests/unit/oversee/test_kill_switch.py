"""One person turns models off, two turn them on again, and the record has every call."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from pipeline_lib import cli, cli_person, signing
from pipeline_lib.audit import session
from pipeline_lib.business_time import utc_now
from pipeline_lib.errors import AuditError, PipelineError, RequestRefused
from pipeline_lib.items import TableUnreadable
from pipeline_lib.keys import KeyFolder
from pipeline_lib.objects import open_objects
from pipeline_lib.oversee import kill_switch, switch_state, unrecorded
from pipeline_lib.oversee.switch_state import Switch
from pipeline_lib.publish.tables import FAIRNESS, STATE_TABLES
from pipeline_lib.runs import RunContext
from pipeline_lib.serve import local
from pipeline_lib.settings import Settings
from tests.unit.serve.conftest import Release, bank, own_bank, request_body
from tests.unit.serve.stores import make_tables

__all__ = ["bank", "own_bank", "request_body"]
WHY = "scores of one branch are absurd"
LOOKED = "the readings of the night are back within their limits"
EVERYBODY = Switch("global", "*", "rule_based")
CHURN = Switch("task", "churn_signal", "rule_based")


def place(made: Settings) -> Settings:
    """A place with keys and empty tables of oversight."""
    keys = KeyFolder(made.place.keys)
    keys.create_secrets(made.audit.key_id)
    signing.create_keys(keys)
    with closing(sqlite3.connect(":memory:")) as database:
        database.executescript(STATE_TABLES + FAIRNESS)
        open_objects(made.place.root).put(f"serving/{made.source.name}/state.sqlite", database.serialize())
    return made


@pytest.fixture(params=["sqlite", "dynamodb"])
def settings(request: pytest.FixtureRequest, make_settings: Callable[..., Settings]) -> Settings:
    if request.param == "sqlite":
        return place(make_settings())
    request.getfixturevalue("aws")
    make_tables()
    return place(make_settings(tables="dynamodb:bank-"))


@pytest.fixture
def one_place(make_settings: Callable[..., Settings]) -> Settings:
    return place(make_settings())


def fire(settings: Settings, switch: Switch = EVERYBODY, by: str = "ann", request: str = "r1") -> dict[str, Any]:
    return kill_switch.fire(settings, switch, by, WHY, request)


def ask(settings: Settings, switch_id: str = "global", by: str = "ann") -> dict[str, Any]:
    return kill_switch.ask_to_clear(settings, switch_id, by, LOOKED, "INC-7", "reading of the night")


def clear(settings: Settings, switch_id: str = "global", by: str = "ben") -> dict[str, Any]:
    return kill_switch.clear(settings, switch_id, by, LOOKED)


def said(settings: Settings, event: str) -> list[dict[str, Any]]:
    rows = session.rows(settings, ["log_operation"])
    found = [row for row in rows if row.header["event"] == event]
    return [row.payload for row in sorted(found, key=lambda row: row.header["ts"])]


def on(settings: Settings) -> list[str]:
    return [one.switch_id for one in kill_switch.board(settings) if one.active]


def test_a_switch_is_on_when_the_call_returns_and_is_in_the_record(settings: Settings) -> None:
    assert fire(settings, CHURN) == {
        "switch": "task:churn_signal", "version": 1, "duplicate": False, "recorded": True,
    }  # fmt: skip
    assert on(settings) == ["task:churn_signal"]
    (row,) = said(settings, "kill_switch_fired")
    assert (row["actor_ref"], row["reason"], row["severity"]) == ("ann", WHY, "critical")
    assert (row["details"]["state_version"], row["details"]["duplicate"]) == (1, False)


def test_firing_again_changes_nothing_and_is_recorded(settings: Settings) -> None:
    fire(settings)
    assert fire(settings, by="ben", request="r2")["duplicate"]
    rows = said(settings, "kill_switch_fired")
    assert [row["details"]["state_version"] for row in rows] == [1, 1]
    assert [row["severity"] for row in rows] == ["critical", "info"]


def test_two_people_turn_models_on_again(settings: Settings) -> None:
    fire(settings)
    assert ask(settings)["waits_for"] == "anybody but ann"
    assert on(settings) == ["global"]
    assert clear(settings) == {"switch": "global", "version": 2, "asked_by": "ann", "by": "ben"}
    assert on(settings) == []
    intent, done = said(settings, "kill_switch_cleared")
    assert (intent["phase"], done["phase"], intent["action_id"]) == ("intent", "done", done["action_id"])
    assert (done["actor_ref"], done["details"]["second_actor"], done["details"]["incident_id"]) == (
        "ben",
        "ann",
        "INC-7",
    )


@pytest.mark.parametrize("by", ["ann", " ANN "])
def test_one_person_is_not_two(settings: Settings, by: str) -> None:
    fire(settings)
    ask(settings)
    with pytest.raises(RequestRefused, match="second person"):
        clear(settings, by=by)
    assert on(settings) == ["global"]


def test_a_request_ends_after_an_hour(one_place: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    fire(one_place)
    ask(one_place)
    with monkeypatch.context() as later:
        later.setattr(kill_switch, "utc_now", lambda: utc_now() + kill_switch.WAITS + timedelta(seconds=1))
        with pytest.raises(RequestRefused, match="nobody asked for it within the hour"):
            clear(one_place)
    assert clear(one_place)["version"] == 2


def test_a_request_is_for_the_switch_as_it_was(settings: Settings) -> None:
    """Fired, asked, cleared, and fired for another reason: the old request clears nothing."""
    fire(settings)
    ask(settings)
    clear(settings)
    fire(settings, request="r2")
    with pytest.raises(RequestRefused, match="nobody asked"):
        clear(settings)
    assert on(settings) == ["global"]


def test_nothing_personal_outranks_rules_and_not_the_other_way_round(settings: Settings) -> None:
    fire(settings)
    assert fire(settings, Switch("global", "*", "disable"), request="r2")["version"] == 2
    assert fire(settings, request="r3")["duplicate"]
    assert [(one.fallback, one.version) for one in kill_switch.board(settings)] == [("disable", 2)]


@pytest.mark.parametrize(
    ("scope", "target", "fallback", "match"),
    [
        ("everything", "*", "rule_based", "scope is one of global, task, cluster"),
        ("global", "churn_signal", "rule_based", r"target of scope global is \*"),
        ("task", "chrun_signal", "rule_based", "target of scope task is churn_signal"),
        ("cluster", "seven", "rule_based", "is a number from 0 to 19"),
        ("cluster", "20", "rule_based", "is a number from 0 to 19, found '20'"),
        ("cluster", "99", "rule_based", "is a number from 0 to 19, found '99'"),
        ("task", "churn_signal", "disable", "fallback of scope task is rule_based"),
        ("global", "*", "previous_model", "rule_based or disable"),
    ],
)
def test_what_the_function_would_not_understand_is_refused(
    one_place: Settings, scope: str, target: str, fallback: str, match: str
) -> None:
    with pytest.raises(RequestRefused, match=match):
        Switch.typed(one_place, scope, target, fallback)


@pytest.mark.parametrize(("by", "reason"), [("", WHY), ("ann", "test"), ("ann", "aaaaaaaaaaaa")])
def test_nobody_fires_without_a_name_and_a_reason(one_place: Settings, by: str, reason: str) -> None:
    with pytest.raises(RequestRefused):
        kill_switch.fire(one_place, EVERYBODY, by, reason, "r1")
    assert on(one_place) == []


def test_while_the_record_is_down_a_switch_can_be_fired_and_not_cleared(
    one_place: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    down(monkeypatch)
    assert fire(one_place) == {"switch": "global", "version": 1, "duplicate": False, "recorded": False}
    assert on(one_place) == ["global"]
    with pytest.raises(AuditError):
        ask(one_place)
    monkeypatch.undo()
    assert said(one_place, "kill_switch_fired") == []
    ask(one_place)
    assert [row["details"]["state_version"] for row in said(one_place, "kill_switch_fired")] == [1]
    assert unrecorded.settle(one_place, open_objects(one_place.place.root)) == 0


def down(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AuditError("the record is down")

    monkeypatch.setattr(unrecorded, "record_operation", refuse)


def test_with_no_place_left_to_keep_it_the_switch_is_on_and_the_operator_is_told(
    one_place: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    down(monkeypatch)
    folder = Path(one_place.place.root.removeprefix("file://")) / unrecorded.FOLDER
    folder.parent.mkdir()
    folder.write_text("a file where the store wants a folder")
    monkeypatch.setattr(cli.settings, "load", lambda: one_place)
    typed = ["switch", "fire", "--scope", "global", "--operator", cli_person.person(), "--reason", WHY, "--json"]
    assert cli.main(typed) == 7
    shown = json.loads(capsys.readouterr().out)
    assert shown["error"] == "DoneUnrecorded"
    assert shown["message"].startswith("global IS ON (version 1). kill_switch_fired of global was done; the record is")
    assert json.loads(shown["message"].split("the row: ")[1])["reason"] == WHY
    assert on(one_place) == ["global"]
    monkeypatch.undo()
    folder.unlink()
    assert fire(one_place, request="r2") == {"switch": "global", "version": 1, "duplicate": True, "recorded": True}


def test_a_recorded_row_does_not_wait_because_an_older_one_cannot_be_settled(
    one_place: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects = open_objects(one_place.place.root)

    def refuse(*_: object) -> int:
        raise AuditError("the record is down again")

    monkeypatch.setattr(unrecorded, "settle", refuse)
    assert fire(one_place)["recorded"]
    assert objects.list(unrecorded.FOLDER) == []
    assert len(said(one_place, "kill_switch_fired")) == 1


def test_settlements_at_once_record_each_row_once_and_none_fails(
    one_place: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects = open_objects(one_place.place.root)
    with monkeypatch.context() as without:
        down(without)
        for number in range(12):
            fire(one_place, request=f"r{number}")
    start = Barrier(4)

    def settle(_: int) -> int:
        start.wait()
        return unrecorded.settle(one_place, objects)

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(settle, range(4))) >= 12
    assert objects.list(unrecorded.FOLDER) == []
    assert len(said(one_place, "kill_switch_fired")) == 12


def test_a_row_that_another_settled_meanwhile_is_passed_over(
    one_place: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects = open_objects(one_place.place.root)
    with monkeypatch.context() as without:
        down(without)
        fire(one_place, request="r1")
        fire(one_place, request="r2")
    real, other = unrecorded.write, open_objects(one_place.place.root)

    def write(settings: Settings, row: Any) -> Any:
        """While the first row is written somebody else settles all of them."""
        monkeypatch.setattr(unrecorded, "write", real)
        assert unrecorded.settle(settings, other) == 2
        return real(settings, row)

    monkeypatch.setattr(unrecorded, "write", write)
    assert unrecorded.settle(one_place, objects) == 1
    assert len(said(one_place, "kill_switch_fired")) == 2


@pytest.mark.parametrize("step", ["before", "after"])
def test_a_clearing_that_was_cut_off_is_finished_by_the_same_call(
    one_place: Settings, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    fire(one_place)
    ask(one_place)
    swapped = switch_state.swapped

    def dies(*given: Any) -> bool:
        if step == "after":
            swapped(*given)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(switch_state, "swapped", dies)
        with pytest.raises(KeyboardInterrupt):
            clear(one_place)
    assert clear(one_place)["version"] == 2
    assert on(one_place) == []
    assert [row["phase"] for row in said(one_place, "kill_switch_cleared")] == ["intent", "done"]


def test_a_thousand_calls_end_in_one_state_and_a_thousand_entries(one_place: Settings) -> None:
    with ThreadPoolExecutor(16) as pool:
        made = list(pool.map(lambda i: fire(one_place, request=f"r{i}"), range(1000)))
    assert sum(not one["duplicate"] for one in made) == 1
    assert [(one.switch_id, one.version) for one in kill_switch.board(one_place)] == [("global", 1)]
    assert len(said(one_place, "kill_switch_fired")) == 1000
    session.commit(one_place)
    assert session.verification(one_place).verdict == "INTACT"


def test_fired_and_cleared_at_once_leaves_one_history(settings: Settings) -> None:
    """Versions of the changes are contiguous, and the state is what the last of them says."""

    def turn(i: int) -> None:
        try:
            if i % 3 == 0:
                fire(settings, by="ann", request=f"r{i}")
            elif i % 3 == 1:
                ask(settings, by="ann")
            else:
                clear(settings, by="ben")
        except RequestRefused:
            pass

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(turn, range(60)))
    fired = {row["details"]["state_version"] for row in said(settings, "kill_switch_fired")}
    cleared = [
        row["details"]["state_version"] for row in said(settings, "kill_switch_cleared") if row["phase"] == "done"
    ]
    (now,) = kill_switch.board(settings)
    assert sorted(fired | set(cleared)) == list(range(1, now.version + 1))
    assert fired.isdisjoint(cleared)
    assert now.active == (now.version in fired)


def test_the_next_answer_is_by_rules_and_the_one_after_clearing_by_models(
    own_bank: RunContext, tmp_path: Path, request_body: Callable[..., Any]
) -> None:
    release = Release.of(own_bank, tmp_path / "served")
    serving = f"file://{local.tables_folder(own_bank.settings)}"
    service = release.service(SERVE_TABLES=serving)
    service.tables.switch_cache_ms = 0

    def layers() -> set[int]:
        answer = local.ask(service, request_body())
        return {one["layer"] for one in answer["tasks"].values()}

    assert layers() != {3}
    fire(own_bank.settings)
    assert layers() == {3}
    ask(own_bank.settings)
    clear(own_bank.settings)
    assert layers() != {3}


def test_a_place_that_the_function_does_not_read_is_refused(make_settings: Callable[..., Settings]) -> None:
    with pytest.raises(PipelineError, match="file:///folder"):
        fire(make_settings(root="s3://bucket/store"))


def test_tables_that_are_gone_are_named(one_place: Settings) -> None:
    shutil.rmtree(local.tables_folder(one_place))
    with pytest.raises(TableUnreadable, match="kill_switch"):
        fire(one_place)


def test_on_call_types_it(
    one_place: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli.settings, "load", lambda: one_place)
    me = cli_person.person()
    fired = ["switch", "fire", "--scope", "task", "--target", "churn_signal", "--operator", me, "--reason", WHY]
    assert cli.main([*fired, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["switch"] == "task:churn_signal"
    assert cli.main(["switch", "status"]) == 0
    assert "task:churn_signal" in capsys.readouterr().out
    asked = ["switch", "clear", "--switch", "task:churn_signal", "--ticket", "INC-7", "--evidence", "reading",
             "--operator", me, "--reason", LOOKED]  # fmt: skip
    assert cli.main(asked) == 6
    assert cli.main(["switch", "agree", "--switch", "task:churn_signal", "--statement", LOOKED]) == 2
    assert "second person" in capsys.readouterr().err
    assert cli.main(["switch", "fire", "--scope", "global", "--operator", "somebody", "--reason", WHY]) == 2
    assert on(one_place) == ["task:churn_signal"]
