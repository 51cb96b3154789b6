"""Keys of the record change: who may write with which, from when to when, and what a stolen old key is worth."""

import json
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest

from pipeline_lib import cli, signing
from pipeline_lib.audit import anchors, checkpoint, keychange, keyring, log, note, proof, record, session, verify
from pipeline_lib.audit import offline_verifier as offline
from pipeline_lib.audit.segment import Entry, micros, timestamp
from pipeline_lib.business_time import utc_now
from pipeline_lib.cli_person import person
from pipeline_lib.errors import AppendFailed, AuditError, RequestRefused, SecretMissing, StoreError, Tampered
from pipeline_lib.keys import KeyFolder
from pipeline_lib.objects import LocalObjects, open_objects
from pipeline_lib.records import Receipt
from pipeline_lib.serve.recorder import Recorder
from pipeline_lib.settings import Settings

from .conftest import operation

Beat = Callable[..., Entry]
FIRST, SECOND, THIRD = "k-202611-01", "k-202611-02", "k-202611-03"
REASON = "the yearly change of keys"


def rotate(config: Settings, key_id: str | None = None) -> tuple[str, str]:
    return keychange.rotate_mac(config, "kim", REASON, key_id)


def forged(config: Settings, key_id: str, ts: str | None = None) -> None:
    """A new chain by somebody who has an old key, at a time of their choice."""
    now_us = micros(ts) if ts else log._system_us()
    keys, origin = KeyFolder(config.place.keys), session.origin(config)
    log.Writer.open(session.store(config), keys, origin=origin, key_id=key_id, service="thief", now_us=lambda: now_us)


def history(config: Settings) -> list[anchors.Anchor]:
    return anchors.history(open_objects(config.place.anchors), KeyFolder(config.place.keys), session.origin(config))


