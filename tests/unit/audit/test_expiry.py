"""Payloads go by their table's time and by nothing else; every header stays, so the record still proves itself."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipeline_lib.audit import catalogue, expiry, lawful, load, proof, query, record, retained, session, verify
from pipeline_lib.audit.log import Writer
from pipeline_lib.audit.operation import record_operation
from pipeline_lib.audit.segment import Entry
from pipeline_lib.errors import RequestRefused
from pipeline_lib.keys import KeyFolder
from pipeline_lib.objects import Objects, open_objects
from pipeline_lib.settings import Settings
from pipeline_lib.store import QueryStore
from tests.unit.audit.conftest import operation, scratch

OLD = int(datetime(2021, 3, 1, tzinfo=UTC).timestamp() * 1_000_000)
_TABLES = {
    "log_data_access": ("data_access", {"subject_ref": "s_1", "denied": False}),
    "log_model_inference": ("prediction", {"subject_ref": "s_1", "layer": "L3_rules"}),
    "log_attribution": ("attribution", {"method": "rule"}),
    "log_guardrail": ("guardrail", {"verdict": "pass"}),
}


def answers(settings: Settings, count: int, us: int, name: str) -> None:
    """So many answers of four rows, one segment for each, of that time."""
    clock = iter(range(us, us + 1_000_000_000, 1_000_000))
    writer = Writer.open(
        record.store(settings), KeyFolder(settings.place.keys), origin=record.origin(settings),
        key_id=settings.audit.key_id, service="serve", now_us=lambda: next(clock),
    )  # fmt: skip
    for at in range(count):
        of = hashlib.sha256(f"{name}{at}".encode()).hexdigest()[:32]
        entries = [
            Entry(table, event, catalogue.complete(table, known), f"{event}:{of}", of,
                  None if event == "data_access" else of)
            for table, (event, known) in _TABLES.items()
        ]  # fmt: skip
        writer.append(entries)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, shipped: Settings) -> Path:
    """Three answers of 2021 and two of now, under a checkpoint and loaded."""
    home = tmp_path_factory.mktemp("aged")
    made = scratch(shipped, home)
    answers(made, 3, OLD, "old")
    answers(made, 2, int(datetime.now(tz=UTC).timestamp() * 1_000_000) - 60_000_000, "new")
    session.commit(made)
    assert verify.examine(made).verdict == "INTACT"
    return home


@pytest.fixture
def aged(tmp_path: Path, built: Path, shipped: Settings) -> Settings:
    """A copy of that record."""
    shutil.copytree(built, tmp_path / "own")
    return scratch(shipped, tmp_path / "own")


def payloads(settings: Settings) -> dict[str, int]:
    found: dict[str, int] = {}
    for row in session.rows(settings, list(_TABLES)):
        found[row.header["log_table"]] = found.get(row.header["log_table"], 0) + 1
    return found


def raw(settings: Settings) -> Objects:
    return open_objects(settings.place.audit)


def hold(settings: Settings, state: str, of: str = lawful.RECORD) -> None:
    at = datetime.now(tz=UTC).isoformat()
    record_operation(
        settings, lawful.HOLD, f"hold:{of}:{state}:{at}", service="privacy", object_type="hold", object_id=of,
        reason="the court asked for it", actor=("human", "counsel"), details={"state": state},
    )  # fmt: skip


def test_expiry_takes_one_table_of_the_old_answers_and_nothing_else(aged: Settings) -> None:
    before = verify.examine(aged)
    done = expiry.expire(aged, "ops", "three years are over")
    assert (done["segments"], done["payloads"]) == (3, 3)
    assert payloads(aged) == {"log_data_access": 2, "log_model_inference": 5, "log_attribution": 5, "log_guardrail": 5}
    after = verify.examine(aged)
    assert after.verdict == "INTACT", after.findings
    assert after.rows_by_table["log_data_access"] == before.rows_by_table["log_data_access"] == 5
    assert next(check.n for check in after.checks if check.id == "V18") == 3
    assert query.frame(aged, "log_data_access", with_gone=True)["payload"].null_count() == 3
    assert query.frame(aged, "log_data_access").height == 2
    assert len(query.payloads(aged, "log_data_access")) == 2


def test_no_byte_of_an_expired_payload_is_left_in_the_evidence(aged: Settings) -> None:
    expiry.expire(aged, "ops", "three years are over")
    left = [json.loads(row) for key in raw(aged).list("reduced") for row in raw(aged).get(key).splitlines()]
    assert len(left) == 12
    assert [one["payload"] for one in left if one["header"]["log_table"] == "log_data_access"] == [None] * 3
    assert all(one["payload"] for one in left if one["header"]["log_table"] != "log_data_access")


def test_expiry_is_done_once(aged: Settings) -> None:
    expiry.expire(aged, "ops", "three years are over")
    names = raw(aged).list("reduced")
    assert expiry.expire(aged, "ops", "three years are over")["payloads"] == 0
    assert raw(aged).list("reduced") == names


def test_another_table_of_the_same_segments_goes_later(aged: Settings) -> None:
    expiry.expire(aged, "ops", "three years are over")
    days = {**aged.audit.retention.days, "log_guardrail": 180}
    policy = aged.audit.model_copy(update={"retention": aged.audit.retention.model_copy(update={"days": days})})
    settings = aged.model_copy(update={"audit": policy})
    assert expiry.expire(settings, "ops", "half a year is over")["payloads"] == 3
    assert payloads(settings) == {"log_data_access": 2, "log_model_inference": 5, "log_attribution": 5,
                                  "log_guardrail": 2}  # fmt: skip
    assert verify.examine(settings).verdict == "INTACT"


@pytest.mark.parametrize("of", [lawful.RECORD, "s_1"])
def test_a_legal_hold_freezes_expiry_until_it_is_released(aged: Settings, of: str) -> None:
    hold(aged, "held", of)
    with pytest.raises(RequestRefused, match="a legal hold"):
        expiry.expire(aged, "ops", "three years are over")
    assert payloads(aged)["log_data_access"] == 5
    hold(aged, "released", of)
    assert expiry.expire(aged, "ops", "three years are over")["payloads"] == 3


def test_a_record_that_does_not_verify_freezes_expiry(aged: Settings) -> None:
    key = next(key for key in raw(aged).list("seg/") if "serve:" in key)
    raw(aged).put(key, raw(aged).get(key).replace(b"writer_open", b"writer_opem", 1))
    with pytest.raises(RequestRefused, match="does not verify: TAMPERED"):
        expiry.expire(aged, "ops", "three years are over")


def test_rows_that_the_registry_is_computed_from_never_expire(aged: Settings) -> None:
    clock = iter(range(OLD, OLD + 10_000_000, 1_000_000))
    for service in ("promotion", "gate"):
        writer = Writer.open(
            record.store(aged), KeyFolder(aged.place.keys), origin=record.origin(aged), key_id=aged.audit.key_id,
            service=service, now_us=lambda: next(clock),
        )  # fmt: skip
        writer.append([operation(f"swap:{service}", "manifest_swap")])
    session.commit(aged)
    days = {**aged.audit.retention.days, "log_operation": 1}  # below the floor: no file says so
    policy = aged.audit.model_copy(update={"retention": aged.audit.retention.model_copy(update={"days": days})})
    found = expiry.due(aged.model_copy(update={"audit": policy}), ["log_operation"])
    assert [one.segment.split("/")[1].split(":")[0] for one in found] == ["gate"]


def dropped_by_hand(settings: Settings, count: int = 1) -> None:
    """The payloads of a table are taken from so many old segments, without a row that says so."""
    for drop in expiry.due(settings)[:count]:
        retained.reduce([raw(settings)], drop.segment, set(drop.seqs))


def test_a_payload_without_a_row_is_an_early_delete(aged: Settings) -> None:
    dropped_by_hand(aged)
    report = verify.examine(aged)
    assert report.verdict == "TAMPERED"
    found = [one for one in report.findings if one.code == "EARLY_DELETE"]
    assert [(one.seq, one.leaf_index is not None) for one in found] == [(2, True)]


def test_a_payload_nulled_in_place_is_an_early_delete(aged: Settings) -> None:
    key = expiry.due(aged)[0].segment
    raw(aged).put(key, retained.without(raw(aged).get(key), {2}))
    assert verify.examine(aged).codes() == {"EARLY_DELETE"}


@pytest.mark.parametrize("change", [
    {"days": 30}, {"days": 5000}, {"count": 2}, {"digest": "0" * 64}, {"table": "log_guardrail"},
])  # fmt: skip
def test_a_row_that_says_something_else_accounts_for_nothing(aged: Settings, change: dict[str, Any]) -> None:
    drop = expiry.due(aged)[0]
    details = {"drops": [{**drop.item(1095), **change}]}
    expiry._row(aged, "intent", "retention_drop:forged", "ops", "three years are over", details)
    dropped_by_hand(aged)
    assert "EARLY_DELETE" in verify.examine(aged).codes()


def test_a_drop_during_a_hold_is_an_early_delete(aged: Settings) -> None:
    hold(aged, "held")
    drop = expiry.due(aged)[0]
    expiry._row(aged, "intent", "retention_drop:held", "ops", "three years are over", {"drops": [drop.item(1095)]})
    dropped_by_hand(aged)
    assert "EARLY_DELETE" in verify.examine(aged).codes()


def test_what_is_left_of_a_segment_cannot_be_changed(aged: Settings) -> None:
    expiry.expire(aged, "ops", "three years are over")
    key = raw(aged).list("reduced")[0]
    data = raw(aged).get(key)
    raw(aged).put(key, data.replace(b'"verdict":"pass"', b'"verdict":"fail"', 1))
    assert "ROW_ALTERED" in verify.examine(aged).codes()
    raw(aged).put(key, b"\n".join(data.split(b"\n")[1:]))
    assert verify.examine(aged).codes() & {"SEQ_GAP", "TREE_BROKEN", "CHAIN_BROKEN"}
    raw(aged).delete(key)
    assert "STORE_BEHIND_ANCHOR" in verify.examine(aged).codes()


def test_a_row_without_its_payload_is_still_proved_to_a_stranger(aged: Settings, tmp_path: Path) -> None:
    expiry.expire(aged, "ops", "three years are over")
    row = next(
        one
        for one in query.frame(aged, "log_data_access", with_gone=True).iter_rows(named=True)
        if one["payload"] is None
    )
    proof.export(aged, [(row["writer_id"], row["epoch"], row["seq"])], tmp_path / "proof")
    body = (tmp_path / "proof" / "bundle.json").read_bytes()
    command = [sys.executable, "offline_verifier.py", "bundle.json", "checkpoint.pub"]
    said = subprocess.run(command, cwd=tmp_path / "proof", capture_output=True, text=True)  # noqa: S603
    assert "its payload is gone" in said.stdout + said.stderr
    (tmp_path / "proof" / "bundle.json").write_bytes(body.replace(b'"payload":null', b'"payload":{"a":1}'))
    said = subprocess.run(command, cwd=tmp_path / "proof", capture_output=True, text=True)  # noqa: S603
    assert "the payload was changed" in said.stdout + said.stderr
    assert said.returncode != 0


class Killed(Exception):
    """The process ends here."""


STEPS: tuple[tuple[Any, str, int], ...] = (
    (expiry, "remove", 0), (retained, "reduce", 1), (retained, "_next", 1), (load, "rebuild", 0), (load, "rebuild", 1),
)  # fmt: skip


@pytest.mark.parametrize(("module", "name", "calls"), STEPS, ids=[f"{name}{calls}" for _, name, calls in STEPS])
def test_a_run_that_was_killed_is_finished_by_the_next(
    aged: Settings, monkeypatch: pytest.MonkeyPatch, module: Any, name: str, calls: int
) -> None:
    real: Callable[..., Any] = getattr(module, name)
    seen: list[str] = []

    def dies(*given: Any, **named: Any) -> Any:
        seen.append(name)
        if len(seen) > calls:
            raise Killed
        done = real(*given, **named)
        if calls and name in ("remove", "rebuild"):
            raise Killed
        return done

    with monkeypatch.context() as patched:
        patched.setattr(module, name, dies)
        with pytest.raises(Killed):
            expiry.expire(aged, "ops", "three years are over")
    assert verify.examine(aged).codes() <= {"INTENT_OPEN"}
    assert expiry.expire(aged, "ops", "another day")["finished"] == 1
    assert payloads(aged)["log_data_access"] == 2
    assert verify.examine(aged).verdict == "INTACT"


def test_a_crash_between_reduction_and_removal_leaves_no_whole_copy(aged: Settings) -> None:
    drop = expiry.due(aged)[0]
    whole = raw(aged).get(drop.segment)
    retained.reduce([raw(aged)], drop.segment, set(drop.seqs))
    raw(aged).create(drop.segment, whole)
    retained.reduce([raw(aged)], drop.segment, set())
    assert not raw(aged).exists(drop.segment)
    (left,) = retained.generations(raw(aged), drop.segment)
    assert raw(aged).get(left) == retained.without(whole, set(drop.seqs))


def test_a_payload_that_only_the_query_table_lost_is_found(aged: Settings) -> None:
    store = QueryStore(aged.place.query_store)
    name = next(name for name in store.names() if name.startswith("log_guardrail__2021"))
    rows = store.read(name).to_pylist()
    rows[0]["payload"] = None
    store.replace(name, pa.Table.from_pylist(rows, schema=load.SCHEMA))
    found = next(check for check in verify.examine(aged).checks if check.id == "V07")
    assert [one.detail.split(": ")[1] for one in found.findings] == ["the payload is gone here and not in the evidence"]


def test_a_policy_below_the_floor_is_refused(aged: Settings) -> None:
    kept = aged.audit.retention
    with pytest.raises(ValueError, match="log_data_access is kept 730 days or more, found 90"):
        type(kept).model_validate({**kept.model_dump(), "days": {**kept.days, "log_data_access": 90}})
