"""The command that asks the released version on this machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline_lib.audit import session
from pipeline_lib.cli_person import person
from pipeline_lib.errors import AppendFailed, ObjectMissing, SettingsError
from pipeline_lib.keys import KeyFolder, subject_ref
from pipeline_lib.publish.targets.local_target import LocalTarget
from pipeline_lib.registry import versions
from pipeline_lib.runs import RunContext
from pipeline_lib.serve import __main__ as command
from pipeline_lib.serve import local
from pipeline_lib.settings import Place


@pytest.fixture
def home(own_bank: RunContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunContext:
    place, version = own_bank.settings.place, own_bank.read("package").facts["version"]
    target = LocalTarget.at(place.target.removeprefix("file://"))
    copy = versions.load(own_bank.objects, KeyFolder(place.keys), version, tmp_path / "copy")
    target.publish(copy)
    target.shift(version)
    monkeypatch.setenv("PIPELINE_HOME", str(place.home))
    return own_bank


def test_a_bank_of_the_past_is_asked_in_its_own_time(home: RunContext, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--dataset", "synthetic", "--customer", "c5", "--tolerance", "3"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["status"] == "ok"
    assert shown["items"]
    assert shown["tasks"]["churn_signal"]["layer"] == 1
    assert shown["receipt"]["writer_id"].startswith("serve:")


def test_a_tolerance_that_is_typed_is_in_the_record_with_who_typed_it(home: RunContext) -> None:
    for tolerance in ("3", "2", "3"):
        command.main(["--dataset", "synthetic", "--customer", "c5", "--tolerance", tolerance])
    rows = [row for row in session.rows(home.settings, ["log_operation"]) if row.header["event"] == local.RECORDED]
    rows.sort(key=lambda row: row.header["ts"])
    subject = subject_ref(KeyFolder(home.settings.place.keys).pepper(), "c5")
    assert [row.payload["details"]["tolerance"] for row in rows] == [3, 2, 3]
    assert {(row.payload["actor_kind"], row.payload["actor_ref"]) for row in rows} == {("human", person())}
    assert {row.payload["object_id"] for row in rows} == {subject}


def test_a_tolerance_that_cannot_be_recorded_is_not_stored(home: RunContext, monkeypatch: pytest.MonkeyPatch) -> None:
    def down(*_: object, **__: object) -> None:
        raise AppendFailed("the record is down")

    monkeypatch.setattr(local, "record_operation", down)
    assert command.main(["--dataset", "synthetic", "--customer", "c5", "--tolerance", "3"]) == 2
    subject = subject_ref(KeyFolder(home.settings.place.keys).pepper(), "c5")
    assert local.open_local(home.settings).tables.assessment(subject).tolerance is None


def test_a_request_file_is_replayed(home: RunContext, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "request.json"
    file.write_text(json.dumps({"customer_id": "c5", "channel": "web"}))
    assert command.main(["--dataset", "synthetic", str(file)]) == 1
    assert json.loads(capsys.readouterr().out)["error"]["message"].startswith("access_reason")


def test_health_names_the_version(home: RunContext, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--dataset", "synthetic", "--health"]) == 0
    assert json.loads(capsys.readouterr().out)["version"] == home.read("package").facts["version"]


def test_no_served_rows_is_said_plainly(bank: Any, tmp_path: Path) -> None:
    empty = bank.settings.model_copy(update={"place": Place(dataset="synthetic", home=tmp_path)})
    with pytest.raises(ObjectMissing, match="no feature rows are served yet"):
        local.refreshed_on(empty)


def test_nothing_released_is_said_plainly(bank: Any) -> None:
    with pytest.raises(SettingsError, match="nothing is released"):
        local.environment(bank.settings)
