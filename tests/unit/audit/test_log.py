"""Writing: durable or an error, once or never, and nothing inadmissible."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace

import pytest

from pipeline_lib.audit import catalogue, log, segment, session
from pipeline_lib.audit.segment import Chain, Entry
from pipeline_lib.errors import AppendFailed, ChainBroken, SecretMissing, StoreError
from pipeline_lib.keys import KeyFolder
from pipeline_lib.objects import LocalObjects
from pipeline_lib.settings import Settings

Beat = Callable[..., Entry]


def test_a_receipt_is_confirmed_by_the_evidence(config: Settings, beat: Beat) -> None:
    writer = session.writer(config, "test")
    writer.append([beat("i-1")])
    receipt = writer.append([beat("i-2", reason="둘"), beat("i-3")])
    rows = session.confirm(config, receipt)
    assert [row.header["idem"] for row in rows] == ["i-2", "i-3"]
    assert rows[0].payload["reason"] == "둘"
    assert (receipt.first_seq, receipt.last_seq) == (3, 4)  # writer_open is 1


def test_a_receipt_for_other_rows_is_not_confirmed(config: Settings, beat: Beat) -> None:
    writer = session.writer(config, "test")
    receipt = writer.append([beat("i-1")])
    for forged in (
        replace(receipt, last_entry_hash="0" * 64),
        replace(receipt, last_seq=receipt.last_seq + 1),
        replace(receipt, writer_id="test:0000000000000000"),
        replace(receipt, origin="bank.example/audit/prod"),
    ):
        with pytest.raises(ChainBroken):
            session.confirm(config, forged)


def test_every_process_start_is_a_new_chain_that_opens_itself(config: Settings, beat: Beat) -> None:
    receipts = [session.writer(config, "test").append([beat(f"i-{n}")]) for n in range(2)]
    assert receipts[0].writer_id != receipts[1].writer_id
    opened = [row for row in session.rows(config) if row.header["event"] == "writer_open"]
    assert {row.payload["object_id"] for row in opened} == {r.writer_id for r in receipts}
    assert all(row.payload["config_hash"] == config.config_hash for row in opened)


def test_a_closed_writer_takes_nothing_more(config: Settings, beat: Beat) -> None:
    writer = session.writer(config, "test")
    writer.close()
    with pytest.raises(AppendFailed, match="closed"):
        writer.append([beat("i-1")])


def test_what_is_recorded_once_keeps_its_first_receipt(config: Settings, beat: Beat) -> None:
    first = session.record_once(config, "gate", [beat("verdict-1"), beat("verdict-1b")])
    again = session.record_once(config, "gate", [beat("verdict-1"), beat("verdict-1b")])
    assert first == again
    assert len(list(session.rows(config))) == 2
    assert len(session.confirm(config, again)) == 2


@pytest.mark.parametrize("change", ["payload", "more entries", "fewer entries", "table"])
def test_another_payload_under_the_same_idem_is_refused(config: Settings, beat: Beat, change: str) -> None:
    session.record_once(config, "gate", [beat("verdict-1", reason="kl"), beat("verdict-1b")])
    other = {
        "payload": [beat("verdict-1", reason="kk"), beat("verdict-1b")],
        "more entries": [beat("verdict-1", reason="kl"), beat("verdict-1b"), beat("verdict-1c")],
        "fewer entries": [beat("verdict-1", reason="kl")],
        "table": [beat("verdict-1", event="drill", reason="kl"), beat("verdict-1b")],
    }[change]
    with pytest.raises(AppendFailed, match="other entries"):
        session.record_once(config, "gate", other)
    assert len(list(session.rows(config))) == 2


def test_a_hundred_resends_from_threads_leave_one_set_of_rows(config: Settings, beat: Beat) -> None:
    receipts = []
    send = lambda: receipts.append(session.record_once(config, "gate", [beat("verdict-1")]))  # noqa: E731
    threads = [threading.Thread(target=send) for _ in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(receipts) == 100
    assert len(set(receipts)) == 1
    assert len(list(session.rows(config))) == 1


def test_a_receipt_is_not_given_for_a_planted_object(config: Settings, beat: Beat) -> None:
    session.record_once(config, "gate", [beat("verdict-1")])
    store, chain = session.store(config), log.once_chain(session.origin(config), "gate", "verdict-1")
    store.put(chain.key_of(1), store.get(chain.key_of(1)).replace(b'"hmac":"', b'"hmac":"0', 1))
    with pytest.raises(AppendFailed, match="does not verify"):
        session.record_once(config, "gate", [beat("verdict-1")])


class BrokenStore(LocalObjects):
    """A store that fails a given number of writes, before or after they took effect."""

    failures, after = 0, False

    def create(self, key: str, data: bytes) -> None:
        if self.after:
            super().create(key, data)
        if self.failures:
            self.failures -= 1
            raise StoreError("503 slow down")
        if not self.after:
            super().create(key, data)


@pytest.fixture
def broken(config: Settings) -> BrokenStore:
    return BrokenStore(config.place.keys.parent / "audit")


def open_writer(store: LocalObjects, keys: KeyFolder) -> log.Writer:
    return log.Writer.open(store, keys, origin="bank.example/audit/local", key_id="k-202611-01", service="test")


@pytest.mark.parametrize("after", [False, True], ids=["lost write", "lost answer"])
def test_one_lost_write_is_retried_with_the_same_bytes(
    config: Settings, keys: KeyFolder, broken: BrokenStore, beat: Beat, after: bool
) -> None:
    writer = open_writer(broken, keys)
    broken.failures, broken.after = 1, after
    receipt = writer.append([beat("i-1")])
    assert len(session.confirm(config, receipt)) == 1


def test_an_append_that_is_not_durable_raises_and_stops_the_chain(
    config: Settings, keys: KeyFolder, broken: BrokenStore, beat: Beat
) -> None:
    writer = open_writer(broken, keys)
    broken.failures = 2
    with pytest.raises(AppendFailed, match="not known to be durable"):
        writer.append([beat("i-1")])
    with pytest.raises(AppendFailed, match="was stopped"):
        writer.append([beat("i-2")])
    assert [row.header["event"] for row in session.rows(config)] == ["writer_open"]


def test_a_second_writer_of_the_same_chain_is_stopped(config: Settings, keys: KeyFolder, beat: Beat) -> None:
    store = session.store(config)
    writer = open_writer(LocalObjects(config.place.keys.parent / "audit"), keys)
    receipt = writer.append([beat("i-1")])
    store.create(Chain(receipt.origin, receipt.writer_id, 1).key_of(3), b"somebody else's longer segment")
    with pytest.raises(AppendFailed, match="EPOCH_CONFLICT"):
        writer.append([beat("i-2"), beat("i-3")])


def test_a_clock_that_goes_back_is_clamped_and_flagged(config: Settings, keys: KeyFolder, beat: Beat) -> None:
    times = iter([1_000_000, 500_000, 2_000_000])
    writer = log.Writer.open(
        session.store(config), keys, origin=session.origin(config), key_id=config.audit.key_id, service="test",
        clock_offset_ms=3, now_us=lambda: next(times),
    )  # fmt: skip
    writer.append([beat("i-1"), beat("i-2")])
    writer.append([beat("i-3")])
    rows = [(row.header["ts"][17:], row.header["clock"]) for row in session.rows(config)]
    assert rows == [
        ("01.000000Z", "ok"), ("01.000001Z", "adjusted"), ("01.000002Z", "adjusted"), ("02.000000Z", "ok"),
    ]  # fmt: skip


INADMISSIBLE = {
    "float": lambda e: replace(e, payload={**e.payload, "details": {"kl": 0.5}}),
    "missing column": lambda e: replace(e, payload={"phase": "single"}),
    "unknown column": lambda e: replace(e, payload={**e.payload, "colour": "red"}),
    "unknown event": lambda e: replace(e, event="party"),
    "event of another table": lambda e: replace(e, event="prediction"),
    "enum": lambda e: replace(e, payload={**e.payload, "severity": "dreadful"}),
    "human without reason": lambda e: replace(e, payload={**e.payload, "actor_kind": "human", "reason": None}),
    "caller's own salt": lambda e: replace(e, payload={**e.payload, "salt": "AAAA"}),
    "free key": lambda e: replace(e, payload={**e.payload, "details": {"Task A": 1}}),
    "huge integer": lambda e: replace(e, payload={**e.payload, "try_number": 2**53}),
    "surrogate": lambda e: replace(e, payload={**e.payload, "reason": "\ud800"}),
    "NUL": lambda e: replace(e, payload={**e.payload, "reason": "a\x00b"}),
    "64 KiB": lambda e: replace(e, payload={**e.payload, "reason": "x" * 65_536}),
    "4 KiB header": lambda e: replace(e, request_id="x" * 4096),
    "no idem": lambda e: replace(e, idem=""),
    "surrogate in idem": lambda e: replace(e, idem="\ud800"),
}


@pytest.mark.parametrize("why", INADMISSIBLE)
def test_inadmissible_entries_are_refused_and_the_chain_goes_on(config: Settings, beat: Beat, why: str) -> None:
    writer = session.writer(config, "test")
    with pytest.raises(AppendFailed, match="not admissible"):
        writer.append([beat("i-1"), INADMISSIBLE[why](beat("i-2"))])
    assert writer.append([beat("i-3")]).first_seq == 2


@pytest.mark.parametrize("text", ["é vs é", "😀", "مرحبا", "\x7f", "\u2028", '\x01\t\n"\\', "1e-7", "-0"])
def test_awkward_text_is_stored_and_read_back(config: Settings, beat: Beat, text: str) -> None:
    receipt = session.record_once(config, "test", [beat(f"i {text}", reason=text)])
    (row,) = session.confirm(config, receipt)
    assert row.payload["reason"] == __import__("unicodedata").normalize("NFC", text)


def test_no_root_key_means_no_record(config: Settings) -> None:
    (config.place.keys / f"audit-{config.audit.key_id}.key").unlink()
    with pytest.raises(SecretMissing):
        session.writer(config, "test")


def test_a_key_of_equal_bytes_is_no_key(config: Settings) -> None:
    (config.place.keys / f"audit-{config.audit.key_id}.key").write_bytes(bytes(32))
    with pytest.raises(SecretMissing):
        session.writer(config, "test")


def test_a_service_name_cannot_leave_its_folder(config: Settings) -> None:
    for service in ("../x", "", "A b", "once", "a/b"):
        with pytest.raises(AppendFailed):
            session.writer(config, service)


def test_a_column_the_table_does_not_have_is_an_error_when_completing() -> None:
    assert catalogue.complete("log_guardrail", {"verdict": "pass"})["tier"] is None
    with pytest.raises(ValueError, match="colour"):
        catalogue.complete("log_guardrail", {"colour": "red"})
    with pytest.raises(ValueError, match="log_party"):
        catalogue.complete("log_party", {})


def test_timestamps_survive_the_way_back() -> None:
    for us in (0, 1, 1_793_000_000_123_456):
        assert segment.micros(segment.timestamp(us)) == us


def test_the_writing_side_needs_no_third_party_package() -> None:
    code = (
        "import sys\nfrom pipeline_lib.audit import log\n"
        "roots = {m.split('.')[0] for m in sys.modules} - set(sys.stdlib_module_names) - {'pipeline_lib'}\n"
        "print(sorted(r for r in roots if not r.startswith('_')))"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    )  # fmt: skip
    assert done.stdout.strip() == "[]"
