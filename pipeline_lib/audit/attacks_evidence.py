"""Attacks on entries and segments; ``attacks`` says what must come of each. Source: audit.md 3 and 12."""

from __future__ import annotations

from typing import Any

from pipeline_lib.audit import line, record, segment
from pipeline_lib.audit.attack_scene import OTHER_KEY, Scene, again, mac_root, newest_row, rewrite
from pipeline_lib.audit.segment import Chain


def edit_payload(scene: Scene) -> None:
    scene.swap_bytes(scene.stream[1][2], b"as measured", b"as imagined")


def edit_header(scene: Scene) -> None:
    scene.swap_bytes(scene.stream[1][2], b'"idem":"', b'"idem":"x')


def move_to_another_table(scene: Scene) -> None:
    scene.swap_bytes(scene.stream[1][2], b'"log_table":"log_operation"', b'"log_table":"log_guardrail"')


def swap_fields(scene: Scene) -> None:
    def change(header: dict[str, Any], payload: dict[str, Any]) -> None:
        payload["reason"], payload["object_id"] = payload["object_id"], payload["reason"]

    rewrite(scene, change, rehash=False)


def edit_and_rehash(scene: Scene) -> None:
    rewrite(scene, _doctor, key=OTHER_KEY)


def edit_and_remac_to_the_end(scene: Scene) -> None:
    rewrite(scene, _doctor, key=None)


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
    head = segment.Head(len(keys), last.seq, last.entry_hash, last.ts, OTHER_KEY)
    data, _ = again(scene, identity, head, last, idem="inserted")
    scene.store.put(identity.key_of(last.seq + 1), data)


def insert_chain(scene: Scene) -> None:
    identity, last = Chain(record.origin(scene.settings), "drill:ffffffffffffffff", 1), newest_row(scene)
    data, _ = again(scene, identity, identity.start(OTHER_KEY), last, idem="inserted")
    scene.store.put(identity.key_of(1), data)


def insert_chain_with_stolen_key(scene: Scene) -> None:
    identity, last = Chain(record.origin(scene.settings), "drill:ffffffffffffffff", 1), newest_row(scene)
    data, _ = again(scene, identity, identity.start(mac_root(scene)), last, idem="inserted")
    scene.store.put(identity.key_of(1), data)


def replay_segment(scene: Scene) -> None:
    _, keys = scene.stream
    scene.store.put("seg/drill:ffffffffffffffff/0000000001/000000000001.jsonl", scene.store.get(keys[0]))


def replay_entry_with_stolen_key(scene: Scene) -> None:
    identity, last = Chain(record.origin(scene.settings), "once:drill:" + "f" * 32, 1), newest_row(scene)
    data, _ = again(scene, identity, identity.start(mac_root(scene)), last, idem=last.idem)
    scene.store.put(identity.key_of(1), data)


def empty_segment(scene: Scene) -> None:
    scene.store.put(scene.stream[1][2], b"")


def torn_segment(scene: Scene) -> None:
    key = scene.stream[1][2]
    scene.store.put(key, scene.store.get(key)[:-40])


def stray_object(scene: Scene) -> None:
    scene.store.put("seg/readme.txt", b"nothing to see here")


def _doctor(header: dict[str, Any], payload: dict[str, Any]) -> None:
    payload["reason"] = "as it should have been"
