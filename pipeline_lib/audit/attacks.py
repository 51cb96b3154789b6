"""Attacks on a record, as an insider with write access to the stores would make them. Used by drill and tests.

Each attack takes a ``Scene`` and changes its stores; ``ATTACKS`` says which finding must come of it. Attacks on entries
are in ``attacks_evidence``; here are those on checkpoints, with former keys, and on the query store.
Source: audit.md 3 and 12.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

import pyarrow as pa

from pipeline_lib import signing
from pipeline_lib.audit import anchors, chain, checkpoint, keychange, log, note, record, segment
from pipeline_lib.audit import attacks_evidence as on
from pipeline_lib.audit.attack_scene import BACKUP, Scene, newest_row
from pipeline_lib.audit.load import log_tables
from pipeline_lib.keys import KeyFolder
from pipeline_lib.store import QueryStore

__all__ = ["ATTACKS", "BACKUP", "Scene"]


def roll_back_evidence(scene: Scene) -> None:
    _restore(scene, "audit")


def roll_back_evidence_and_anchors(scene: Scene) -> None:
    _restore(scene, "audit")
    _restore(scene, "anchors")


def edit_checkpoint(scene: Scene) -> None:
    data = scene.anchors.get(anchors.note_key(2))
    size = data.split(b"\n")[1]
    scene.anchors.put(anchors.note_key(2), data.replace(size, b"%d" % (int(size) - 1), 1))


def edit_leaf_index(scene: Scene) -> None:
    key = next(key for key in scene.anchors.list("leaves") if key.startswith("leaves/000000000001"))
    scene.anchors.put(key, scene.anchors.get(key).replace(b'"state":"open"', b'"state":"gone"', 1))


def delete_checkpoint(scene: Scene) -> None:
    scene.anchors.delete(anchors.note_key(1))


def delete_newest_checkpoint(scene: Scene) -> None:
    scene.anchors.delete(anchors.note_key(2))


def sign_with_another_key(scene: Scene) -> None:
    point = note.opened(scene.keys, scene.anchors.get(anchors.note_key(2)))
    other = KeyFolder(scene.folder / "other-keys")
    other.create_secrets(scene.settings.audit.key_id)
    signing.create_keys(other)
    scene.anchors.put(anchors.note_key(2), note.sign(other, point))


def fork_with_stolen_keys(scene: Scene) -> None:
    """Rewrite a chain with its true key and sign a second history of it: evidence and anchors agree afterwards."""
    on.edit_and_remac_to_the_end(scene)
    for key in scene.anchors.list(""):
        scene.anchors.delete(key)
    origin = record.origin(scene.settings)
    signer = checkpoint.Signer(scene.anchors, scene.keys, origin, record.ring(scene.settings))
    sequencer = checkpoint.Sequencer(scene.store, scene.keys, origin)
    signer.sign([], sequencer.index([], sequencer.collect([])[0]))


def edit_query_store(scene: Scene) -> None:
    def change(rows: list[dict[str, Any]]) -> None:
        rows[3]["payload"] = rows[3]["payload"].replace("as ", "is ")

    _doctor_store(scene, change)


def edit_query_store_consistently(scene: Scene) -> None:
    def change(rows: list[dict[str, Any]]) -> None:
        rows[3]["payload"] = rows[3]["payload"].replace("as ", "is ")
        rows[3]["content_hash"] = chain.content_hash(rows[3]["payload"].encode())

    _doctor_store(scene, change)


def delete_from_query_store(scene: Scene) -> None:
    _doctor_store(scene, lambda rows: rows.pop(3))


def double_in_query_store(scene: Scene) -> None:
    _doctor_store(scene, lambda rows: rows.append(dict(rows[3])))


def retire_mac_key(scene: Scene) -> str:
    """What the owner does before a thief of the old MAC key comes; its id."""
    return keychange.rotate_mac(scene.settings, "drill", "the yearly change of keys")[0]


def revoke_mac_key(scene: Scene) -> str:
    """As ``retire_mac_key``, and every row so far stays believed."""
    old = retire_mac_key(scene)
    newest = len(scene.anchors.list("ckpt"))
    keychange.revoke(scene.settings, old, newest, "drill", "the key was seen in a mail")
    return old


def change_signing_key(scene: Scene) -> bytes:
    """What the owner does before a thief of the old signing key comes; its private half."""
    stolen = scene.keys.read("sign-checkpoint.pem")
    keychange.rotate_checkpoint(scene.settings, "drill", "the yearly change of keys")
    return stolen


def write_with_retired_key(scene: Scene) -> None:
    old = retire_mac_key(scene)
    ends = next(str(key.ends) for key in record.ring(scene.settings).keys if key.key_id == old)
    _open_chain(scene, old, ends, later_us=1)


def write_backdated_with_revoked_key(scene: Scene) -> None:
    before = newest_row(scene).ts
    _open_chain(scene, revoke_mac_key(scene), before)


def sign_with_former_key(scene: Scene) -> None:
    """The newest checkpoint's own text, signed by who may no longer sign."""
    stolen, key = change_signing_key(scene), scene.anchors.list("ckpt")[-1]
    thief = KeyFolder(scene.folder / "former-keys")
    thief.folder.mkdir()
    thief.write_once("sign-checkpoint.pem", stolen, 0o600)
    scene.anchors.put(key, note.sign(thief, note.opened(scene.keys, scene.anchors.get(key))))


