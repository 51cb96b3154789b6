"""Attacks on a record, as an insider with write access to the stores would make them. Used by drill and tests.

Each attack takes a ``Scene`` and changes its stores; ``ATTACKS`` says which finding must come of it.
Source: audit.md 3 and 12.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline_lib import signing
from pipeline_lib.audit import anchors, chain, checkpoint, evidence, line, note, record, segment
from pipeline_lib.audit.load import log_tables
from pipeline_lib.audit.segment import Chain
from pipeline_lib.canonical import canonical_bytes
from pipeline_lib.keys import KeyFolder
from pipeline_lib.objects import Objects, open_objects
from pipeline_lib.settings import Settings
from pipeline_lib.store import QueryStore

BACKUP = "backup"
"""Folder with copies of evidence and anchors as they were at the first checkpoint."""
_OTHER_KEY = bytes(range(100, 132))
_Change = Callable[[dict[str, Any], dict[str, Any]], None]


@dataclass(frozen=True)
class Scene:
    """One record to attack."""

    settings: Settings
    keys: KeyFolder
    folder: Path

    @property
    def store(self) -> Objects:
        return record.store(self.settings)

    @property
    def anchors(self) -> Objects:
        return open_objects(self.settings.place.anchors)

    @property
    def stream(self) -> tuple[Chain, list[str]]:
        """The longest chain and its segments."""
        found = evidence.chains(self.store, record.origin(self.settings))
        return max(found.items(), key=lambda item: len(item[1]))

    def lines(self, key: str) -> list[bytes]:
        return self.store.get(key).split(b"\n")[:-1]

    def write(self, key: str, lines: Sequence[bytes]) -> None:
        self.store.put(key, b"".join(raw + b"\n" for raw in lines))

    def swap_bytes(self, key: str, old: bytes, new: bytes) -> None:
        """Replace one thing in a segment; the attack must not miss."""
        data = self.store.get(key)
        if old not in data:
            raise ValueError(f"{key} has no {old!r}")
        self.store.put(key, data.replace(old, new, 1))


def edit_payload(scene: Scene) -> None:
    scene.swap_bytes(scene.stream[1][2], b"as measured", b"as imagined")


def edit_header(scene: Scene) -> None:
    scene.swap_bytes(scene.stream[1][2], b'"idem":"', b'"idem":"x')


def move_to_another_table(scene: Scene) -> None:
    scene.swap_bytes(scene.stream[1][2], b'"log_table":"log_operation"', b'"log_table":"log_guardrail"')


def swap_fields(scene: Scene) -> None:
    def change(header: dict[str, Any], payload: dict[str, Any]) -> None:
        payload["reason"], payload["object_id"] = payload["object_id"], payload["reason"]

    _rewrite(scene, change, rehash=False)


def edit_and_rehash(scene: Scene) -> None:
    _rewrite(scene, _doctor, key=_OTHER_KEY)


def edit_and_remac_to_the_end(scene: Scene) -> None:
    _rewrite(scene, _doctor, key=None)


def delete_row(scene: Scene) -> None:
    key = scene.stream[1][2]
    scene.write(key, scene.lines(key)[1:])


def delete_last_row_of_segment(scene: Scene) -> None:
    key = scene.stream[1][2]
    scene.write(key, scene.lines(key)[:-1])


def delete_segment(scene: Scene) -> None:
    scene.store.delete(scene.stream[1][2])


def delete_first_segment(scene: Scene) -> None:
    scene.store.delete(scene.stream[1][0])


def truncate(scene: Scene) -> None:
    for key in scene.stream[1][-3:]:
        scene.store.delete(key)


def truncate_unanchored(scene: Scene) -> None:
    scene.store.delete(scene.stream[1][-1])


def delete_writer(scene: Scene) -> None:
    for key in scene.stream[1]:
        scene.store.delete(key)


def swap_rows(scene: Scene) -> None:
    key = scene.stream[1][2]
    scene.write(key, scene.lines(key)[::-1])


def swap_segments(scene: Scene) -> None:
    one, two = scene.stream[1][1:3]
    first, second = scene.store.get(one), scene.store.get(two)
    scene.store.put(one, second)
    scene.store.put(two, first)


def swap_payloads(scene: Scene) -> None:
    key = scene.stream[1][2]
    one, two = (line.parse(raw) for raw in scene.lines(key))
    first, second = scene.lines(key)
    scene.write(key, [first.replace(one.payload, two.payload), second.replace(two.payload, one.payload)])


def insert_row(scene: Scene) -> None:
    identity, keys = scene.stream
    last = line.parse(scene.lines(keys[-1])[-1])
    head = segment.Head(len(keys), last.seq, last.entry_hash, last.ts, _OTHER_KEY)
    data, _ = _again(scene, identity, head, last, idem="inserted")
    scene.store.put(identity.key_of(last.seq + 1), data)


def insert_chain(scene: Scene) -> None:
    identity, last = Chain(record.origin(scene.settings), "drill:ffffffffffffffff", 1), _last(scene)
    data, _ = _again(scene, identity, identity.start(_OTHER_KEY), last, idem="inserted")
    scene.store.put(identity.key_of(1), data)


def insert_chain_with_stolen_key(scene: Scene) -> None:
    identity, last = Chain(record.origin(scene.settings), "drill:ffffffffffffffff", 1), _last(scene)
    data, _ = _again(scene, identity, identity.start(_root(scene)), last, idem="inserted")
    scene.store.put(identity.key_of(1), data)


def replay_segment(scene: Scene) -> None:
    _, keys = scene.stream
    scene.store.put("seg/drill:ffffffffffffffff/0000000001/000000000001.jsonl", scene.store.get(keys[0]))


def replay_entry_with_stolen_key(scene: Scene) -> None:
    identity, last = Chain(record.origin(scene.settings), "once:drill:" + "f" * 32, 1), _last(scene)
    data, _ = _again(scene, identity, identity.start(_root(scene)), last, idem=last.idem)
    scene.store.put(identity.key_of(1), data)


def empty_segment(scene: Scene) -> None:
    scene.store.put(scene.stream[1][2], b"")


def torn_segment(scene: Scene) -> None:
    key = scene.stream[1][2]
    scene.store.put(key, scene.store.get(key)[:-40])


def stray_object(scene: Scene) -> None:
    scene.store.put("seg/readme.txt", b"nothing to see here")


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
    edit_and_remac_to_the_end(scene)
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


ATTACKS: dict[str, tuple[Callable[[Scene], None], str]] = {
    "edit: a payload": (edit_payload, "ROW_ALTERED"),
    "edit: a header": (edit_header, "HEADER_ALTERED"),
    "edit: hashes recomputed, key unknown": (edit_and_rehash, "MAC_INVALID"),
    "edit: re-MACed to the end with the true key": (edit_and_remac_to_the_end, "TREE_BROKEN"),
    "delete: a row inside a segment": (delete_row, "SEQ_GAP"),
    "delete: the last row of a segment": (delete_last_row_of_segment, "SEQ_GAP"),
    "delete: a segment": (delete_segment, "SEQ_GAP"),
    "delete: the first segment of a chain": (delete_first_segment, "SEQ_GAP"),
    "delete: a whole chain": (delete_writer, "WRITER_MISSING"),
    "truncate: the tail of a chain": (truncate, "WRITER_TRUNCATED"),
    "truncate: above the newest checkpoint, receipt held": (truncate_unanchored, "WRITER_TRUNCATED"),
    "reorder: two rows": (swap_rows, "CHAIN_BROKEN"),
    "reorder: two segments": (swap_segments, "CHAIN_BROKEN"),
    "swap: payloads of two rows": (swap_payloads, "ROW_ALTERED"),
    "swap: two fields of a payload": (swap_fields, "ROW_ALTERED"),
    "swap: the table of a row": (move_to_another_table, "HEADER_ALTERED"),
    "insert: a row": (insert_row, "MAC_INVALID"),
    "insert: a chain under another key": (insert_chain, "MAC_INVALID"),
    "insert: a chain under the true key": (insert_chain_with_stolen_key, "UNISSUED_WRITER"),
    "replay: a segment as another chain": (replay_segment, "CHAIN_BROKEN"),
    "replay: an entry under the true key": (replay_entry_with_stolen_key, "DUPLICATE"),
    "damage: an emptied segment": (empty_segment, "BAD_SEGMENT"),
    "damage: a torn segment": (torn_segment, "BAD_SEGMENT"),
    "damage: a stray object": (stray_object, "BAD_SEGMENT"),
    "rollback: the evidence": (roll_back_evidence, "STORE_BEHIND_ANCHOR"),
    "rollback: evidence and anchors": (roll_back_evidence_and_anchors, "ANCHOR_MISMATCH"),
    "checkpoint: edited": (edit_checkpoint, "CKPT_INVALID"),
    "checkpoint: leaf index edited": (edit_leaf_index, "CKPT_INVALID"),
    "checkpoint: one removed": (delete_checkpoint, "CKPT_INVALID"),
    "checkpoint: the newest removed": (delete_newest_checkpoint, "ANCHOR_MISMATCH"),
    "checkpoint: signed with another key": (sign_with_another_key, "CKPT_INVALID"),
    "fork: a second history under the true keys": (fork_with_stolen_keys, "ANCHOR_MISMATCH"),
    "query store: a payload edited": (edit_query_store, "STORE_DIVERGED"),
    "query store: edited with its hash": (edit_query_store_consistently, "STORE_DIVERGED"),
    "query store: a row removed": (delete_from_query_store, "STORE_DIVERGED"),
    "query store: a row doubled": (double_in_query_store, "STORE_DIVERGED"),
}
"""Case -> the attack and the finding that must be among those of the verification."""


def _doctor(header: dict[str, Any], payload: dict[str, Any]) -> None:
    payload["reason"] = "as it should have been"


def _rewrite(scene: Scene, change: _Change, *, key: bytes | None = None, rehash: bool = True) -> None:
    """Change the first row of the third segment of the longest chain.

    With ``rehash`` all hashes and MACs are made again from there to the end, under ``key`` or the chain's own.
    """
    identity, keys = scene.stream
    head = identity.start(_root(scene))
    for number, name in enumerate(keys):
        lines, prev = [], head.entry_hash
        for at, raw in enumerate(scene.lines(name)):
            body = json.loads(raw)
            if (number, at) == (2, 0):
                change(body["header"], body["payload"])
            if rehash and number >= 2:
                payload = canonical_bytes(body["payload"])
                header = {**body["header"], "content_hash": chain.content_hash(payload), "prev_hash": prev}
                made, prev = line.seal(header, payload, key or head.key or b"")
            else:
                made, prev = canonical_bytes(body), body["entry_hash"]
            lines.append(made)
        scene.write(name, lines)
        head = head._replace(entry_hash=prev, key=chain.evolve(head.key or b""))


def _again(scene: Scene, identity: Chain, head: segment.Head, row: line.Line, idem: str) -> tuple[bytes, segment.Head]:
    """A segment with one more row like ``row``."""
    payload = {name: value for name, value in row.payload_dict().items() if name != "salt"}
    entry = segment.Entry(row.log_table, row.event, payload, idem)
    now = segment.micros(row.ts) + 1
    return segment.build(identity, head, [entry], key_id=row.key_id, now_us=now, clock="ok", salts=["A" * 22])


def _last(scene: Scene) -> line.Line:
    return line.parse(scene.lines(scene.stream[1][-1])[-1])


def _root(scene: Scene) -> bytes:
    return scene.keys.audit_root(scene.settings.audit.key_id)


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
