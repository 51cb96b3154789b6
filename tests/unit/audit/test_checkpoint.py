"""Checkpoints: they cover everything once, continue one another, and refuse what does not."""

import threading
from collections.abc import Callable

import pytest

from pipeline_lib.audit import anchors, checkpoint, merkle, note, session
from pipeline_lib.audit.segment import Chain, Entry
from pipeline_lib.errors import AuditError, SignatureInvalid
from pipeline_lib.keys import KeyFolder
from pipeline_lib.objects import open_objects
from pipeline_lib.settings import Settings

Beat = Callable[..., Entry]


def history(config: Settings) -> list[anchors.Anchor]:
    return anchors.history(open_objects(config.place.anchors), KeyFolder(config.place.keys), session.origin(config))


def test_an_empty_record_has_no_checkpoint(config: Settings) -> None:
    assert checkpoint.seal(config).checkpoint is None


def test_checkpoints_cover_every_row_once_and_continue_one_another(config: Settings, beat: Beat) -> None:
    writers = [session.writer(config, "test") for _ in range(3)]
    for round_ in range(3):
        for number, writer in enumerate(writers):
            writer.append([beat(f"i-{round_}-{number}"), beat(f"j-{round_}-{number}")])
        sealed = checkpoint.seal(config)
        assert sealed.new_rows == 6 + 3 * (round_ == 0)
    past = history(config)
    leaves = [bytes.fromhex(leaf) for anchor in past for leaf in anchor.index.leaves]
    assert [anchor.checkpoint.size for anchor in past] == [9, 15, 21]
    for old, new in zip(past, past[1:], strict=False):
        sizes, roots = (old.checkpoint.size, new.checkpoint.size), (old.checkpoint.root, new.checkpoint.root)
        proof = merkle.consistency_proof(leaves[: sizes[1]], sizes[0])
        assert merkle.consistent(*sizes, *(bytes.fromhex(root) for root in roots), proof)
    assert {head.seq for head in anchors.heads(past).values()} == {7}


def test_nothing_new_makes_no_new_checkpoint(config: Settings, beat: Beat) -> None:
    session.record_once(config, "gate", [beat("i-1")])
    first, second = checkpoint.seal(config), checkpoint.seal(config)
    assert first.checkpoint == second.checkpoint
    assert second.new_rows == 0


def test_leaf_order_does_not_depend_on_who_asks(config: Settings, beat: Beat) -> None:
    for number in range(20):
        session.record_once(config, "gate", [beat(f"i-{number}")])
    sequencer = checkpoint.Sequencer(session.store(config), KeyFolder(config.place.keys), session.origin(config))
    one, two = sequencer.collect([])[0], sequencer.collect([])[0]
    assert sequencer.index([], one) == sequencer.index([], two)
    assert [piece.order for piece in one] == sorted(piece.order for piece in one)


def test_a_segment_waits_for_its_predecessor(config: Settings, beat: Beat) -> None:
    writer = session.writer(config, "test")
    receipts = [writer.append([beat(f"i-{number}")]) for number in range(3)]
    chain, store = Chain(session.origin(config), receipts[0].writer_id, 1), session.store(config)
    late = store.get(chain.key_of(3))
    store.delete(chain.key_of(3))
    sealed = checkpoint.seal(config)
    assert (sealed.new_rows, sealed.waiting) == (2, (chain.key_of(4),))
    store.create(chain.key_of(3), late)
    assert checkpoint.seal(config).new_rows == 2


def test_a_segment_that_does_not_verify_blocks_only_its_chain_and_is_recorded(config: Settings, beat: Beat) -> None:
    writer = session.writer(config, "test")
    receipt = writer.append([beat("i-1", reason="aaa")])
    key, store = Chain(receipt.origin, receipt.writer_id, 1).key_of(2), session.store(config)
    store.put(key, store.get(key).replace(b"aaa", b"aab"))
    session.record_once(config, "gate", [beat("i-2")])
    sealed = checkpoint.seal(config)
    assert sealed.rejected == (key,)
    assert sealed.new_rows == 2  # writer_open and i-2
    checkpoint.seal(config)
    checkpoint.seal(config)
    rejections = [name for name in store.list("seg") if name.startswith("seg/once:sequencer:")]
    assert len(rejections) == 1


def test_the_signer_does_not_sign_over_a_store_that_lost_rows(config: Settings, beat: Beat) -> None:
    receipt = session.record_once(config, "gate", [beat("i-1")])
    checkpoint.seal(config)
    session.store(config).delete(Chain(receipt.origin, receipt.writer_id, 1).key_of(1))
    session.record_once(config, "gate", [beat("i-2")])
    with pytest.raises(AuditError, match="STORE_BEHIND_ANCHOR"):
        checkpoint.seal(config)


def test_the_signer_does_not_sign_a_second_history(config: Settings, beat: Beat) -> None:
    session.record_once(config, "gate", [beat("i-1")])
    checkpoint.seal(config)
    for key in (store := open_objects(config.place.anchors)).list(""):
        store.delete(key)
    with pytest.raises(AuditError, match="ANCHOR_MISMATCH"):
        checkpoint.seal(config)


def test_two_steps_at_once_make_one_lineage(config: Settings, beat: Beat) -> None:
    for number in range(10):
        session.record_once(config, "gate", [beat(f"i-{number}")])
    threads = [threading.Thread(target=checkpoint.seal, args=(config,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [anchor.checkpoint.n for anchor in history(config)] == [1]
    assert history(config)[0].checkpoint.size == 10


def test_a_crash_between_index_and_note_is_repaired_by_the_next_step(config: Settings, beat: Beat) -> None:
    session.record_once(config, "gate", [beat("i-1")])
    store = open_objects(config.place.anchors)
    store.create("leaves/000000000001-0123456789abcdef.json", b"left of a crash")
    assert checkpoint.seal(config).checkpoint == history(config)[0].checkpoint


def test_a_note_is_opened_only_as_signed(config: Settings, beat: Beat) -> None:
    session.record_once(config, "gate", [beat("i-1")])
    checkpoint.seal(config)
    signed, keys = history(config)[0].note, KeyFolder(config.place.keys)
    assert note.opened(keys, signed).text().encode() == signed.split(b"\n\n")[0] + b"\n"
    for position in range(0, len(signed), 3):
        changed = signed[:position] + bytes([signed[position] ^ 1]) + signed[position + 1 :]
        with pytest.raises(SignatureInvalid):
            note.opened(keys, changed)
