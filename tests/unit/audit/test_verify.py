"""Verification: intact is said of a whole record only; every injected case is found, where it is."""

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline_lib.audit import (
    attacks,
    catalogue,
    evidence,
    keychange,
    log,
    plan,
    report,
    segment,
    session,
    tamper_drill,
    verify,
)
from pipeline_lib.audit.segment import Chain, Entry
from pipeline_lib.errors import NotVerified, Tampered
from pipeline_lib.keys import KeyFolder
from pipeline_lib.objects import open_objects
from pipeline_lib.settings import Settings

Beat = Callable[..., Entry]


@pytest.fixture(scope="module")
def drill() -> dict[str, tamper_drill.DrillRow]:
    return {row.case: row for row in tamper_drill.run_drill()}


@pytest.mark.parametrize("case", attacks.ATTACKS)
def test_the_attack_is_detected(drill: dict[str, tamper_drill.DrillRow], case: str) -> None:
    assert drill[case].detected == "yes", drill[case]
    assert drill[case].finding.startswith(attacks.ATTACKS[case][1])


def test_an_untouched_record_is_intact_without_findings(drill: dict[str, tamper_drill.DrillRow]) -> None:
    assert drill[tamper_drill.UNTOUCHED] == ("untouched", "-", "INTACT", "")


@pytest.mark.parametrize("case", ["edit: a payload", "edit: a header", "swap: the table of a row"])
def test_the_altered_entry_is_named(drill: dict[str, tamper_drill.DrillRow], case: str) -> None:
    assert drill[case].where.endswith("entry 4 (leaf 4)")


def test_a_committed_record_is_intact(config: Settings, beat: Beat) -> None:
    writer = session.writer(config, "test")
    receipts = [writer.append([beat(f"i-{number}")]) for number in range(5)]
    committed = session.commit(config)
    found = verify.verify(config, receipts)
    assert (found.verdict, found.size, found.root) == ("INTACT", 6, committed["root"])
    assert (found.rows_checked, found.macs_checked, found.leaves_checked, found.rows_unanchored) == (6, 6, 6, 0)
    assert [check.id for check in found.checks] == list(report.TITLES)


def test_rows_above_the_newest_checkpoint_are_counted_as_such(config: Settings, beat: Beat) -> None:
    session.record_once(config, "test", [beat("i-1")])
    session.commit(config)
    session.record_once(config, "test", [beat("i-2")])
    assert verify.verify(config).rows_unanchored == 1


def test_an_empty_record_is_not_intact(config: Settings) -> None:
    with pytest.raises(NotVerified) as raised:
        verify.verify(config)
    assert raised.value.report.verdict == "INCOMPLETE"


def test_a_record_without_checkpoints_is_not_intact(config: Settings, beat: Beat) -> None:
    session.record_once(config, "test", [beat("i-1")])
    with pytest.raises(NotVerified, match="no checkpoint exists"):
        verify.verify(config)


def test_a_missing_key_leaves_the_verdict_incomplete(config: Settings, beat: Beat) -> None:
    session.record_once(config, "test", [beat("i-1")])
    session.commit(config)
    (config.place.keys / f"audit-{config.audit.key_id}.key").unlink()
    with pytest.raises(NotVerified, match="V06"):
        verify.verify(config)


def test_a_query_store_that_lags_too_long_leaves_the_verdict_incomplete(config: Settings, beat: Beat) -> None:
    from pipeline_lib.audit import checkpoint

    session.record_once(config, "test", [beat("i-1")])
    checkpoint.seal(config)
    assert verify.verify(config).verdict == "INTACT"  # just sealed: the load may be under way
    policy = config.audit.model_copy(update={"max_load_lag_minutes": 0})
    with pytest.raises(NotVerified, match="not loaded yet"):
        verify.verify(config.model_copy(update={"audit": policy}))


def test_chains_under_different_keys_all_verify(config: Settings, beat: Beat) -> None:
    session.record_once(config, "test", [beat("i-1")])
    keychange.rotate_mac(config, "kim", "yearly change of keys", "k-202612-01")
    session.record_once(config, "test", [beat("i-2")])
    assert session.record_once(config, "test", [beat("i-1")]).last_seq == 1
    session.commit(config)
    assert verify.verify(config).key_ids == ("k-202611-01", "k-202612-01")