def codes(config: Settings) -> dict[str, list[str]]:
    """Finding code -> chains."""
    found: dict[str, list[str]] = {}
    for finding in verify.examine(config).findings:
        found.setdefault(finding.code, []).append(str(finding.writer_id))
    return found


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Moves the clock of checkpoints and verification by so many hours."""

    def move(hours: float) -> None:
        def moved() -> datetime:
            return utc_now() + timedelta(hours=hours)

        monkeypatch.setattr(checkpoint, "utc_now", moved)
        monkeypatch.setattr(verify, "utc_now", moved)

    return move


def test_rows_under_three_keys_verify_and_new_ones_use_the_newest(config: Settings) -> None:
    receipts = [session.record_once(config, "test", [operation("i-0")])]
    for number, expected in ((1, (FIRST, SECOND)), (2, (SECOND, THIRD))):
        assert rotate(config, expected[1]) == expected
        receipts.append(session.record_once(config, "test", [operation(f"i-{number}")]))
    session.commit(config)
    report = verify.verify(config, receipts)
    assert report.key_ids == (FIRST, SECOND, THIRD)
    assert [session.confirm(config, r)[0].header["key_id"] for r in receipts] == [FIRST, SECOND, THIRD]
    states = {key.key_id: key.state for key in record.ring(config).keys}
    assert states == {FIRST: "retired", SECOND: "retired", THIRD: "active"}


def test_the_next_free_name_of_the_month_is_given(config: Settings) -> None:
    month = f"k-{utc_now():%Y%m}"
    expected = [f"{month}-{n:02}" for n in range(1, 9) if f"{month}-{n:02}" != config.audit.key_id]
    assert [rotate(config)[1], rotate(config)[1]] == expected[:2]


def test_the_rotation_is_two_rows_and_the_second_shows_both_keys(config: Settings, keys: KeyFolder) -> None:
    rotate(config, SECOND)
    rows = [row for row in session.rows(config) if row.header["event"] in (keyring.REGISTER, keyring.ROTATE)]
    rows.sort(key=lambda row: str(row.header["ts"]))
    assert [(row.header["event"], row.payload["phase"], row.header["key_id"]) for row in rows] == [
        (keyring.REGISTER, "intent", FIRST), (keyring.ROTATE, "done", FIRST),
    ]  # fmt: skip
    assert {(row.payload["actor_ref"], row.payload["reason"]) for row in rows} == {("kim", REASON)}
    details = rows[1].payload["details"]
    assert details["mac_next"] == keyring.mac_next(keys.audit_root(SECOND), details)


def test_a_rotation_cut_off_is_finished_by_asking_again(config: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    written = keychange._written

    def cut(*given: object) -> keyring.Ring:
        if given[2] == keyring.ROTATE:
            raise OSError("the power went out")
        return written(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(keychange, "_written", cut)
    with pytest.raises(OSError, match="power"):
        rotate(config, SECOND)
    monkeypatch.setattr(keychange, "_written", written)
    assert record.ring(config).active == FIRST
    with pytest.raises(RequestRefused, match="not finished"):
        rotate(config, THIRD)
    assert rotate(config) == (FIRST, SECOND)
    session.commit(config)
    assert verify.verify(config).verdict == "INTACT"


def test_a_key_announced_and_called_off_may_not_be_used(config: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(keyring, "mac_next", lambda root, details: (_ for _ in ()).throw(OSError("cut")))
        with pytest.raises(OSError, match="cut"):
            rotate(config, SECOND)
    forged(config, SECOND)
    assert "MAC_INVALID" in codes(config)
    assert keychange.revoke(config, SECOND, 0, "kim", "never put in force").state == "revoked"
    assert rotate(config, THIRD) == (FIRST, THIRD)


def test_a_running_process_finishes_under_the_old_key(config: Settings, later: Callable[[float], None]) -> None:
    writer = session.writer(config, "test")
    rotate(config, SECOND)
    writer.append([operation("after the change")])
    later(23)
    session.commit(config)
    assert verify.verify(config).verdict == "INTACT"
    later(26)
    session.record_once(config, "test", [operation("the next day")])
    session.commit(config)
    assert verify.verify(config).verdict == "INTACT"


def test_a_row_after_the_end_of_its_key_is_found(config: Settings, later: Callable[[float], None]) -> None:
    rotate(config, SECOND)
    ends = str(record.ring(config).keys[0].ends)
    later(26)
    forged(config, FIRST, timestamp(micros(ends) + 1))
    session.commit(config)
    found = codes(config)
    assert [chain.split(":")[0] for chain in found["MAC_INVALID"]] == ["thief"]
    with pytest.raises(Tampered):
        verify.verify(config)


@pytest.mark.parametrize("committed", [False, True])
def test_a_backdated_row_under_an_old_key_is_found(
    config: Settings, later: Callable[[float], None], committed: bool
) -> None:
    before = segment_time(session.record_once(config, "test", [operation("i-1")]), config)
    rotate(config, SECOND)
    later(25)
    session.record_once(config, "test", [operation("i-2")])
    session.commit(config)
    assert verify.verify(config).verdict == "INTACT"
    forged(config, FIRST, before)
    if committed:
        session.commit(config)
    assert [chain.split(":")[0] for chain in codes(config)["MAC_INVALID"]] == ["thief"]


def segment_time(receipt: Receipt, config: Settings) -> str:
    return str(session.confirm(config, receipt)[0].header["ts"])


def test_a_key_that_nobody_registered_is_found(config: Settings, keys: KeyFolder) -> None:
    session.record_once(config, "test", [operation("i-1")])
    session.commit(config)
    keys.create_secrets("k-202611-77")
    forged(config, "k-202611-77")
    found = [f for f in verify.examine(config).findings if f.code == "MAC_INVALID"]
    assert [f.detail for f in found] == ["key k-202611-77 is not registered"]


def test_revoking_splits_rows_at_the_checkpoint_that_is_named(config: Settings) -> None:
    good = session.record_once(config, "test", [operation("i-1")])
    session.commit(config)
    doubtful = session.record_once(config, "test", [operation("i-2")])
    rotate(config, SECOND)
    keychange.revoke(config, FIRST, 1, "kim", "the key was seen in a mail")
    report = verify.verify(config)
    untrusted = {f.writer_id for f in report.findings if f.code == "MAC_UNTRUSTED"}
    assert doubtful.writer_id in untrusted
    assert good.writer_id not in untrusted
    proven = offline.verdict(proof.bundle(config, [(good.writer_id, 1, 1)]), public(config), None)
    doubted = offline.verdict(proof.bundle(config, [(doubtful.writer_id, 1, 1)]), public(config), None)
    assert (proven[0], doubted[0]) == ("PROVEN", "PROVEN WITH DOUBT")
    assert "revoked and trusted through checkpoint 1" in doubted[1][0]


def test_a_row_under_a_revoked_key_that_shows_up_later_is_tampering(
    config: Settings, later: Callable[[float], None]
) -> None:
    session.record_once(config, "test", [operation("i-1")])
    rotate(config, SECOND)
    keychange.revoke(config, FIRST, 1, "kim", "the key was seen in a mail")
    assert verify.verify(config).verdict == "INTACT"
    later(1)
    session.record_once(config, "test", [operation("i-2")])
    session.commit(config)
    forged(config, FIRST, segment_time(session.record_once(config, "test", [operation("i-1")]), config))
    assert [chain.split(":")[0] for chain in codes(config)["MAC_INVALID"]] == ["thief"]


def test_what_may_not_be_revoked_is_refused(config: Settings) -> None:
    session.record_once(config, "test", [operation("i-1")])
    session.commit(config)
    with pytest.raises(RequestRefused, match="rotate first"):
        keychange.revoke(config, FIRST, 1, "kim", REASON)
    with pytest.raises(RequestRefused, match="no MAC key"):
        keychange.revoke(config, "k-202611-55", 1, "kim", REASON)
    rotate(config, SECOND)
    with pytest.raises(RequestRefused, match="no checkpoint 99"):
        keychange.revoke(config, FIRST, 99, "kim", REASON)
    with pytest.raises(RequestRefused, match="used before"):
        rotate(config, FIRST)


def test_a_thief_of_the_old_key_cannot_change_the_registry(config: Settings, keys: KeyFolder) -> None:
    rotate(config, SECOND)
    details = {"n": 3, "purpose": "mac", "key_id": FIRST, "trusted_through_ckpt": 0}
    entry = operation(keyring.idem(3), keyring.REVOKE, details=details)
    log.append_once(
        session.store(config), keys, origin=session.origin(config), key_id=FIRST, service="keys", entries=[entry]
    )
    with pytest.raises(AuditError, match=f"under {FIRST}, not {SECOND}"):
        record.ring(config)
    assert any("registry of keys does not verify" in f.detail for f in verify.examine(config).findings)


@pytest.mark.parametrize(
    "data",
    [b"", bytes(32), bytes(range(32)), b"x" * 31, b"ab" * 16, b"change-me-change-me-change-me-32", bytes(range(64))],
)
def test_a_key_that_is_unset_short_or_made_up_is_refused(config: Settings, keys: KeyFolder, data: bytes) -> None:
    (keys.folder / f"audit-{SECOND}.key").write_bytes(data)
    with pytest.raises(SecretMissing, match="random bytes"):
        rotate(config, SECOND)
    assert record.ring(config).events == 0


def test_the_bytes_of_an_old_key_are_no_new_key(config: Settings, keys: KeyFolder) -> None:
    (keys.folder / f"audit-{SECOND}.key").write_bytes(keys.audit_root(FIRST))
    with pytest.raises(SecretMissing, match=f"bytes of key {FIRST}"):
        rotate(config, SECOND)


def test_the_signing_key_is_handed_over_by_one_checkpoint_with_both_signatures(config: Settings) -> None:
    row = session.record_once(config, "test", [operation("i-1")])
    session.commit(config)
    first = public(config)
    old, new = keychange.rotate_checkpoint(config, "kim", REASON)
    session.record_once(config, "test", [operation("i-2")])
    session.commit(config)
    assert [anchor.signers for anchor in history(config)] == [(old,), (old, new), (new,), (new,)]
    assert verify.verify(config).verdict == "INTACT"
    data = proof.bundle(config, [(row.writer_id, 1, 1)])
    for pinned in (first, public(config)):
        assert offline.verdict(data, pinned, None)[0] == "PROVEN"
    body = json.loads(data)
    body["checkpoints"] = [body["checkpoints"][0], body["checkpoints"][-1]]
    with pytest.raises(offline.Refused, match="hands the key over"):
        offline.verdict(offline.canonical(body), first, None)


def test_the_old_signing_key_signs_nothing_after_the_change(config: Settings, keys: KeyFolder) -> None:
    session.record_once(config, "test", [operation("i-1")])
    stolen = keys.read("sign-checkpoint.pem")
    keychange.rotate_checkpoint(config, "kim", REASON)
    newest = history(config)[-1]
    thief = KeyFolder(keys.folder.parent / "thief")
    thief.folder.mkdir()
    thief.write_once("sign-checkpoint.pem", stolen, 0o600)
    open_objects(config.place.anchors).put(anchors.note_key(newest.checkpoint.n), note.sign(thief, newest.checkpoint))
    with pytest.raises(AuditError, match="first signer"):
        history(config)
    found = verify.examine(config)
    assert {"CKPT_INVALID", "ANCHOR_MISMATCH"} <= found.codes()


def test_a_whole_history_by_a_former_signing_key_is_refused(config: Settings, keys: KeyFolder) -> None:
    session.record_once(config, "test", [operation("i-1")])
    session.commit(config)
    keychange.rotate_checkpoint(config, "kim", REASON)
    store = open_objects(config.place.anchors)
    for key in store.list("ckpt")[1:]:
        store.delete(key)
    with pytest.raises(AuditError, match="was replaced"):
        history(config)


def test_a_hand_over_cut_off_after_the_note_is_finished(config: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    session.record_once(config, "test", [operation("i-1")])
    session.commit(config)
    with monkeypatch.context() as patched:
        patched.setattr(signing, "adopt_next", lambda *_: (_ for _ in ()).throw(OSError("cut")))
        with pytest.raises(OSError, match="cut"):
            keychange.rotate_checkpoint(config, "kim", REASON)
    assert len(history(config)[-1].signers) == 2
    old, new = keychange.rotate_checkpoint(config, "kim", REASON)
    assert history(config)[-1].signers == (new,)
    assert signing.in_force(KeyFolder(config.place.keys), note.PURPOSE) == new
    assert verify.verify(config).verdict == "INTACT"
    assert old != new


def test_an_edited_registry_stops_all_writing(config: Settings) -> None:
    rotate(config, SECOND)
    store = open_objects(config.place.audit)
    key = log.once_chain(session.origin(config), keyring.SERVICE, keyring.idem(1)).key_of(1)
    store.put(key, store.get(key).replace(b"kim", b"lee"))
    with pytest.raises(AuditError):
        session.record_once(config, "test", [operation("i-1")])
    assert "MAC_INVALID" in verify.examine(config).codes()


def test_checkpoints_commit_to_the_registry_once_there_is_one(config: Settings) -> None:
    session.record_once(config, "test", [operation("i-1")])
    session.commit(config)
    rotate(config, SECOND)
    keychange.revoke(config, FIRST, 1, "kim", "the key was seen in a mail")
    rings = record.rings(config)
    shown = [keyring.in_force(rings, anchor) for anchor in history(config)]
    assert shown[0] == {"mac": FIRST, "checkpoint": history(config)[0].signers[0]}
    assert shown[-1] is not None
    states = {key["key_id"]: key["state"] for key in shown[-1]["registry"]}
    assert states == {FIRST: "revoked", SECOND: "active"}
    assert keyring.in_force(rings[:-1], history(config)[-1]) is None


def test_the_command_lists_rotates_and_revokes(
    config: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli.settings, "load", lambda *_: config)
    session.record_once(config, "test", [operation("i-1")])
    session.commit(config)
    by = ["--operator", person(), "--reason", REASON, "--json"]
    assert cli.main(["keys", "rotate", "mac", "--key-id", SECOND, *by]) == 0
    assert json.loads(capsys.readouterr().out) == {"purpose": "mac", "old_key": FIRST, "new_key": SECOND}
    assert cli.main(["keys", "revoke", FIRST, "--trusted-through", "1", *by]) == 0
    assert cli.main(["keys", "rotate", "checkpoint", *by]) == 0
    capsys.readouterr()
    assert cli.main(["keys", "list", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown[FIRST].startswith("mac, revoked")
    assert shown[SECOND].startswith("mac, active")
    assert cli.main(["keys", "rotate", "mac", "--operator", "somebody", "--reason", REASON]) == 2
    assert cli.main(["keys", "rotate", "mac", "--operator", person(), "--reason", "why"]) == 2


def public(config: Settings) -> str:
    pem = KeyFolder(config.place.keys).read("sign-checkpoint.pub")
    return signing.raw_public(pem).hex()


def test_a_function_opened_before_the_change_goes_on_and_the_next_one_uses_the_new_key(
    config: Settings, keys: KeyFolder
) -> None:
    def place() -> dict[str, str]:
        return {"ORIGIN": session.origin(config), "KEY_ID": session.active_key(config)}

    running = Recorder(session.store(config), place(), keys)
    receipts = [running([operation("before")])]
    rotate(config, SECOND)
    receipts += [running([operation("after")]), Recorder(session.store(config), place(), keys)([operation("released")])]
    assert [session.confirm(config, r)[0].header["key_id"] for r in receipts] == [FIRST, FIRST, SECOND]
    session.commit(config)
    assert verify.verify(config, receipts).verdict == "INTACT"


def test_a_store_that_does_not_answer_is_a_failed_append(config: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def down(*_: object) -> None:
        raise StoreError("away")

    monkeypatch.setattr(LocalObjects, "get_tagged", down)
    with pytest.raises(AppendFailed, match="registry of keys"):
        record.record_once(config, "test", [operation("i-1")])