def cut_back_to_former_key(scene: Scene) -> None:
    """Remove the checkpoint that hands the key over and all after it."""
    kept = scene.anchors.list("ckpt")
    change_signing_key(scene)
    for key in set(scene.anchors.list("ckpt")) - set(kept):
        scene.anchors.delete(key)


ATTACKS: dict[str, tuple[Callable[[Scene], None], str]] = {
    "edit: a payload": (on.edit_payload, "ROW_ALTERED"),
    "edit: a header": (on.edit_header, "HEADER_ALTERED"),
    "edit: hashes recomputed, key unknown": (on.edit_and_rehash, "MAC_INVALID"),
    "edit: re-MACed to the end with the true key": (on.edit_and_remac_to_the_end, "TREE_BROKEN"),
    "delete: a row inside a segment": (on.delete_row, "SEQ_GAP"),
    "delete: the last row of a segment": (on.delete_last_row_of_segment, "SEQ_GAP"),
    "delete: a segment": (on.delete_segment, "SEQ_GAP"),
    "delete: the first segment of a chain": (on.delete_first_segment, "SEQ_GAP"),
    "delete: a whole chain": (on.delete_writer, "WRITER_MISSING"),
    "truncate: the tail of a chain": (on.truncate, "WRITER_TRUNCATED"),
    "truncate: above the newest checkpoint, receipt held": (on.truncate_unanchored, "WRITER_TRUNCATED"),
    "reorder: two rows": (on.swap_rows, "CHAIN_BROKEN"),
    "reorder: two segments": (on.swap_segments, "CHAIN_BROKEN"),
    "swap: payloads of two rows": (on.swap_payloads, "ROW_ALTERED"),
    "swap: two fields of a payload": (on.swap_fields, "ROW_ALTERED"),
    "swap: the table of a row": (on.move_to_another_table, "HEADER_ALTERED"),
    "insert: a row": (on.insert_row, "MAC_INVALID"),
    "insert: a chain under another key": (on.insert_chain, "MAC_INVALID"),
    "insert: a chain under the true key": (on.insert_chain_with_stolen_key, "UNISSUED_WRITER"),
    "replay: a segment as another chain": (on.replay_segment, "CHAIN_BROKEN"),
    "replay: an entry under the true key": (on.replay_entry_with_stolen_key, "DUPLICATE"),
    "damage: an emptied segment": (on.empty_segment, "BAD_SEGMENT"),
    "damage: a torn segment": (on.torn_segment, "BAD_SEGMENT"),
    "damage: a stray object": (on.stray_object, "BAD_SEGMENT"),
    "rollback: the evidence": (roll_back_evidence, "STORE_BEHIND_ANCHOR"),
    "rollback: evidence and anchors": (roll_back_evidence_and_anchors, "ANCHOR_MISMATCH"),
    "checkpoint: edited": (edit_checkpoint, "CKPT_INVALID"),
    "checkpoint: leaf index edited": (edit_leaf_index, "CKPT_INVALID"),
    "checkpoint: one removed": (delete_checkpoint, "CKPT_INVALID"),
    "checkpoint: the newest removed": (delete_newest_checkpoint, "ANCHOR_MISMATCH"),
    "checkpoint: signed with another key": (sign_with_another_key, "CKPT_INVALID"),
    "fork: a second history under the true keys": (fork_with_stolen_keys, "ANCHOR_MISMATCH"),
    "old key: an entry after the end of a retired MAC key": (write_with_retired_key, "MAC_INVALID"),
    "old key: a backdated entry under a revoked MAC key": (write_backdated_with_revoked_key, "MAC_INVALID"),
    "old key: a checkpoint signed by a former signing key": (sign_with_former_key, "CKPT_INVALID"),
    "old key: the history a former signing key closes": (cut_back_to_former_key, "CKPT_INVALID"),
    "query store: a payload edited": (edit_query_store, "STORE_DIVERGED"),
    "query store: edited with its hash": (edit_query_store_consistently, "STORE_DIVERGED"),
    "query store: a row removed": (delete_from_query_store, "STORE_DIVERGED"),
    "query store: a row doubled": (double_in_query_store, "STORE_DIVERGED"),
}
"""Case -> the attack and the finding that must be among those of the verification."""


def _restore(scene: Scene, part: str) -> None:
    shutil.rmtree(scene.folder / part)
    shutil.copytree(scene.folder / BACKUP / part, scene.folder / part)


def _doctor_store(scene: Scene, change: Callable[[list[dict[str, Any]]], Any]) -> None:
    store = QueryStore(scene.settings.place.query_store)
    (name,) = log_tables(store.names())
    found = store.read(name)
    rows = found.to_pylist()
    change(rows)
    store.replace(name, pa.Table.from_pylist(rows, schema=found.schema))


def _open_chain(scene: Scene, key_id: str, ts: str, later_us: int = 0) -> None:
    """A new chain by somebody who has an old key, at a time of their choice."""
    now_us = segment.micros(ts) + later_us
    log.Writer.open(
        scene.store, scene.keys, origin=record.origin(scene.settings), key_id=key_id, service="thief",
        now_us=lambda: now_us,
    )  # fmt: skip