def test_the_job_files_the_report_and_records_the_result_whatever_it_is(config: Settings, beat: Beat) -> None:
    receipt = session.record_once(config, "test", [beat("i-1", reason="aaa")])
    session.commit(config)
    assert session.verify_record(config)["verdict"] == "INTACT"
    key, store = Chain(receipt.origin, receipt.writer_id, 1).key_of(1), session.store(config)
    store.put(key, store.get(key).replace(b"aaa", b"aab"))
    with pytest.raises(Tampered) as raised:
        session.verify_record(config)
    assert raised.value.report.first_bad_leaf == 0
    filed = open_objects(config.place.root)
    verdicts = {json.loads(filed.get(key))["verdict"] for key in filed.list(verify.REPORTS)}
    assert verdicts == {"INTACT", "TAMPERED"}
    assert sum("once:verifier:" in key for key in store.list("seg")) == 2


def test_the_error_survives_pickling(config: Settings, beat: Beat) -> None:
    import pickle

    with pytest.raises(NotVerified) as raised:
        verify.verify(config)
    again = pickle.loads(pickle.dumps(raised.value))  # noqa: S301  Airflow moves errors this way
    assert again.report == raised.value.report


def test_the_page_names_verdict_checks_and_places(config: Settings, beat: Beat) -> None:
    receipt = session.record_once(config, "test", [beat("i-1", reason="a|b")])
    session.commit(config)
    intact = verify.verification_page(session.verification(config))
    assert intact.startswith("# Verification of the record: INTACT")
    assert "No findings." in intact
    assert "no gateway counts requests" in intact
    session.store(config).delete(Chain(receipt.origin, receipt.writer_id, 1).key_of(1))
    page = verify.verification_page(session.verification(config))
    assert page.startswith("# Verification of the record: TAMPERED")
    assert f"WRITER_MISSING | critical | {receipt.writer_id} epoch 1" in page


def serving_entries(number: int, leave_out: str = "") -> list[Entry]:
    """The four rows of one request."""
    enums = {
        "log_data_access": {},
        "log_model_inference": {"layer": "L1_distilled"},
        "log_attribution": {"method": "student_contrib"},
        "log_guardrail": {"verdict": "pass"},
    }
    events = ("data_access", "prediction", "attribution", "guardrail")
    rows = zip(enums, events, strict=True)
    return [
        Entry(table, event, catalogue.complete(table, enums[table]), f"r-{number}:{event}", f"r-{number}",
              None if event == "data_access" else f"p-{number}")
        for table, event in rows
        if event != leave_out
    ]  # fmt: skip


def test_predictions_with_their_full_row_set_pass(config: Settings) -> None:
    writer = session.writer(config, "serve")
    for number in range(3):
        writer.append(serving_entries(number))
    session.commit(config)
    found = verify.verify(config)
    assert next(check for check in found.checks if check.id == "V17").n == 3


@pytest.mark.parametrize("event", ["data_access", "prediction", "attribution", "guardrail"])
def test_a_prediction_without_one_of_its_rows_is_found(config: Settings, event: str) -> None:
    session.writer(config, "serve").append(serving_entries(1, leave_out=event))
    session.commit(config)
    with pytest.raises(NotVerified, match="ROWSET_INCOMPLETE"):
        verify.verify(config)


def test_an_idem_used_twice_within_48_hours_is_found(config: Settings, beat: Beat) -> None:
    writer = session.writer(config, "test")
    for _ in range(2):
        writer.append([beat("i-1")])
    session.commit(config)
    with pytest.raises(Tampered, match="DUPLICATE"):
        verify.verify(config)


def test_an_intent_without_outcome_is_found_after_its_time(config: Settings, keys: KeyFolder, beat: Beat) -> None:
    past = segment.micros("2026-01-01T00:00:00.000000Z")
    writer = log.Writer.open(
        session.store(config), keys, origin=session.origin(config), key_id=config.audit.key_id, service="publish",
        now_us=lambda: past,
    )  # fmt: skip
    writer.append([beat("i-1", phase="intent", action_id="swap-1"), beat("i-2", phase="intent", action_id="swap-2")])
    writer.append([beat("i-3", phase="done", action_id="swap-1")])
    session.commit(config)
    found = session.verification(config)
    assert [(f.code, f.seq) for f in found.findings] == [("INTENT_OPEN", 3)]
    assert found.verdict == "INCOMPLETE"


def test_an_action_recorded_in_one_row_closes_no_intent(config: Settings, keys: KeyFolder, beat: Beat) -> None:
    past = segment.micros("2026-01-01T00:00:00.000000Z")
    writer = log.Writer.open(
        session.store(config), keys, origin=session.origin(config), key_id=config.audit.key_id, service="publish",
        now_us=lambda: past,
    )  # fmt: skip
    hidden = {"phase": "done"}
    writer.append([beat("i-1", phase="intent", action_id="swap-1", details=hidden), beat("i-2", action_id="swap-1")])
    session.commit(config)
    assert session.verification(config).codes() == {"INTENT_OPEN"}


def test_writing_while_verifying_is_never_mistaken_for_tampering(config: Settings, beat: Beat) -> None:
    session.record_once(config, "test", [beat("first")])
    session.commit(config)
    verdicts = []
    writer, stop = session.writer(config, "test"), threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            writer.append([beat(f"i-{number}")])
            session.record_once(config, "test", [beat(f"j-{number}")])

    thread = threading.Thread(target=write)
    thread.start()
    for _ in range(15):
        verdicts.append(verify.examine(config, with_store=False).verdict)
    stop.set()
    thread.join()
    assert set(verdicts) == {"INTACT"}


def test_a_time_after_the_checkpoint_is_a_notice_only(config: Settings, keys: KeyFolder, beat: Beat) -> None:
    future = segment.micros("2096-01-01T00:00:00.000000Z")
    writer = log.Writer.open(
        session.store(config), keys, origin=session.origin(config), key_id=config.audit.key_id, service="test",
        now_us=lambda: future,
    )  # fmt: skip
    writer.append([beat("i-1")])
    session.commit(config)
    found = verify.verify(config)
    assert found.codes() == {"CLOCK_SUSPECT"}
    assert found.verdict == "INTACT"


def test_a_skipped_check_that_is_not_by_design_is_never_intact() -> None:
    checks = [report.Check("V01", "pass", 1), *plan.not_judged()]
    base = report.Report(
        "o", "full", 1, 1, 1, "r", 1, {}, 0, 1, 1, 1, tuple(checks), "100.00", "d", (), "t", "t"
    )  # fmt: skip
    assert base.verdict == "INTACT"
    undone = report.Check("V07", "skipped", 0, (), "the store cannot be read")
    assert replace(base, checks=(*checks, undone)).verdict == "INCOMPLETE"


def test_every_change_of_any_byte_is_found(config: Settings, keys: KeyFolder, beat: Beat) -> None:
    session.writer(config, "test").append([beat("i-1", reason="지점 요청"), beat("i-2")])
    chains = evidence.chains(session.store(config), session.origin(config))
    ((identity, names),) = chains.items()
    start = identity.start(keys.audit_root(config.audit.key_id))
    first, second = (session.store(config).get(name) for name in names)
    _, head, faults = segment.walk(identity, start, first)
    assert faults == []
    assert segment.walk(identity, head, second)[2] == []
    for position in range(len(second)):
        for mask in (0x01, 0x20, 0x80):
            changed = second[:position] + bytes([second[position] ^ mask]) + second[position + 1 :]
            assert segment.walk(identity, head, changed)[2], (position, mask)


def test_every_cut_of_a_segment_is_found(config: Settings, keys: KeyFolder, beat: Beat) -> None:
    receipt = session.record_once(config, "test", [beat("i-1"), beat("i-2"), beat("i-3")])
    session.commit(config)
    identity = Chain(receipt.origin, receipt.writer_id, 1)
    store, key = session.store(config), identity.key_of(1)
    whole = store.get(key)
    cuts = [*range(0, len(whole), 97), *(at + 1 for at, byte in enumerate(whole[:-1]) if byte == ord("\n"))]
    for length in cuts:
        Path(store.url.removeprefix("file://"), key).write_bytes(whole[:length])
        with pytest.raises(Tampered):
            verify.verify(config, with_store=False)
